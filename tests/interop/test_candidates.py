"""Encoders in other people's checkpoints: found wherever they lie, equal to the bare state dict, all else named."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from lewel import config
from lewel.errors import UserError
from lewel.interop import candidates, weights
from lewel.interop.candidates import Candidate

State = dict[str, Tensor]
NAME = "test_resnet"  # of timm's smallest
HEAD = {"projector.0.weight": torch.zeros(8, 64)}


@cache
def resnet18() -> State:
    torch.manual_seed(0)
    return timm.create_model("resnet18").state_dict()


@cache
def tiny() -> State:
    torch.manual_seed(0)
    return timm.create_model(NAME).state_dict()


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def changed(state: State) -> State:
    return {name: tensor + 1 for name, tensor in state.items()}


def chosen(content: Mapping[str, Any], encoder: config.Encoder | None = None, place: str = "") -> Candidate:
    found = candidates.choose(candidates.find(candidates.groups(content), encoder), place).chosen
    assert found is not None
    return found


def is_bare(found: Candidate, state: State) -> bool:
    wanted = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    return found.state.keys() == wanted.keys() and all(torch.equal(found.state[n], t) for n, t in wanted.items())


def by_place(state: State, first_stage: int = 4) -> State:
    """As in nn.Sequential(*list(resnet.children())[:-1])."""
    places = {"conv1": 0, "bn1": 1} | {f"layer{stage}": first_stage + stage - 1 for stage in range(1, 5)}
    split = ((name.split(".", 1), tensor) for name, tensor in state.items() if not name.startswith("fc."))
    return {f"{places[module]}.{rest}": tensor for (module, rest), tensor in split}


def of_transformers(state: State) -> State:
    """The names of transformers' ResNetModel."""
    kinds = {"conv": "convolution", "bn": "normalization"}

    def renamed(name: str) -> str:
        name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", name)
        name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
        name = re.sub(r"^layer(\d)\.(\d+)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.", name)
        name = re.sub(r"\.(conv|bn)(\d)\.", lambda m: f".layer.{int(m[2]) - 1}.{kinds[m[1]]}.", name)
        return name.replace("downsample.0", "shortcut.convolution").replace("downsample.1", "shortcut.normalization")

    return {renamed(name): tensor for name, tensor in state.items() if not name.startswith("fc.")}


LAYOUTS: dict[str, tuple[Callable[[State], Mapping[str, Any]], str]] = {
    "bare": (lambda s: s, ""),
    "solo-learn": (lambda s: {"state_dict": under("backbone.", s) | HEAD, "epoch": 3}, "state_dict.backbone"),
    "Lightning": (lambda s: {"state_dict": under("model.backbone.", s)}, "state_dict.model.backbone"),
    "lightly": (lambda s: {"state_dict": under("backbone.", by_place(s)) | HEAD}, "state_dict.backbone"),
    "no max-pool": (lambda s: {"f." + name: tensor for name, tensor in by_place(s, 3).items()}, "f"),
    "student_backbone": (lambda s: {"state_dict": under("student_backbone.", s)}, "state_dict.student_backbone"),
    "model_state_dict": (lambda s: {"model_state_dict": s}, "model_state_dict"),
    "net": (lambda s: {"net": under("module.", s), "acc": 93.1}, "net.module"),
    "compiled": (lambda s: {"model": under("_orig_mod.module.encoder._orig_mod.", s)}, "model.module.encoder"),
    "compiled stages": (lambda s: {n.replace("layer1.", "layer1._orig_mod."): t for n, t in s.items()}, ""),
    "VISSL": (
        lambda s: {"classy_state_dict": {"base_model": {"model": {"trunk": under("_feature_blocks.", s)}}}},
        "classy_state_dict.base_model.model.trunk._feature_blocks",
    ),
    "transformers": (lambda s: under("resnet.", of_transformers(s)), "resnet"),
    "shortcut": (lambda s: {"net": {n.replace("downsample", "shortcut"): t for n, t in s.items()}}, "net"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_encoder_is_found_by_names_and_shapes(layout: str) -> None:
    wrap, where = LAYOUTS[layout]
    for encoder in (None, config.Encoder("resnet18")):
        found = chosen(wrap(resnet18()), encoder)
        assert (found.where, found.encoder, found.fits) == (where, config.Encoder("resnet18"), True)
        assert is_bare(found, resnet18())


def wrapped(prefix: str, other: str = "") -> Mapping[str, Any]:
    """Two encoders under dotted places, of which the first has the bare tensors."""
    content: dict[str, Any] = {}
    for place, state in (*((((other, changed(resnet18())),)) if other else ()), (prefix, resnet18())):
        key, _, rest = place.partition(".")
        content.setdefault(key, {}).update(under(rest, state))
    return content


@pytest.mark.parametrize(
    ("best", "other", "why"),
    [
        ("teacher.module.backbone.", "student.module.backbone.", "the teacher, which DINO"),
        ("state_dict_ema.", "state_dict.", "the moving average, which timm"),
        ("model_ema.module.", "model.", "the moving average, which timm"),
        ("state_dict.backbone.", "state_dict.momentum_backbone.", "the network that gradients trained"),
        ("state_dict.module.encoder_q.", "state_dict.module.encoder_k.", "the network that gradients trained"),
        ("model.online_encoder.net.", "model.target_encoder.net.", "the network that gradients trained"),
        ("state_dict.module.base_encoder.", "state_dict.module.momentum_encoder.", "the network that gradients"),
        ("state_dict.teacher_backbone.", "state_dict.student_backbone.", "the teacher, which DINO"),
    ],
)
def test_of_two_encoders_the_one_that_is_evaluated_is_chosen_and_the_other_can_be(best, other, why) -> None:
    content = wrapped(best, other)
    found = candidates.find(candidates.groups(content), None)
    choice = candidates.choose(found, "")
    assert choice.chosen is not None and choice.chosen.where == best.rstrip(".") and choice.why.startswith(why)
    assert [each.where for each in choice.others] == [other.rstrip(".")]
    assert is_bare(choice.chosen, resnet18())
    assert is_bare(chosen(content, place=other.rstrip(".")), changed(resnet18()))


def test_a_place_that_is_none_or_several_is_refused_with_those_there_are(tmp_path: Path) -> None:
    torch.save({"student": tiny(), "teacher": tiny()}, tmp_path / "dino.pth")
    for place in ("nowhere", "teach"):
        with pytest.raises(UserError, match=r"give .*dino\.pth#student or .*dino\.pth#teacher$"):
            weights.load(f"timm:{NAME}={tmp_path / 'dino.pth'}#{place}")


def test_every_key_is_read_or_named_with_why(tmp_path: Path) -> None:
    state = under("backbone.", tiny()) | under("momentum_backbone.", changed(tiny())) | HEAD
    moments = [{"state": {0: {"exp_avg": torch.ones(3)}}}]
    rest = {"epoch": 3, "optimizer_states": moments, "args": argparse.Namespace(lr=0.1), "stats": torch.ones(2)}
    torch.save({"state_dict": state, **rest}, tmp_path / "solo.ckpt")
    found = weights.load(f"timm:{NAME}={tmp_path / 'solo.ckpt'}").account
    assert found.loaded + len(found.unused) == len(state)
    counts = found.counts()
    assert "backbone (2) classifier, momentum_backbone (" in counts and "projector (1) no part of the encoder" in counts
    assert f"momentum_backbone ({len(tiny())}) another encoder" in counts
    (beside,) = [note for note in found.notes if note.startswith("not read: ")]
    assert beside == "not read: epoch, optimizer_states (training state), args, stats (tensors)"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_features_are_those_of_the_bare_state_dict(tmp_path: Path, suffix: str) -> None:
    import safetensors.torch

    content = under("module.backbone.", tiny()) | HEAD
    path = tmp_path / f"file{suffix}"
    torch.save({"state_dict": content}, path) if suffix == ".pth" else safetensors.torch.save_file(content, path)
    torch.save(tiny(), tmp_path / "bare.pth")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    ours, bare = (weights.load_encoder(f"timm:{NAME}={each}") for each in (path, tmp_path / "bare.pth"))
    assert not ours.training and torch.equal(ours(images), bare(images))


def test_the_stem_is_read_from_the_shapes_and_what_they_do_not_show_is_said(tmp_path: Path) -> None:
    state = resnet18() | {"conv1.weight": torch.ones(64, 3, 3, 3)}
    for encoder in (None, config.Encoder("resnet18")):
        assert chosen({"net": state}, encoder).encoder == config.Encoder("resnet18", "small")
    torch.save({"net": state}, tmp_path / "cifar.pth")
    assert "small stem (3x3; padding 1 and no max-pool are taken" in str(weights.load(tmp_path / "cifar.pth").account)


def test_another_network_with_the_same_names_is_refused(tmp_path: Path) -> None:
    """Squeeze-and-excitation between a ResNet's layers changes every feature."""
    state = resnet18() | {"layer1.0.se.fc1.weight": torch.ones(4, 64, 1, 1)}
    assert not chosen(state).fits
    torch.save(state, tmp_path / "se.pth")
    with pytest.raises(UserError, match=r"does not fit resnet18 .* 1 unexpected: layer1\.0\.se\.fc1\.weight"):
        weights.load(tmp_path / "se.pth")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_384", "convnext_atto"])
def test_vits_and_convnexts_are_recognised(name: str) -> None:
    with torch.device("meta"):
        state = timm.create_model(name, num_classes=7).state_dict()
    found = chosen({"teacher": under("backbone.", state)})
    assert found.encoder == config.Encoder(name) and found.fits and len(found.classifier) == 2


def test_the_wrong_name_is_told_the_right_one(tmp_path: Path) -> None:
    torch.save({"state_dict": under("backbone.", resnet18())}, tmp_path / "a.pth")
    with pytest.raises(
        UserError, match=r"holds no resnet50; its tensors are those of resnet18: timm:resnet18=.*a\.pth"
    ):
        weights.load(f"timm:resnet50={tmp_path / 'a.pth'}")


def test_what_holds_no_encoder_is_one_line(tmp_path: Path) -> None:
    for content in ({"a": 1}, {"weight": torch.ones(3)}, {"a": [torch.ones(3)]}):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"a\.pth holds no") as caught:
            weights.load(tmp_path / "a.pth")
        assert "\n" not in str(caught.value)


def test_a_dict_that_holds_itself_ends() -> None:
    content: dict[str, Any] = {"state_dict": tiny()}
    content["self"] = content
    assert is_bare(chosen(content, config.Encoder(NAME)), tiny())


def test_escapes_in_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    torch.save(tiny() | {"\x1b[2J\rhead\ud800": torch.ones(1)} | {"x\x1b": 1}, tmp_path / "a.pth")
    said = str(weights.load(f"timm:{NAME}={tmp_path / 'a.pth'}").account)
    assert said.isprintable() and r"\x1b[2J\rhead" in said
    torch.save({"\x1b[2J": torch.ones(1)}, tmp_path / "b.pth")
    with pytest.raises(UserError) as caught:
        weights.load(tmp_path / "b.pth")
    assert str(caught.value).isprintable()
