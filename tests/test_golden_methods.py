"""What the published SimSiam and DenseCL computed, in float64, number by number: both are rows of the equation.

LEWEL_GOLDEN_METHODS may name another recording of the same form.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lewel import build, config
from lewel.engine.optim import make_optimizer
from lewel.recipes import densecl, simsiam
from test_golden import DATA, agree, images, values

RECORDING = Path(os.environ.get("LEWEL_GOLDEN_METHODS", Path(__file__).parent / "golden" / "methods.json"))
CASES = json.loads(RECORDING.read_text())
LAYERS = {"0": "hidden", "1": "norm", "3": "hidden_2", "4": "norm_2", "6": "out", "7": "out_norm"}
TWO_LAYERS = {"0": "hidden", "1": "norm", "2": "out", "3": "out"}
BRANCHES = {"q": "online", "k": "target.branch"}


def ours_of_simsiam(name: str) -> str:
    name = name.removeprefix("module.")
    if match := re.fullmatch(r"encoder\.fc\.(\d)\.(.+)", name):
        return f"online.projectors.global.{LAYERS[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"predictor\.(\d)\.(.+)", name):
        return f"predictors.global.{TWO_LAYERS[match[1]]}.{match[2]}"
    return name.replace("encoder.", "online.encoder.backbone.", 1)


def ours_of_densecl(name: str) -> str:
    if match := re.fullmatch(r"encoder_([qk])\.1\.mlp(2?)\.(\d)\.(.+)", name):
        term = "dense" if match[2] else "global"
        return f"{BRANCHES[match[1]]}.projectors.{term}.{TWO_LAYERS[match[3]]}.{match[4]}"
    if match := re.fullmatch(r"encoder_([qk])\.0\.(.+)", name):
        return f"{BRANCHES[match[1]]}.encoder.backbone.{match[2]}"
    term = "dense" if name.startswith("queue2") else "global"
    return f"objectives.{term}.{name.replace('queue2', 'queue')}"


def tensor_of(name: str, shape: list[int]) -> Tensor:
    if name.endswith("_ptr"):
        return torch.zeros((), dtype=torch.long)
    if name.startswith("queue"):
        raw = values(f"{name}.weight", shape)
        return torch.from_numpy(raw / np.linalg.norm(raw, axis=0))
    tensor = torch.from_numpy(values(name, shape))
    return tensor[:, :, 0, 0] if ".mlp2." in name and tensor.ndim == 4 else tensor


class Run:
    """Our method with the recording's tensors, and its names in ours."""

    def __init__(self, case: dict, spec: config.Recipe, ours: Callable[[str], str]):
        self.case, self.ours = case, ours
        self.method = build.terms(spec).double().train()
        state = {ours(name): tensor_of(name, shape) for name, shape in case["state_dict"].items()}
        missing, unexpected = self.method.load_state_dict(state, strict=False)
        assert (missing, unexpected) == (["pending"], [])
        self.optimizer = make_optimizer(self.method, spec.optimizer)

    def step(self, number: int, recorded: dict) -> dict:
        self.method.before_step(number, 100)
        loss, out = self.method(*(images(seed, self.case) for seed in recorded["image_seeds"]))
        self.optimizer.zero_grad()
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = recorded["lr_predictor"] if group.get("constant") else recorded["lr"]
        self.check_gradients(recorded)
        self.optimizer.step()
        self.method.after_step(out)
        return out | {"loss": loss.detach()}

    def check_gradients(self, recorded: dict) -> None:
        gradients = {name: p.grad for name, p in self.method.named_parameters()}
        for name, norm in recorded["grad_norm"].items():
            gradient = gradients[self.ours(name)]
            assert (gradient is None) == (norm is None), name
            if gradient is not None:
                agree(gradient.norm(), norm, f"gradient norm of {name}")
        for beginning, norm in recorded["grad_norm_groups"].items():
            names = [name for name in self.case["state_dict"] if name.startswith(beginning.removesuffix("*"))]
            found = [gradient for name in names if (gradient := gradients.get(self.ours(name))) is not None]
            agree(nn.utils.get_total_norm(found), norm, f"gradient norm of {beginning}")

    def check_states(self) -> None:
        state = self.method.state_dict()
        for name, recorded in self.case["after_steps"].items():
            agree(state[self.ours(name)], recorded, name)


def recipe(method, case: dict, constant: tuple[str, ...] = ()) -> config.Recipe:
    spec = case["optimizer"]
    optimizer = config.Optimizer(
        "sgd", 1.0, case["image"][0], spec["weight_decay"], spec["momentum"], exclude="nothing", constant=constant
    )
    return config.Recipe("golden", method, replace(DATA, image_size=case["image"][2]), optimizer, epochs=1)


def test_simsiam() -> None:
    """Its loss is minus half the sum of the cosines, ours 2 - 2 cos at a quarter: one more."""
    case = CASES["simsiam"]
    method = simsiam.simsiam(config.Encoder("resnet18"), hidden=512, dim=case["dim"], predictor=case["pred_dim"])
    term = method.terms[0]
    method = replace(method, terms=(replace(term, projector=replace(term.projector, bias="last")),))
    run = Run(case, recipe(method, case, constant=("predictors.",)), ours_of_simsiam)
    for number, recorded in enumerate(case["steps"]):
        out = run.step(number, recorded)
        agree(out["loss"] - 1, recorded["loss"], f"loss of step {number}")
        if number == 0:
            first, second = out["compared"]["global"]
            for name, tensor in {"p1": first.predicted, "p2": second.predicted, "z1": second.target}.items():
                agree(tensor, case["first_forward"][f"{name} (b,d)"], name)
    run.check_states()


def test_the_row_leaves_out_a_bias_that_its_norm_takes_away() -> None:
    method = build.terms(recipe(simsiam.simsiam(config.Encoder("test_resnet")), CASES["simsiam"]))
    assert method.online.projectors["global"].out.bias is None
    assert len(list(method.target.parameters())) == 0


def test_densecl() -> None:
    case = CASES["densecl"]
    method = densecl.densecl(
        config.Encoder("resnet18"),
        hidden=case["hidden"],
        dim=case["dim"],
        queue=case["queue"],
        beta=case["dense_weight"],
        momentum=case["momentum"],
    )
    run = Run(case, recipe(method, case), ours_of_densecl)
    matches: list[Tensor] = []
    run.method.pairings["dense"].register_forward_hook(lambda _, __, weights: matches.append(weights.argmax(dim=2)))
    for number, recorded in enumerate(case["steps"]):
        out = run.step(number, recorded)
        assert matches[-1].tolist() == recorded["match_index"]
        agree(out["loss"], recorded["loss"], f"loss of step {number}")
        for term in ("global", "dense"):
            agree(run.method.weights[term] * out[f"loss/{term}"], recorded[f"loss_{term}_weighted"], term)
        for name, term in (("queue", "global"), ("queue2", "dense")):
            agree(run.method.objectives[term].queue, recorded[f"{name} after (d,queue)"], name)
    run.check_states()


@pytest.mark.parametrize("name", ["simsiam", "densecl"])
def test_a_row_is_one_short_file(name: str) -> None:
    source = Path({"simsiam": simsiam, "densecl": densecl}[name].__file__).read_text()
    assert len(source.splitlines()) < 100
