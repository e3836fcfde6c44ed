"""Every weight of the encoder that a dense task trains begins as it is in the file of --weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dotted
import little
import pytest
import safetensors.torch
import torch
from torch import nn

from lewel.data import scenes
from lewel.evaluate.dense.detection import task as detection
from lewel.evaluate.dense.landmarks import task as landmarks
from lewel.evaluate.dense.segmentation import model as segmentation
from lewel.evaluate.dense.tasks import Norm
from lewel.evaluate.dense.truth import coco
from lewel.evaluate.dense.truth.points import open_landmarks
from lewel.evaluate.parts import Divided
from lewel.evaluate.protocols import PROTOCOLS
from lewel.evaluate.subject import open_subject
from lewel.interop import weights
from lewel.model.encoder import Encoder

TASKS = [name for name, each in PROTOCOLS.items() if name.startswith(("detect-", "segment-", "landmarks"))]
LEFT_OUT: dict[Norm, tuple[str, ...]] = {  # what such a norm has no use for
    "batch": (),
    "frozen": ("num_batches_tracked",),
    "group": ("num_batches_tracked", "running_mean", "running_var"),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a ResNet whose every tensor, of norms too, differs from what a new one begins with."""
    torch.manual_seed(3)
    encoder = Encoder("resnet18")
    for tensor in encoder.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1)
        else:
            tensor.fill_(7)
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    weights.save_encoder(encoder, path, {"image_size": 64, "mean": (0.4,) * 3, "std": (0.2,) * 3})
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("truth")
    dotted.faces(root / "faces", 1)
    scenes.make(root / "scenes", train=1, val=1, size=48)
    return root


def made(name: str, norm: Norm, file: Path, root: Path, directory: Path) -> nn.Module:
    """What the task would train."""
    task: Any = replace(PROTOCOLS[name].task, norm=norm)  # pyright: ignore[reportCallIssue]  # of dense tasks
    subject = open_subject(str(file))
    assert subject.encoder is not None
    if name.startswith("segment"):
        return segmentation.build(subject.encoder, task, 3)
    opened: Any = open_landmarks(root / "faces", "val") if name == "landmarks" else None
    opened = opened or coco.open_objects(root / "scenes", "train")
    job: Any = little.job(task, subject, Divided(opened, opened, {}), directory)
    job = replace(job, protocol=replace(job.protocol, image_size=64))
    return landmarks.regressor(job, task) if name == "landmarks" else detection.detector(job)


@pytest.mark.parametrize("norm", LEFT_OUT)
@pytest.mark.parametrize("name", TASKS)
def test_every_weight_is_the_files(name: str, norm: Norm, file: Path, root: Path, tmp_path: Path) -> None:
    module = made(name, norm, file, root, tmp_path / "job")
    found = module.get_submodule("encoder.backbone").state_dict()
    everything = safetensors.torch.load_file(file)
    wanted = {key: tensor for key, tensor in everything.items() if not key.endswith(LEFT_OUT[norm])}
    assert found.keys() == wanted.keys()
    assert [key for key, tensor in found.items() if not torch.equal(tensor, wanted[key])] == []
