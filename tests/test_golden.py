"""What the published implementations computed, in float64, number by number.

LEWEL_GOLDEN may name another recording of the same form. |ours - recorded| <= 1e-8 * |recorded| + 1e-9 everywhere.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from lewel import build, config, terms
from lewel.engine.optim import make_optimizer
from lewel.interop import names

RECORDING = Path(os.environ.get("LEWEL_GOLDEN", Path(__file__).parent / "golden" / "golden.json"))
CASES = json.loads(RECORDING.read_text())
DATA = config.Data(image_size=64, views=(config.View(), config.View()))


def values(name: str, shape: list[int]) -> np.ndarray:
    """The recording's recipe for the tensor `name`."""
    if name.endswith("num_batches_tracked"):
        return np.full(shape, 7)
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if name.endswith(("running_mean", "bias")):
        return 0.1 * noise
    if len(shape) == 1:
        return 1 + 0.1 * noise
    return noise * np.sqrt(2 / np.prod(shape[1:]))


def images(seed: int, case: dict) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(case["image"]))


def excluded(said: str) -> Literal["bias_and_bn", "bias_and_backbone_bn", "nothing"]:
    """What the optimizer leaves alone, in the recording's words."""
    words = said.lower()
    if words.startswith("nothing"):
        return "nothing"
    assert "batchnorm weights" in words and "all biases" in words, f"a recording that excludes {said!r}: say it in ours"
    return "bias_and_backbone_bn" if "backbone" in words else "bias_and_bn"


def both_views(case: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """The two views of the BYOL-like cases, the same at every step."""
    first, second = case.get("image_seeds", (101, 202))
    return images(first, case), images(second, case)


def recipe(case: dict) -> config.Recipe:
    encoder = config.Encoder(case["backbone"])
    dim, opt = case["embed_dim"], case["optimizer"]
    if "queue" in case:
        width = next(shape[0] for name, shape in case["state_dict"].items() if name.endswith("encoder_q.fc.0.weight"))
        head = terms.MLP(dim, (width,), norm=False, bias="all", init="linear")
        loss = terms.Queue(case["temperature"], case["queue"])
        parts = (terms.Term("global", 1.0, terms.Uniform(), head, None, loss),)
        target = terms.Momentum(case["momentum"], "constant", "before", "batch")
    else:
        head = terms.MLP(dim, (case["hidden_dim"],))
        weight = case.get("global_loss_weight", 1.0)
        parts = (terms.Term("global", weight, terms.Uniform(), head, head, terms.Cosine()),)
        if "groups" in case:
            coupled = terms.Coupled(groups=case["groups"])
            aligned = case["aligned_loss_weight"]
            parts += (terms.Term("aligned", aligned, coupled, head, head, terms.Cosine()),)
        running = "running" if case["target_batch_norm"].startswith("running") else "batch"
        target = terms.Momentum(case["ema"]["base_momentum"], "cosine", "after", running)
    method = terms.Method(encoder, parts, target, terms.ONE_WAY if "queue" in case else terms.BOTH_WAYS)
    optimizer = config.Optimizer(
        kind=opt["name"].lower(),
        lr=1.0,
        batch_size=case["image"][0],
        weight_decay=opt["weight_decay"],
        momentum=opt["momentum"],
        trust_coefficient=opt.get("trust_coefficient", 0.001),
        exclude=excluded(opt.get("excluded", "nothing")),
    )
    return config.Recipe("golden", method, DATA, optimizer, epochs=1)


class Run:
    """Our method with the recording's tensors, and how its names read in ours."""

    def __init__(self, case: dict):
        self.case = case
        spec = recipe(case)
        self.method = build.method(spec).double().train()
        state = {}
        for name, shape in case["state_dict"].items():
            if name.endswith("queue"):
                raw = values(name + ".weight", shape)
                tensor = torch.from_numpy(raw / np.linalg.norm(raw, axis=0))
            elif name.endswith("queue_ptr"):
                tensor = torch.zeros(shape, dtype=torch.long)
            else:
                tensor = torch.from_numpy(values(name, shape))
            key = names.ours(name)
            assert key is not None, name
            state[key] = names.in_our_shape(name, tensor)
        missing, unexpected = self.method.load_state_dict(state, strict=False)
        assert (missing, unexpected) == (["pending"], [])
        self.optimizer = make_optimizer(self.method, spec.optimizer)

    def step(self, number: int, total: int, lr: float, view1: torch.Tensor, view2: torch.Tensor):
        self.method.before_step(number, total)
        loss, out = self.method(view1, view2)
        self.optimizer.zero_grad()
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.method.after_step(out)
        return loss


def agree(tensor: torch.Tensor, recorded: dict | float | int, what: str) -> None:
    flat = tensor.detach().double().flatten()
    if not isinstance(recorded, dict):
        recorded = {"first": [recorded]}
    ours = {"sum": flat.sum().item(), "abs_sum": flat.abs().sum().item(), "first": flat[:4].tolist()}
    for key, number in recorded.items():
        if key in ("shape", "axes"):
            continue
        for mine, theirs in zip(np.atleast_1d(ours[key]), np.atleast_1d(number), strict=True):
            assert abs(mine - theirs) <= 1e-8 * abs(theirs) + 1e-9, f"{what} {key}: {mine} != {theirs}"


def check_states(run: Run) -> None:
    state = run.method.state_dict()
    for name, recorded in run.case["after_steps"].items():
        key = names.ours(name)
        assert key is not None
        agree(state[key], recorded, name)


BYOL_LIKE = [name for name, case in CASES.items() if "ema" in case]
MOCO_LIKE = [name for name, case in CASES.items() if "queue" in case]


@pytest.mark.parametrize("name", [name for name in BYOL_LIKE if "first_forward" in CASES[name]])
def test_first_forward(name):
    run = Run(CASES[name])
    view1, view2 = both_views(run.case)
    online, target = run.method.online(view1), run.method.target([view2], 0)[0]
    height, width = online.features.size
    found = {
        "feature_map_view1": online.features.tokens.transpose(1, 2).unflatten(2, (height, width)),
        "online_global_view1": online.embeddings["global"],
        "online_aligned_view1": online.embeddings.get("aligned"),
        "target_global_view2": target.embeddings["global"],
        "target_aligned_view2": target.embeddings.get("aligned"),
    }
    for what, recorded in run.case["first_forward"].items():
        agree(found[what], recorded, what)


@pytest.mark.parametrize("name", BYOL_LIKE)
def test_steps_lewel_b_and_byol(name):
    run = Run(CASES[name])
    total = run.case["ema"]["total_steps"]
    for number, step in enumerate(run.case["steps"]):
        loss = run.step(number, total, step["lr"], *both_views(run.case))
        agree(loss, step["loss"], f"loss of step {number}")
        parameters = dict(run.method.named_parameters())
        for tensor, norm in step["grad_norm"].items():
            gradient = parameters[names.ours(tensor)].grad
            agree(gradient.norm(), norm, f"gradient norm of {tensor} at step {number}")
        agree(
            torch.tensor(run.method.target.momentum_at(number, total), dtype=torch.float64),
            step["target_momentum"],
            "target momentum",
        )
    check_states(run)


def queue_logits(objective, a, b):
    """Class 0 is the positive; the loss itself never has them all."""
    a, b = functional.normalize(a, dim=-1).flatten(0, 1), functional.normalize(b, dim=-1).flatten(0, 1)
    return torch.cat([(a * b).sum(dim=1, keepdim=True), a @ objective.queue], dim=1) / objective.temperature


@pytest.mark.parametrize("name", MOCO_LIKE)
def test_steps_moco_v2(name):
    run = Run(CASES[name])
    logits = []
    objective = run.method.objectives["global"]
    objective.register_forward_pre_hook(lambda module, rows: logits.append(queue_logits(module, *rows)))
    for number, step in enumerate(run.case["steps"]):
        query, key = step["image_seeds"]
        loss = run.step(number, 100, step["lr"], images(query, run.case), images(key, run.case))
        agree(loss, step["loss"], f"loss of step {number}")
        agree(logits[-1], step["logits"], f"logits of step {number}")
    state = {"queue_ptr": run.case["after_steps"].pop("queue_ptr")}
    agree(run.method.objectives["global"].queue_ptr, state["queue_ptr"], "queue_ptr")
    check_states(run)
