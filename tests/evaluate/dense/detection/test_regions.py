"""Regions that are drawn, their losses by hand, and what perfect outputs find."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import box_iou

from lewel.evaluate.dense.detection import regions
from lewel.evaluate.dense.detection.objects import Objects
from lewel.evaluate.dense.detection.regions import CODER, Predictor, Regions

TRUTH = Objects(torch.tensor([[10.0, 10, 50, 40], [60, 5, 90, 70]]), torch.tensor([2, 0]))


def around(count: int, seed: int = 0) -> torch.Tensor:
    """Boxes in an image of 100 x 100."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([corners, corners + 5 + 35 * torch.rand(count, 2, generator=generator)], dim=1)


def test_drawn_are_at_most_512_and_at_most_a_quarter_foreground() -> None:
    near = TRUTH.boxes[0] + torch.randn(400, 4)
    found = regions.drawn(torch.cat([near, around(2000)]), TRUTH, classes=3, most=512)
    assert len(found.boxes) == 512
    assert int((found.labels < 3).sum()) == 128
    overlap = box_iou(found.boxes, TRUTH.boxes)
    assert torch.equal(found.labels < 3, overlap.amax(dim=1) >= 0.5)
    foreground = found.foreground(3)
    assert torch.equal(foreground.objects, overlap[found.labels < 3].argmax(dim=1))
    assert torch.equal(foreground.labels, TRUTH.labels[foreground.objects])


def test_the_objects_own_boxes_are_drawn() -> None:
    found = regions.drawn(torch.tensor([[0.0, 80, 20, 100]]), TRUTH, classes=3, most=512)
    assert found.boxes.tolist() == [[0, 80, 20, 100], *TRUTH.boxes.tolist()]
    assert found.labels.tolist() == [3, 2, 0]


def test_without_objects_all_is_background() -> None:
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    found = regions.drawn(around(7), nothing, classes=3, most=512)
    assert found.labels.tolist() == [3] * 7
    logits, deltas = torch.randn(7, 4, requires_grad=True), torch.randn(7, 12, requires_grad=True)
    losses = regions.losses(logits, deltas, [found], [nothing])
    sum(losses.values()).backward()
    assert losses["loss_box_reg"].item() == 0
    assert deltas.grad is not None and not deltas.grad.any()


def test_losses_by_hand() -> None:
    """Four regions of two images, two of them foreground: L1 of the right class's four numbers, over four."""
    one = Regions(torch.tensor([[8.0, 12, 48, 44], [0, 60, 30, 90]]), torch.tensor([2, 3]), torch.tensor([0, -1]))
    two = Regions(torch.tensor([[0.0, 0, 9, 9], [62, 0, 92, 60]]), torch.tensor([3, 0]), torch.tensor([-1, 1]))
    logits, deltas = torch.randn(4, 4), torch.randn(4, 12)
    losses = regions.losses(logits, deltas, [one, two], [TRUTH, TRUTH])
    entropy = [
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(logits.tolist(), (2, 3, 3, 0), strict=True)
    ]
    assert float(losses["loss_classifier"]) == pytest.approx(sum(entropy) / 4, rel=1e-5)
    # dx, dy: tenths of the shift in sides; dw, dh: fifths of the ratio's logarithm
    first = [10 * 2 / 40, 10 * -3 / 32, 5 * math.log(40 / 40), 5 * math.log(30 / 32)]
    second = [10 * -2 / 30, 10 * 7.5 / 60, 5 * math.log(30 / 30), 5 * math.log(65 / 60)]
    distance = sum(abs(a - b) for a, b in zip(deltas[0, 8:12].tolist(), first, strict=True))
    distance += sum(abs(a - b) for a, b in zip(deltas[3, 0:4].tolist(), second, strict=True))
    assert float(losses["loss_box_reg"]) == pytest.approx(distance / 4, rel=1e-5)


def test_boxes_come_back_from_their_code() -> None:
    boxes, others = around(50), around(50, seed=1)
    assert torch.allclose(CODER.decode_single(CODER.encode_single(boxes, others), others), boxes, atol=1e-4)


def test_perfect_outputs_find_the_objects() -> None:
    """Of many regions each says the object that it overlaps most: one result an object."""
    found = regions.drawn(around(300), TRUTH, classes=3, most=512)
    logits = 20 * torch.nn.functional.one_hot(found.labels, 4).float()
    deltas = torch.zeros(len(logits), 3, 4)
    foreground = found.labels < 3
    wanted = CODER.encode_single(TRUTH.boxes[found.objects[foreground]], found.boxes[foreground])
    deltas[foreground, found.labels[foreground]] = wanted
    result = regions.detections(logits, deltas.flatten(1), found.boxes, (100, 100))
    assert sorted(result.labels.tolist()) == [0, 2]
    assert torch.allclose(result.boxes[result.labels.argsort()], TRUTH.boxes[[1, 0]], atol=1e-3)
    assert float(result.scores.min()) > 0.99


def test_results_are_in_the_image_sure_enough_and_no_more_than_100() -> None:
    grid = torch.cartesian_prod(torch.arange(20.0), torch.arange(20.0)) * 10
    proposals = torch.cat([grid, grid + 10], dim=1)
    logits = torch.zeros(400, 3)
    logits[:, 0] = torch.linspace(0, 9, 400)
    logits[:, 1] = -9  # below 0.05 everywhere
    result = regions.detections(logits, torch.zeros(400, 8), proposals, (200, 195))
    assert len(result.boxes) == 100
    assert set(result.labels.tolist()) == {0}
    assert torch.equal(result.scores, result.scores.sort(descending=True).values)
    assert float(result.boxes[:, 2].max()) == 195
    outside = regions.detections(
        torch.tensor([[9.0, 0]]), torch.zeros(1, 4), torch.tensor([[50.0, 0, 60, 9]]), (40, 40)
    )
    assert not len(outside.boxes)


def test_predictor_has_no_box_for_background_and_begins_small() -> None:
    predictor = Predictor(2000, classes=30)
    logits, deltas = predictor(torch.randn(5, 2000))
    assert (logits.shape, deltas.shape) == ((5, 31), (5, 120))
    assert predictor.classes.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert predictor.boxes.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not predictor.classes.bias.any() and not predictor.boxes.bias.any()
