"""Files as the published code writes them: made from the recording's names and shapes, loaded, and run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

import test_golden as golden
from lewel import build
from lewel.config import Encoder
from lewel.errors import UserError
from lewel.interop import architectures, published, weights
from lewel.model.encoder import Encoder as Network

CASES = json.loads((Path(__file__).parents[1] / "golden" / "golden.json").read_text())
KINDS = {"eman": "LEWEL_B", "syncbn": "LEWEL_B", "byol_eman": "BYOL-EMAN", "moco_v2": "MoCo v2"}


def tensors(case: dict, prefix: str = "module.") -> dict[str, torch.Tensor]:
    state = {}
    for name, shape in case["state_dict"].items():
        if name.endswith("queue_ptr"):
            tensor = torch.zeros(shape, dtype=torch.long)
        elif name.endswith("queue"):
            raw = golden.values(name + ".weight", shape)
            tensor = torch.from_numpy(raw / np.linalg.norm(raw, axis=0))
        else:
            tensor = torch.from_numpy(golden.values(name, shape))
        state[prefix + name.removeprefix("module.")] = tensor
    return state


def checkpoint(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """As the published training scripts save it."""
    moments = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    rest = {"epoch": 100, "arch": "resnet18", "best_acc1": torch.tensor(35.1), "optimizer": moments}
    torch.save({**rest, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("name", KINDS)
def test_a_whole_method_loads_and_gives_the_recorded_numbers(name: str, prefix: str, tmp_path: Path) -> None:
    case = CASES[name]
    found = published.read(checkpoint(tmp_path / "checkpoint.pth.tar", tensors(case, prefix)))
    assert found.kind == KINDS[name]
    method = build.method(golden.recipe(case)).double().train()
    method.load_state_dict(found.method_state)  # strict
    if "first_forward" in case:
        features = method.online(golden.images(101, case)).features
        online = method.online.embed(features).embeddings
        target = method.target([golden.images(202, case)], 0)[0].embeddings
        recorded = case["first_forward"]
        golden.agree(online["global"], recorded["online_global_view1"], "online global")
        golden.agree(target["global"], recorded["target_global_view2"], "target global")
        if "aligned" in online:
            golden.agree(online["aligned"], recorded["online_aligned_view1"], "online aligned")
            golden.agree(target["aligned"], recorded["target_aligned_view2"], "target aligned")
    else:
        method.before_step(0, 10)
        seeds = case["steps"][0].get("image_seeds", [101, 202])
        loss, _ = method(*(golden.images(seed, case) for seed in seeds))
        golden.agree(loss, case["steps"][0]["loss"], "first loss")


@pytest.mark.parametrize("name", KINDS)
def test_every_tensor_of_the_file_is_the_encoders_or_named_as_unused(name: str, tmp_path: Path) -> None:
    state = tensors(CASES[name])
    found = published.read(checkpoint(tmp_path / "checkpoint.pth.tar", state))
    online = "encoder_q." if "moco" in name else "online_net.backbone."
    used = {f"{online}{key}" for key in found.encoder_state}
    assert used.isdisjoint(found.unused)
    assert used | set(found.unused) == {key.removeprefix("module.") for key in state}
    assert set(found.encoder_state) == set(Network("resnet18").backbone.state_dict())
    assert any("epoch, arch, best_acc1, optimizer" in note for note in found.notes)
    assert any("non-commercial" in note for note in found.notes)


def test_the_online_encoder_is_the_one_that_loads(tmp_path: Path) -> None:
    state = tensors(CASES["eman"])
    loaded = weights.load(checkpoint(tmp_path / "model_best.pth.tar", state))
    name = "layer3.1.bn2.running_var"
    given = state[f"module.online_net.backbone.{name}"].float()
    torch.testing.assert_close(loaded.encoder.backbone.state_dict()[name], given, rtol=0, atol=0)
    assert "predictor_obj (7)" in str(loaded.account) and "non-commercial" in str(loaded.account)
    assert loaded.account.missing == ()


def test_moco_v1_gives_its_encoder_only(tmp_path: Path) -> None:
    state = {k: v for k, v in tensors(CASES["moco_v2"]).items() if ".fc." not in k}
    for network in ("encoder_q", "encoder_k"):
        state |= {f"module.{network}.fc.weight": torch.ones(128, 512), f"module.{network}.fc.bias": torch.ones(128)}
    found = published.read(checkpoint(tmp_path / "moco_v1.pth.tar", state))
    assert (found.kind, found.method_state) == ("MoCo v1", {})
    assert {"encoder_q.fc.weight", "encoder_k.fc.bias", "encoder_k.conv1.weight", "queue"} <= set(found.unused)
    assert any("only the encoder" in note for note in found.notes)


def test_a_bare_backbone_and_the_licence_in_its_name(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(num_classes=5).state_dict()
    torch.save(state, tmp_path / "lewel_b_400ep.pth")
    torch.save({"state_dict": state}, tmp_path / "mine.pth")
    found, mine = published.read(tmp_path / "lewel_b_400ep.pth"), published.read(tmp_path / "mine.pth")
    assert found.kind == mine.kind == "backbone"
    assert found.unused == mine.unused == ("fc.weight", "fc.bias")
    assert any("LEWEL's" in note for note in found.notes) and mine.notes == ()


def test_unknown_names_are_listed(tmp_path: Path) -> None:
    state = tensors(CASES["eman"]) | {"module.extra.mlp.0.weight": torch.ones(2), "module.ema": torch.ones(1)}
    with pytest.raises(UserError, match=r"2 tensors have names .*: extra\.mlp\.0\.weight, ema;"):
        published.read(checkpoint(tmp_path / "a.pth", state))


def test_tensors_beside_the_state_dict_are_not_skipped_silently(tmp_path: Path) -> None:
    state = torchvision.models.resnet18().state_dict()
    torch.save({"state_dict": state, "extra": {"weight": torch.ones(2)}, "lr": 0.1}, tmp_path / "a.pth")
    assert "not read: extra (tensors), lr" in str(weights.load(tmp_path / "a.pth").account)


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_code_in_a_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": torchvision.models.resnet18().state_dict(), "args": Payload()}, "a.pth")
    with pytest.raises(UserError, match="code from a file is never run"):
        published.read(Path("a.pth"))
    assert not Path("executed").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_named(suffix: str, tmp_path: Path) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(torchvision.models.resnet18().state_dict(), whole)
    else:
        weights.save_encoder(Network("resnet18"), whole, {})
    for length in (0, 4, 1000, whole.stat().st_size - 100):
        path.write_bytes(whole.read_bytes()[:length])
        with pytest.raises(UserError, match=f"cut{suffix}"):
            weights.load(path)
    path.write_text("version https://example.org/spec\nsize 94000000\n")
    with pytest.raises(UserError, match=f"cut{suffix}"):
        weights.load(path)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2", "resnext50_32x4d"]
)
def test_the_architecture_is_read_from_the_shapes(name: str) -> None:
    with torch.device("meta"):
        state = getattr(torchvision.models, name)().state_dict()
    assert architectures.recognise(state).encoder == Encoder(name)


def test_an_architecture_that_no_table_has_asks_for_its_name(tmp_path: Path) -> None:
    state = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]).state_dict()
    torch.save(state, tmp_path / "file.pth")
    nearest = r"the nearest is resnet18 \(2 \+ 2 \+ 2 \+ 2 blocks, where the file has 1 \+ 1 \+ 1 \+ 1\)"
    with pytest.raises(UserError, match=rf"{nearest}; name the timm model that it is of: timm:NAME=.*file\.pth"):
        weights.load(tmp_path / "file.pth")
