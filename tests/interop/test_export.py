"""Files for other tools: what their readers make of them is what the encoder makes, and nothing else is replaced."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from torch import nn

from command import lewel as run_lewel
from lewel import cli
from lewel.errors import UserError
from lewel.evaluate.subject import open_subject
from lewel.interop import detectron2, mmseg, weights
from lewel.interop.export import FORMATS, TOLERANCE, Exported, export
from lewel.interop.given import open_given
from lewel.model.encoder import Encoder, Headless

Saved = Callable[..., str]  # (path, name, stem) -> path
RUNS_HERE = ("torchvision", "timm", "safetensors", "onnx")
LICENCE = "the weights that MoCo's authors publish are licensed CC BY-NC 4.0: for non-commercial use only"


@pytest.fixture(scope="module")
def small(saved: Saved, tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("weights") / "small.safetensors", "resnet18", "small")


@pytest.fixture(scope="module")
def exports(source: str, images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    out = tmp_path_factory.mktemp("out")
    return {to: export(source, to, out / f"{to}{form.ending}", images) for to, form in FORMATS.items()}


# -- what is written


@pytest.mark.parametrize("to", FORMATS)
def test_every_reader_has_all_tensors_and_the_same_features(exports: dict[str, Exported], to: str) -> None:
    found = exports[to]
    assert {difference.output: difference.shape for difference in found.differences} == {
        "map": (3, 512, 2, 2),
        "pooled": (3, 512),
    }
    assert all(each.mean <= each.largest <= TOLERANCE * each.scale for each in found.differences)
    assert found.tensors == 120
    if to == "onnx":
        assert len(found.read.missing) == 100 and found.read.matched == 20  # the convolutions
    else:
        assert (found.read.written, found.read.matched, found.read.missing, found.read.unexpected) == (120, 120, (), ())
        assert all(each.largest <= 1e-6 * each.scale for each in found.differences)


@pytest.mark.slow
def test_the_snippets_run(exports: dict[str, Exported], small: str, images: Path, tmp_path: Path) -> None:
    """In one process, as files: what they print is the shape of the features of two images."""
    expected = {"torchvision": "[2, 512]", "timm": "[2, 512, 2, 2]", "safetensors": "[2, 512, 2, 2]"}
    expected["onnx"] = "(2, 512, 2, 2)\n(2, 512)"
    snippets = {to: exports[to].snippet for to in RUNS_HERE}
    for to in ("timm", "safetensors"):
        out = tmp_path / f"small{FORMATS[to].ending}"
        snippets[f"small-{to}"] = export(small, to, out, images).snippet
        expected[f"small-{to}"] = "[2, 512, 8, 8]"
    for name, snippet in snippets.items():
        (tmp_path / f"load-{name}.py").write_text(snippet, encoding="utf-8")
    script = "import runpy, sys\nfor name in sys.argv[1:]:\n    print(name)\n    runpy.run_path('load-' + name + '.py')"
    command = [sys.executable, "-c", script, *snippets]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.replace("torch.Size(", "").replace("])", "]") == "".join(
        f"{name}\n{expected[name]}\n" for name in snippets
    )


@pytest.mark.parametrize("to", ["detectron2", "mmseg"])
def test_the_snippets_of_tools_that_are_not_here_are_python(exports: dict[str, Exported], to: str) -> None:
    compile(exports[to].snippet, to, "exec")


def test_torchvision_loads_it_strictly(exports: dict[str, Exported], source: str) -> None:
    model = torchvision.models.resnet18()
    model.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    model.load_state_dict(torch.load(exports["torchvision"].out, weights_only=True), strict=True)
    ours = weights.load_encoder(source).backbone.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in model.state_dict().items())


def test_safetensors_has_the_digest_of_the_source(exports: dict[str, Exported], source: str) -> None:
    again = open_subject(str(exports["safetensors"].out))
    assert again.digest == open_subject(source).digest
    assert (again.image_size, again.mean, again.std) == (64, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def test_onnx_takes_any_batch_and_size(exports: dict[str, Exported], source: str) -> None:
    out = exports["onnx"].out
    assert [each.version for each in onnx.load(out).opset_import if not each.domain] == [18]
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    given = torch.randn(3, 3, 96, 130, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = weights.load_encoder(source).eval()(given)
    found = torch.from_numpy(np.asarray(session.run(["map"], {"images": given.numpy()})[0]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.max()))


def test_a_network_without_a_map(images: Path, tmp_path: Path) -> None:
    name = "test_vit"  # timm's smallest
    torch.manual_seed(0)
    state = Headless(name).backbone.state_dict()
    torch.save(state, tmp_path / "vit.pth")
    for to in ("timm", "safetensors", "onnx"):
        found = export(f"timm:{name}={tmp_path / 'vit.pth'}", to, tmp_path / f"out{FORMATS[to].ending}", images)
        assert [difference.output for difference in found.differences] == ["pooled"]
    assert not found.read.any_size
    assert open_subject(str(tmp_path / "out.safetensors")).features(torch.zeros(1, 3, 160, 160)).shape == (1, 64)


def test_another_family_to_timm(saved: Saved, images: Path, tmp_path: Path) -> None:
    given = saved(tmp_path / "a.safetensors", "convnext_atto")
    assert export(given, "timm", tmp_path / "a.pth", images).read.matched == 126


def test_without_data_it_makes_images(source: str, tmp_path: Path) -> None:
    assert export(source, "timm", tmp_path / "a.pth").differences[0].shape == (8, 512, 2, 2)


# -- mmseg


def test_mmsegs_config_and_file(exports: dict[str, Exported]) -> None:
    found, scope = exports["mmseg"], {}
    exec(found.config, scope)
    assert scope["model"]["data_preprocessor"] == {
        "mean": [127.5, 102.0, 76.5],
        "std": [51.0, 63.75, 76.5],
        "bgr_to_rgb": True,
    }
    backbone = scope["model"]["backbone"]
    assert (backbone["type"], backbone["depth"], backbone["style"]) == ("ResNet", 18, "pytorch")
    assert backbone["init_cfg"] == {"type": "Pretrained", "checkpoint": str(found.out)}
    assert list(torch.load(found.out, weights_only=True)) == ["state_dict", "meta"]

    exec(mmseg.config(open_given("random:resnext50_32x4d", "mmseg"), found.out), scope)
    backbone = scope["model"]["backbone"]
    assert [backbone[key] for key in ("type", "depth", "groups", "base_width")] == ["ResNeXt", 50, 32, 4]


# -- licences


@pytest.mark.parametrize("to", FORMATS)
def test_licences_go_with_the_weights(source: str, images: Path, tmp_path: Path, to: str, capsys) -> None:
    given = tmp_path / "moco_v2.pth"
    torch.save(weights.load_encoder(source).backbone.state_dict(), given)
    out = tmp_path / f"out{FORMATS[to].ending}"
    assert run_lewel("export", "--weights", given, "--to", to, "--out", out, "--data", images) == 0
    assert LICENCE in capsys.readouterr().out
    record = FORMATS[to].record(out)
    assert record is not None and record["licence"] == [LICENCE] and record["export"] == to
    if to == "safetensors":
        assert weights.load(out).account.licence == (LICENCE,)
    if to == "onnx":
        assert json.loads({each.key: each.value for each in onnx.load(out).metadata_props}["lewel"]) == record
    if to == "mmseg":
        assert torch.load(out, weights_only=True)["meta"] == record


# -- refusals


def test_a_file_that_reads_back_otherwise_is_not_left(
    source: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batch norms of equal shape in each other's place: all names match, the features do not."""
    out = tmp_path / "out.pkl"
    export(source, "detectron2", out, images)
    before = out.read_bytes()
    right = detectron2.renamed
    swap = {"layer4.0.bn1.": "layer4.0.bn2.", "layer4.0.bn2.": "layer4.0.bn1."}

    def wrong(name: str) -> str:
        prefix = next((prefix for prefix in swap if name.startswith(prefix)), None)
        return right(name if prefix is None else swap[prefix] + name.removeprefix(prefix))

    monkeypatch.setattr(detectron2, "renamed", wrong)
    for path in (out, tmp_path / "new.pkl"):
        with pytest.raises(UserError, match="the features differ, map"):
            export(source, "detectron2", path, images)
    assert out.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["out.pkl"]

    monkeypatch.setattr(detectron2, "renamed", lambda name: right(name).replace("res5.1.", "res5.7."))
    with pytest.raises(UserError, match="12 tensors that the reader needs are missing"):
        export(source, "detectron2", out, images)
    assert out.read_bytes() == before


def test_weights_that_are_not_finite(images: Path, tmp_path: Path) -> None:
    state = Encoder("resnet18").backbone.state_dict()
    state["layer1.0.conv1.weight"][0] = torch.nan
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match="largest nan"):
        export(tmp_path / "a.pth", "timm", tmp_path / "b.pth", images)
    assert not (tmp_path / "b.pth").exists()


@pytest.mark.parametrize("to", FORMATS)
def test_only_its_own_files_are_replaced(exports: dict[str, Exported], source: str, tmp_path: Path, to: str) -> None:
    record = FORMATS[to].record
    assert record(exports[to].out)
    others = tmp_path / f"other{FORMATS[to].ending}"
    others.write_bytes(b"something else")
    assert record(others) is None
    if to in ("torchvision", "timm", "mmseg"):
        torch.save(torchvision.models.resnet18().state_dict(), others)
    elif to == "detectron2":
        others.write_bytes(pickle.dumps({"model": {}, "__author__": "another", "matching_heuristics": True}))
    elif to == "onnx":
        others.write_bytes(onnx.ModelProto(ir_version=10).SerializeToString())
    else:
        others.write_bytes(Path(source).read_bytes())  # a run's encoder
    before = others.read_bytes()
    with pytest.raises(UserError, match="is there and was not written by lewel export; give another name"):
        export(source, to, others)
    assert others.read_bytes() == before


def test_its_own_file_is_replaced_and_said_so(source: str, images: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "a.pth"
    for said in ("wrote", "replaced"):
        assert run_lewel("export", "--weights", source, "--to", "timm", "--out", out, "--data", images) == 0
        printed = capsys.readouterr().out
        assert f"{said} {out}\n" in printed and "120 matched, 0 missing, 0 unexpected" in printed
        assert export(source, "timm", tmp_path / "b.pth", images).snippet.replace("b.pth", "a.pth") in printed
    for given in (out, f"timm:resnet18={out}"):
        with pytest.raises(UserError, match="is the file of --weights"):
            export(given, "timm", out)


@pytest.mark.parametrize("to", ["torchvision", "detectron2", "mmseg"])
def test_networks_that_a_tool_has_not(small: str, images: Path, tmp_path: Path, to: str) -> None:
    out = tmp_path / f"a{FORMATS[to].ending}"
    with pytest.raises(UserError, match=f"--to {to}: these weights are of resnet18 with the small stem"):
        export(small, to, out, images)
    with pytest.raises(UserError, match=f"--to {to} is for the ResNets resnet18, .* convnext_atto: --to timm"):
        export("random:convnext_atto", to, out, images)
    if to == "mmseg":
        with pytest.raises(UserError, match="--to mmseg: it has no wide_resnet50_2"):
            export("random:wide_resnet50_2", to, out, images)
    assert not list(tmp_path.iterdir())


def test_where_it_cannot_write(source: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in \.pkl is needed"):
        export(source, "detectron2", tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"the folder .* does not exist"):
        export(source, "timm", tmp_path / "none" / "a.pth")
    (tmp_path / "b.pth").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        export(source, "timm", tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"--to tim: one of .* is needed; did you mean timm\?"):
        export(source, "tim", tmp_path / "a.pth")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_onnx_says_what_it_needs(
    source: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"--to onnx needs {package}: pip install 'lewel\[onnx\]'"):
        export(source, "onnx", tmp_path / "a.onnx", images)
    assert not list(tmp_path.iterdir())


def test_unreadable_images(source: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="none of 1 images can be read"):
        export(source, "timm", tmp_path / "a.pth", tmp_path / "images")


# -- names


def test_the_command_and_the_function_know_the_same_formats() -> None:
    assert get_args(get_type_hints(cli.export)["to"]) == tuple(FORMATS)
