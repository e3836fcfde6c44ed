"""encoder.safetensors and the other sources of an encoder: equal features elsewhere, nothing skipped or cut short."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from lewel import build, config
from lewel.errors import UserError
from lewel.interop import sources, weights
from lewel.model.encoder import Encoder
from lewel.recipes import lewel_b_tiny, moco_v2_tiny

FACTS = {"recipe": "test", "image_size": 32, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}


def trained(name: str, stem: str = "imagenet") -> Encoder:
    """An encoder whose BN statistics are not the initial ones, for inference."""
    torch.manual_seed(0)
    encoder = Encoder(name, stem)
    with torch.no_grad():
        encoder.train()(torch.randn(4, 3, 64, 64))
    return encoder.eval()


@torch.no_grad()
def features(encoder: nn.Module) -> Tensor:
    return encoder.eval()(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_timm_and_torchvision_load_the_file_and_give_equal_features(name: str, tmp_path: Path) -> None:
    ours = trained(name)
    path = tmp_path / "encoder.safetensors"
    weights.save_encoder(ours, path, FACTS)
    pooled = features(ours).mean(dim=(2, 3))

    theirs = getattr(torchvision.models, name)()
    theirs.fc = nn.Identity()
    theirs.load_state_dict(safetensors.torch.load_file(path), strict=True)
    torch.testing.assert_close(features(theirs), pooled, rtol=0, atol=1e-6)  # another mean over positions

    model = timm.create_model(name, num_classes=0, checkpoint_path=str(path))
    torch.testing.assert_close(features(model), pooled, rtol=0, atol=1e-6)
    model.load_state_dict(safetensors.torch.load_file(path), strict=True)
    model.forward = model.forward_features
    assert torch.equal(features(model), features(ours))
    assert torch.equal(features(weights.load_encoder(path)), features(ours))


def test_torchvisions_feature_map_is_ours_bit_for_bit(tmp_path: Path) -> None:
    ours = trained("resnet18")
    weights.save_encoder(ours, tmp_path / "a.safetensors", FACTS)
    theirs = torchvision.models.resnet18()
    theirs.fc = nn.Identity()
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "a.safetensors"))
    assert torch.equal(features(nn.Sequential(*list(theirs.children())[:-2])), features(ours))


def test_the_small_stem_in_timm_as_the_docstring_says(tmp_path: Path) -> None:
    ours = trained("resnet18", "small")
    weights.save_encoder(ours, tmp_path / "encoder.safetensors", FACTS)
    model = timm.create_model("resnet18", num_classes=0)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    model.load_state_dict(safetensors.torch.load_file(tmp_path / "encoder.safetensors"))
    model.forward = model.forward_features
    assert torch.equal(features(model), features(ours))
    again = weights.load_encoder(tmp_path)
    assert again.stem == "small" and torch.equal(features(again), features(ours))


def test_the_same_encoder_gives_the_same_bytes_whatever_its_layout(tmp_path: Path) -> None:
    encoder = Encoder("resnet18")
    weights.save_encoder(encoder, tmp_path / "a", FACTS)
    encoder.to(memory_format=torch.channels_last)
    weights.save_encoder(encoder, tmp_path / "b", dict(reversed(FACTS.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    from lewel import __version__

    weights.save_encoder(Encoder("resnet18", "small"), tmp_path / "encoder.safetensors", FACTS)
    expected = {"recipe": "test", "image_size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    expected |= {"encoder": "resnet18", "stem": "small", "lewel": __version__, "format": 1}
    assert weights.read_metadata(tmp_path / "encoder.safetensors") == expected == weights.load(tmp_path).metadata


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "encoder.safetensors"
    weights.save_encoder(Encoder("resnet18"), path, FACTS)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"not written \(No space left.*make room"):
        weights.save_encoder(Encoder("resnet18"), path, FACTS)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["encoder.safetensors"]


def test_a_supervised_file_loads_and_its_classifier_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    loaded = weights.load(tmp_path / "a.pth")
    assert loaded.account.unexpected == ("fc.weight", "fc.bias")
    assert loaded.account.loaded == len(theirs.state_dict()) - 2
    assert torch.equal(features(loaded.encoder), features(nn.Sequential(*list(theirs.children())[:-2])))
    with caplog.at_level("INFO", logger="lewel"):
        weights.load_encoder(tmp_path / "a.pth")
    assert "not used: fc (2)" in caplog.text


def test_files_older_than_bn_counters_load_and_the_counters_are_named(tmp_path: Path) -> None:
    state = torchvision.models.resnet18().state_dict()
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    torch.save(without(state, *counters), tmp_path / "a.pth")
    account = weights.load(tmp_path / "a.pth").account
    assert set(account.missing) == set(counters) and "20 BN counters" in str(account)


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    state = without(Encoder("resnet18").backbone.state_dict(), "bn1.weight", "layer2.0.conv1.weight")
    state |= {"layer1.0.conv9.weight": torch.ones(1), "conv1.weight": torch.ones(64, 1, 7, 7)}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError) as caught:
        weights.load(tmp_path / "a.pth")
    message = str(caught.value)
    assert "2 missing: bn1.weight, layer2.0.conv1.weight" in message
    assert "1 unexpected: layer1.0.conv9.weight" in message
    assert "1 of another shape: conv1.weight (64, 1, 7, 7), here (64, 3, 7, 7)" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "classifier"), [("mobilenetv3_small_050", "classifier"), ("convnext_atto", "head.fc"), ("resnet10t", "fc")]
)
def test_any_timm_model_by_name_and_file(name: str, classifier: str, tmp_path: Path) -> None:
    model = timm.create_model(name, num_classes=3).eval()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded = weights.load(f"timm:{name}={tmp_path / 'model.safetensors'}")
    assert loaded.account.unexpected == (f"{classifier}.bias", f"{classifier}.weight")
    model.forward = model.forward_features
    assert torch.equal(features(loaded.encoder), features(model))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.pth", "nowhere.pth does not exist; give a run directory"),
        ("timm:resnet19=a.pth", "timm:resnet19 is not a timm model; did you mean resnet1"),
        ("timm:resnet18=nowhere.pth", "nowhere.pth cannot be read: No such file"),
        ("random:resnet19", "resnet19 is not a timm model"),
    ],
)
def test_wrong_sources_get_one_line(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        weights.load(source)
    assert "\n" not in str(caught.value)


def test_an_encoder_is_in_eval_mode_and_a_path_may_be_text(tmp_path: Path) -> None:
    path = str(tmp_path / "encoder.safetensors")
    weights.save_encoder(Encoder("test_resnet").train(), path, FACTS)
    for source in (path, tmp_path, "random:test_resnet"):
        encoder = weights.load_encoder(source)
        assert not any(part.training for part in encoder.modules())


def test_a_file_of_a_newer_lewel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FORMAT", 2)
    weights.save_encoder(Encoder("test_resnet"), tmp_path / "encoder.safetensors", FACTS)
    monkeypatch.undo()
    with pytest.raises(UserError, match="was written by a newer lewel: format 2, and this one reads up to 1; pip"):
        weights.load(tmp_path)


WRONG = {  # not in this process, where the tests' type checker would be first
    "load_encoder(3)": "3 is no source of weights",
    "load_encoder('x' * 5000)": "does not exist; give a run directory",
    "load_encoder('timm:resnet18=')": "names no file",
    "save_encoder(lewel.recipes, 'x', {})": "save_encoder takes an Encoder",
    "save_encoder(encoder, None, {})": "and a path",
    "save_encoder(encoder, 'x', {'a': object()})": "what JSON can hold",
    "save_encoder(encoder, 'no/x', {})": "not written (No such file or directory)",
    "initialise(3, 'random')": "initialise takes a method",
    "read_published(3)": "3 is no path",
    "export('random:test_resnet', 3, 'x.pth')": "to=3: a text is needed",
    "export('random:test_resnet', 'timm', 3)": "out=3: a path is needed",
    "recipes.get(3)": "3 is no name of a recipe",
    "build.method('lewel_b_tiny')": "build.method takes a Recipe",
    "Encoder(3)": "3 is no name of an encoder",
    "Encoder('resnet18', 'x')": "--stem x: imagenet or small",
}


def test_wrong_inputs_of_the_public_functions_are_told_in_one_line(tmp_path: Path) -> None:
    code = "import json, sys, lewel\nencoder = lewel.load_encoder('random:test_resnet')\n"
    code += "for call in json.loads(sys.argv[1]):\n    try:\n        eval('lewel.' + call)\n"
    code += "    except lewel.UserError as error:\n        print(error)"
    command = [sys.executable, "-c", code, json.dumps(list(WRONG))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for said, expected in zip(done.stdout.splitlines(), WRONG.values(), strict=True):
        assert expected in said
    assert not list(tmp_path.iterdir())


def test_random_takes_a_name_or_the_architecture_of_a_file(tmp_path: Path) -> None:
    given = Encoder("resnet18", "small")
    weights.save_encoder(given, tmp_path / "encoder.safetensors", FACTS)
    untrained = weights.load_encoder(f"random:{tmp_path}")
    assert (untrained.name, untrained.stem) == ("resnet18", "small")
    assert not torch.equal(untrained.backbone.conv1.weight, given.backbone.conv1.weight)
    assert weights.load_encoder("random:resnet10t").stem == "imagenet"


def test_initialise_starts_both_networks_and_leaves_the_heads(tmp_path: Path) -> None:
    given = trained("resnet18")
    weights.save_encoder(given, tmp_path / "encoder.safetensors", FACTS)
    method = build.method(lewel_b_tiny())
    images = torch.randn(2, 3, 64, 64)
    method(images, images)  # the target's folded copy exists
    heads = {name: t.clone() for name, t in method.state_dict().items() if ".encoder." not in name}
    account = weights.initialise(method, str(tmp_path))
    assert account.loaded == len(given.backbone.state_dict()) and (account.missing, account.unexpected) == ((), ())
    for branch in (method.online, method.target.branch):
        assert torch.equal(features(branch.encoder), features(given))
    expected = method.target.branch.eval()(images).embeddings
    for name, rows in method.target([images], 0)[0].embeddings.items():
        torch.testing.assert_close(rows, expected[name], rtol=1e-3, atol=1e-4)
    assert all(torch.equal(method.state_dict()[name], tensor) for name, tensor in heads.items())


def test_initialise_of_another_encoder_changes_nothing(tmp_path: Path) -> None:
    weights.save_encoder(Encoder("resnet18", "small"), tmp_path / "encoder.safetensors", FACTS)
    method = build.method(moco_v2_tiny())
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    with pytest.raises(UserError, match=r"resnet18 with the small stem.* use --encoder resnet18 --stem small"):
        weights.initialise(method, tmp_path)
    assert str(weights.initialise(method, "random")).startswith("random: 0 tensors")
    assert all(torch.equal(method.state_dict()[name], tensor) for name, tensor in before.items())


def test_timms_pretrained_weights_by_timms_own_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the hub's cache, without a look at the network."""
    pretrained = timm.create_model("resnet18").eval()
    safetensors.torch.save_file(pretrained.state_dict(), tmp_path / "hub.safetensors")
    cached = {("timm/resnet18.a1_in1k", "model.safetensors"): str(tmp_path / "hub.safetensors")}
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda id, name, **_: cached.get((id, name)))
    monkeypatch.setattr("urllib.request.urlopen", None)
    method = build.method(moco_v2_tiny())
    account = weights.initialise(method, "timm:resnet18")
    assert account.unexpected == ("fc.weight", "fc.bias")
    pretrained.forward = pretrained.forward_features
    assert torch.equal(features(method.online.encoder), features(pretrained))
    assert torch.equal(features(method.target.branch.encoder), features(pretrained))
    assert weights.load("timm:resnet18").metadata["mean"] == list(config.IMAGENET_MEAN)


def test_timms_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"timm:resnet10t: timm found no pretrained weights.* timm:resnet10t=FILE"):
        weights.load("timm:resnet10t")
