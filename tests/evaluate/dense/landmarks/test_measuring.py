"""From files to numbers: predictions are in the images' own pixels, and a few faces are learned by heart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import torch
from dotted import K, faces
from torch import nn

from lewel import config
from lewel.errors import UserError
from lewel.evaluate import predictions
from lewel.evaluate.dense import fitting, gallery
from lewel.evaluate.dense.fitting import Measured
from lewel.evaluate.dense.landmarks import metrics
from lewel.evaluate.dense.landmarks.cases import cases
from lewel.evaluate.dense.landmarks.geometry import inverse, moved, square
from lewel.evaluate.dense.landmarks.measuring import measure
from lewel.evaluate.dense.landmarks.model import Regressor
from lewel.evaluate.dense.landmarks.task import evaluate
from lewel.evaluate.dense.landmarks.views import ChangedView
from lewel.evaluate.dense.loading import Stream, Training, batches
from lewel.evaluate.dense.tasks import Landmarks
from lewel.evaluate.dense.truth.points import Landmarked, open_landmarks
from lewel.evaluate.job import Job
from lewel.evaluate.parts import Divided

TASK = Landmarks(lr=1e-3, batch_size=4, iterations=60, weight_decay=0)
DATA = config.Data(little.SIZE, (), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Knows(Regressor):
    """Predicts the truth, moved by `away` pixels of the crop; images come in order."""

    def __init__(self, val: Landmarked, away: float = 0.0) -> None:
        nn.Module.__init__(self)
        self.val, self.away, self.next = val, away, 0

    def predict(self, images: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        assert not self.training
        found = []
        for _ in images:
            points = self.val.points[self.next]
            found.append(moved(points, inverse(square(points, TASK.margin, little.SIZE))) + self.away)
            self.next += 1
        return torch.from_numpy(np.stack(found))


def given(val: Landmarked, directory: Path, workers: int = 0) -> Job[Landmarked]:
    return little.job(TASK, little.subject(little.encoder()), Divided(val, val, {}), directory, workers=workers)


def measured(val: Landmarked, directory: Path, away: float = 0.0, workers: int = 0) -> Measured:
    module = Knows(val, away)
    found = measure(given(val, directory, workers), module)
    assert module.training
    return found


def test_perfect_points_score_zero_in_every_subset(tmp_path: Path) -> None:
    faces(tmp_path, 5)
    faces(tmp_path, 3, "test/b", seed=1)
    val = open_landmarks(tmp_path, "val")
    numbers, arrays = measured(val, tmp_path / "job", workers=1)
    expected = {"NME": 0, "failure_rate": 0, "AUC": 100, "NME_a": 0, "NME_b": 0}
    assert numbers == pytest.approx(expected, abs=1e-4)
    assert arrays["images"].tolist() == list(range(8)) and arrays["predicted"].shape == (8, K, 2)
    assert np.allclose(arrays["predicted"], val.points, atol=1e-6)


def test_predictions_are_in_the_images_own_pixels(tmp_path: Path) -> None:
    """One pixel of the crop, along x and y, is so many of the image."""
    faces(tmp_path, 4)
    val = open_landmarks(tmp_path, "val")
    numbers, arrays = measured(val, tmp_path / "job", away=1.0)
    boxes = val.points.max(axis=1) - val.points.min(axis=1)
    pixel = TASK.margin * boxes.max(axis=1) / little.SIZE
    assert np.allclose(arrays["predicted"] - val.points, pixel[:, None, None], atol=1e-5)
    expected = pixel * np.sqrt(2) / np.linalg.norm(boxes, axis=1)
    assert np.allclose(arrays["errors"], expected, rtol=1e-5)
    assert numbers["NME"] == pytest.approx(100 * expected.mean(), rel=1e-5) and len(numbers) == 3


def test_images_that_cannot_be_read_are_left_out_and_told(tmp_path: Path) -> None:
    faces(tmp_path, 3)
    val = open_landmarks(tmp_path, "val")
    (tmp_path / "test/a/1.png").write_bytes((tmp_path / "test/a/1.png").read_bytes()[:200])
    job = given(val, tmp_path / "job")
    module = Regressor(little.encoder(), K, little.SIZE, "batch")
    _, arrays = measure(job, module)
    assert arrays["images"].tolist() == [0, 2] and [Path(skip.path).name for skip in job.skipped] == ["1.png"]
    for number in (0, 2):
        (tmp_path / f"test/a/{number}.png").unlink()
    with pytest.raises(UserError, match="none of the images of val can be read"):
        measure(job, module)


def test_the_worst_come_first(tmp_path: Path) -> None:
    """Those without a number before all others; a file that is gone is left out."""
    faces(tmp_path, 5)
    val = open_landmarks(tmp_path, "val")
    (tmp_path / "test/a/4.png").unlink()
    errors = np.array([0.1, np.nan, 0.3, 0.1, 0.2])
    arrays = {"images": np.array([3, 2, 1, 0, 4]), "predicted": val.points[[3, 2, 1, 0, 4]] + 9, "errors": errors}
    found = cases(val, arrays, 3)
    assert [case.name for case in found] == ["test/a/2.png", "test/a/1.png", "test/a/3.png"]
    assert found[1].score == "NME 30.00" and found[1].truth.size == found[1].prediction.size
    assert found[1].truth.tobytes() != found[1].prediction.tobytes()
    assert len(cases(val, arrays, 9)) == 4


@pytest.mark.slow
def test_faces_are_learned_by_heart(tmp_path: Path) -> None:
    """From nothing, in sixty steps: batch norm's running statistics lag far behind, and are taken anew."""
    faces(tmp_path, 4)
    still = replace(TASK, rotation=0, scale=0, shift=0, flip=0, gray=0, gamma=0, blur=0, occlusion=0, precise_bn=4)
    val = open_landmarks(tmp_path, "val")
    job = little.job(still, little.subject(little.encoder()), Divided(val, val, {}), tmp_path / "job")
    numbers = dict(evaluate(replace(job, protocol=replace(job.protocol, image_size=48))))
    assert numbers["NME"] < 5
    arrays = predictions.load(tmp_path / "job" / predictions.NAME)
    assert numbers["NME"] == pytest.approx(100 * metrics.errors(arrays["predicted"], val.points).mean())


def test_the_command(tmp_path: Path) -> None:
    """From files to results.json; the same command again trains nothing."""
    for folder, seed in (("train", 0), ("test/common", 1), ("test/challenging", 2)):
        faces(tmp_path / "faces", 3, folder, seed)
    weights, out = little.encoder_file(tmp_path / "encoder.safetensors"), tmp_path / "out"
    short = ("--iterations", 4, "--batch-size", 2, "--image-size", 32)
    assert little.evaluate("landmarks", weights, tmp_path / "faces", out, *short) == 0
    content = little.read(out / "results.json")
    assert {"NME", "failure_rate", "AUC", "NME_common", "NME_challenging"} == content["metrics"].keys()
    assert content["data"]["val"]["subsets"] == {"full": 6, "challenging": 3, "common": 3}
    assert content["data"]["val"]["normalised_by"] == "diagonal of the points' box" and content["data"]["points"] == K
    assert content["protocol"]["lr"] == pytest.approx(1e-3 * 2 / 32)
    shown = gallery.read(out / "seed-0")
    assert len(shown) == 6 and {each.name.split("/")[1] for each in shown} == {"common", "challenging"}
    page = (out / "page.html").read_text()
    assert "Predictions, the worst first" in page and shown[0].score in page
    before = (out / "seed-0" / predictions.NAME).read_bytes()
    assert little.evaluate("landmarks", weights, tmp_path / "faces", out, *short) == 0
    assert (out / "seed-0" / predictions.NAME).read_bytes() == before


def test_a_stopped_training_ends_with_the_same_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces(tmp_path, 4)
    val, task = open_landmarks(tmp_path, "val"), replace(TASK, iterations=6, evaluations=1)
    monkeypatch.setattr(fitting, "SAVE_EVERY", 3)

    def job(name: str) -> Job[Landmarked]:
        return little.job(task, little.subject(little.encoder()), Divided(val, val, {}), tmp_path / name)

    unbroken = dict(evaluate(job("unbroken")))
    real, calls = Regressor.forward, [0]

    def fails(self: Regressor, *inputs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            raise RuntimeError("power cut")
        return real(self, *inputs)

    monkeypatch.setattr(Regressor, "forward", fails)
    with pytest.raises(RuntimeError, match="power cut"):
        dict(evaluate(job("broken")))
    assert dict(evaluate(job("broken"))) == unbroken and calls[0] == 5 + 3


def test_batches_of_training_do_not_depend_on_workers(tmp_path: Path) -> None:
    faces(tmp_path, 6)
    views = Training(open_landmarks(tmp_path, "val"), ChangedView(TASK, 32), 4, 7)
    here, there = (list(batches(views, Stream(6, 4, 3, 7), workers, DATA, torch.device("cpu"))) for workers in (0, 2))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.pixels, other.pixels) and torch.equal(one.indices, other.indices)
        assert all(torch.equal(a.xy, b.xy) for a, b in zip(one.targets, other.targets, strict=True))
