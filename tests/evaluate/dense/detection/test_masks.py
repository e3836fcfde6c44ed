"""Masks of regions: what they should be, their loss by hand, and what is put into the image."""

from __future__ import annotations

import math

import pytest
import torch

from lewel.evaluate.dense.detection import masks
from lewel.evaluate.dense.detection.objects import Objects, pasted
from lewel.evaluate.dense.detection.regions import Regions


def inside(x0: int, y0: int, x1: int, y1: int, height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


@pytest.mark.parametrize("box", [(0, 0, 60, 40), (3, 5, 4, 6), (7, 2, 50, 39), (-8, -3, 20, 22), (30, 30, 75, 55)])
def test_a_full_mask_fills_exactly_its_box(box: tuple[int, int, int, int]) -> None:
    found = pasted(torch.ones(1, 28, 28), torch.tensor([box]).float(), 40, 60)
    assert torch.equal(found[0], inside(*box, 40, 60))


def test_only_the_corners_of_a_box_that_is_much_larger_than_its_mask_are_rounded() -> None:
    """Half a bin from an edge the mask begins to fall, to one half at the edge; at a corner, to a quarter."""
    found = pasted(torch.ones(1, 14, 14), torch.tensor([[0.0, 0, 140, 140]]), 140, 140)[0]
    value = [min(0.5 + (pixel + 0.5) / 10, 1) for pixel in range(70)]
    value += value[::-1]
    assert torch.equal(found, torch.tensor([[across * down >= 0.5 for across in value] for down in value]))
    assert int((~found).sum()) == 4 * 10


def test_boxes_are_not_rounded_when_masks_are_pasted() -> None:
    """A pixel is in the mask where its centre is."""
    found = pasted(torch.ones(1, 28, 28), torch.tensor([[2.6, 3.4, 9.4, 8.6]]), 12, 12)
    assert torch.equal(found[0], inside(3, 3, 9, 9, 12, 12))


def test_boxes_outside_the_image_and_none_at_all() -> None:
    boxes = torch.tensor([[-9.0, 2, -3, 8], [3, 20, 8, 30]])
    assert not pasted(torch.ones(2, 28, 28), boxes, 10, 10).any()
    assert pasted(torch.zeros(0, 28, 28), torch.zeros(0, 4), 5, 6).shape == (0, 5, 6)


def test_what_a_region_should_see_comes_back_when_it_is_pasted() -> None:
    """A region that holds its object, at a pixel a bin."""
    mask = torch.zeros(1, 60, 60, dtype=torch.bool)
    mask[0, 20:34, 11:25] = torch.rand(14, 14) > 0.5
    truth = Objects(torch.tensor([[11.0, 20, 25, 34]]), torch.tensor([0]), mask)
    boxes = torch.tensor([[10.0, 18, 38, 46]])
    seen = masks.targets(Regions(boxes, torch.tensor([0]), torch.tensor([0])), truth, 28)
    assert torch.equal(pasted(seen, boxes, 60, 60), mask)


def test_loss_by_hand() -> None:
    """Two regions, 2 x 2 pixels, of the object's left half and its whole: the mask of the right class alone counts."""
    truth = Objects(
        torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8]]),
        torch.tensor([1, 0]),
        torch.stack([inside(0, 0, 8, 8, 8, 16), inside(8, 0, 16, 4, 8, 16)]),
    )
    boxes = torch.tensor([[4.0, 0, 12, 8], [8, 0, 16, 8]])
    regions = Regions(boxes, truth.labels, torch.tensor([0, 1]))
    assert masks.targets(regions, truth, 2).tolist() == [[[1, 0], [1, 0]], [[1, 1], [0, 0]]]
    logits = torch.randn(2, 3, 2, 2)
    found = masks.loss(logits, [regions], [truth])
    by_hand = [
        math.log1p(math.exp(-value if yes else value))
        for mask, right in ((logits[0, 1], [1, 0, 1, 0]), (logits[1, 0], [1, 1, 0, 0]))
        for value, yes in zip(mask.flatten().tolist(), right, strict=True)
    ]
    assert float(found) == pytest.approx(sum(by_hand) / 8, rel=1e-5)


def test_predictor_doubles_the_side_and_begins_at_one_half() -> None:
    predictor = masks.Predictor(64, classes=5)
    logits = predictor(torch.randn(3, 64, 7, 7))
    assert logits.shape == (3, 5, 14, 14)
    assert float(logits.detach().sigmoid().sub(0.5).abs().max()) < 0.05
