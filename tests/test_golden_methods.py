"""What the published SimSiam and DenseCL computed, in float64, number by number: both are rows of the equation.

Of PixPro the first step: its pairs of positions are a kind here, and its propagation is one of this file's own.
LEWEL_GOLDEN_METHODS may name another recording of the same form.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lewel import build, config, terms
from lewel.engine.optim import make_optimizer
from lewel.errors import UserError
from lewel.recipes import densecl, simsiam
from lewel.shapes import View
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
    rows = re.search(r"\.mlp2\.|\.linear\d\.|value_transform", name)  # 1x1 convolutions there, linear layers here
    return tensor[:, :, 0, 0] if rows and tensor.ndim == 4 else tensor


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
    run.method.pairings["dense"].register_forward_hook(lambda _, __, pairs: matches.append(pairs.argmax(dim=2)))
    for number, recorded in enumerate(case["steps"]):
        out = run.step(number, recorded)
        assert matches[-1].tolist() == recorded["match_index"]
        agree(out["loss"], recorded["loss"], f"loss of step {number}")
        for term in ("global", "dense"):
            agree(run.method.weights[term] * out[f"loss/{term}"], recorded[f"loss_{term}_weighted"], term)
        for name, term in (("queue", "global"), ("queue2", "dense")):
            agree(run.method.objectives[term].queue, recorded[f"{name} after (d,queue)"], name)
    run.check_states()


@dataclass(frozen=True)
class Propagation(terms.Head):
    """PixPro's predictor: y_i = sum_j max(cos(z_i, z_j), 0)^2 unit(V z_j)."""

    def build(self, width: int) -> nn.Module:
        return PropagationModule(width, self.out)


class PropagationModule(nn.Module):
    def __init__(self, width: int, out: int):
        super().__init__()
        self.value = nn.Linear(width, out)

    def forward(self, rows: Tensor) -> Tensor:
        unit = nn.functional.normalize(rows, dim=2)
        weights = (unit @ unit.transpose(1, 2)).clamp(min=0).square()
        return weights @ nn.functional.normalize(self.value(rows), dim=2)


def ours_of_pixpro(name: str) -> str:
    name = name.removeprefix("module.").replace("value_transform", "predictors.pixel.value")
    name = re.sub(r"^encoder(_k)?\.", lambda m: f"{'target.branch' if m[1] else 'online'}.encoder.backbone.", name)
    layers = {"linear1": "hidden", "bn1": "norm", "linear2": "out"}
    if match := re.fullmatch(r"projector(_k)?\.(linear1|bn1|linear2)\.(.+)", name):
        return f"{'target.branch' if match[1] else 'online'}.projectors.pixel.{layers[match[2]]}.{match[3]}"
    return name


def geometry(crops: list[dict], view: str, size: list[int]) -> Tensor:
    rows = [[*each[view]["crop (left, top, width, height)"], *size, int(each[view]["flip"]), 0] for each in crops]
    return torch.tensor(rows, dtype=torch.int32)


def test_pixpro_first_step() -> None:
    """Its loss is -2 cos over pairs, ours 2 - 2 cos: twice an image's share of pairs more, which is 0 without pairs."""
    case = CASES["pixpro"]
    head, predictor = terms.MLP(case["dim"], (case["hidden"],), bias="all"), Propagation(case["dim"])
    pairing = terms.Overlap(case["positive_ratio"])
    term = terms.Term("pixel", 1.0, terms.Pixel(), head, predictor, terms.Cosine(), pairing)
    target = terms.Momentum(case["ema"]["base_momentum"], "cosine", "before", "batch")
    method = terms.Method(config.Encoder("resnet18"), (term,), target, terms.BOTH_WAYS)
    run, recorded = Run(case, recipe(method, case), ours_of_pixpro), case["steps"][0]
    pairs: list[Tensor] = []
    run.method.pairings["pixel"].register_forward_hook(lambda _, __, found: pairs.append(found))
    run.method.before_step(0, case["ema"]["total_steps"])
    views = [
        View(images(seed, case), geometry(recorded["crops"], f"view {number}", case["source_image (width, height)"]))
        for number, seed in enumerate(recorded["image_seeds"], 1)
    ]
    loss, _ = run.method(*views)
    counts = [int((found > 0).sum()) for found in pairs[0]]
    assert counts == recorded["positive pairs of each image (view 1 row-major x view 2 row-major)"]
    mask = case["first_forward"]["positive mask, image 1 (rows: positions of view 1)"]
    assert (pairs[0][0] > 0).int().tolist() == mask
    more = sum(2 * found.sum(dim=(1, 2)).mean() for found in pairs)
    agree(loss - more, recorded["loss"], "loss")
    loss.backward()
    run.check_gradients(recorded)


def test_geometry_is_asked_for_by_the_pairing_alone() -> None:
    dense = densecl.densecl(config.Encoder("test_resnet"), hidden=16, dim=8, queue=8)
    assert not build.terms(recipe(dense, CASES["densecl"])).takes_geometry
    overlapping = replace(dense.terms[1], objective=terms.Cosine(), pairing=terms.Overlap())
    method = replace(dense, terms=(dense.terms[0], overlapping))
    assert build.terms(recipe(method, CASES["densecl"])).takes_geometry
    with pytest.raises(UserError, match="Overlap and Queue do not go together"):
        replace(dense.terms[1], pairing=terms.Overlap())
    turned = recipe(method, CASES["densecl"])
    turned = replace(turned, data=replace(turned.data, views=(config.View(rotation=10.0), config.View())))
    with pytest.raises(UserError, match="knows no rotation"):
        build.method(turned)


@pytest.mark.parametrize("name", ["simsiam", "densecl"])
def test_a_row_is_one_short_file(name: str) -> None:
    source = Path({"simsiam": simsiam, "densecl": densecl}[name].__file__).read_text()
    assert len(source.splitlines()) < 100
