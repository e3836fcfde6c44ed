"""The region proposal network: its losses by hand, and what a perfect one proposes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from lewel.evaluate.dense.detection.anchors import Anchors
from lewel.evaluate.dense.detection.objects import Objects
from lewel.evaluate.dense.detection.proposals import Counts, Proposals

SHAPE = (64, 96)


def network() -> Proposals:
    return Proposals(4, Anchors([[16.0, 32.0]], [8]), Counts(100, 50), Counts(40, 20))


class Says(nn.Module):
    """In the place of the head: the same for every image."""

    def __init__(self, logits: Tensor, deltas: Tensor):
        super().__init__()
        self.logits, self.deltas = logits, deltas

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """From (h, w, anchors) and (h, w, anchors, 4)."""
        images = len(maps[0])
        logits = self.logits.permute(2, 0, 1)
        deltas = self.deltas.permute(2, 3, 0, 1).flatten(0, 1)
        return [logits.expand(images, -1, -1, -1)], [deltas.expand(images, -1, -1, -1)]


def truth(*boxes: list[float]) -> Objects:
    return Objects(torch.tensor(boxes).reshape(-1, 4), torch.zeros(len(boxes), dtype=torch.int64))


def test_a_perfect_network_proposes_the_objects() -> None:
    found = network().eval()
    right = truth([10.0, 12.0, 31.0, 30.0], [50.0, 5.0, 90.0, 60.0])
    anchors = found.anchor_generator(ImageList(torch.zeros(1, 3, *SHAPE), [SHAPE]), [torch.zeros(1, 4, 8, 12)])
    labels, matched = found.assign_targets_to_anchors(anchors, [{"boxes": right.boxes}])
    foreground = labels[0] == 1
    deltas = torch.zeros(len(foreground), 4)
    deltas[foreground] = found.box_coder.encode_single(matched[0][foreground], anchors[0][foreground])
    logits = torch.where(foreground, 9.0, -9.0)
    found.head = Says(logits.reshape(8, 12, 6), deltas.reshape(8, 12, 6, 4))
    boxes, losses = found.propose(torch.zeros(1, 3, *SHAPE), [SHAPE], [torch.zeros(1, 4, 8, 12)], None)
    assert not losses
    assert len(boxes[0]) <= 20
    first = boxes[0][:2]
    assert torch.allclose(first[first[:, 0].argsort()], right.boxes, atol=1e-3)


def test_losses_by_hand() -> None:
    """12 positions of 6 anchors: fewer than 256, so that all are drawn that are foreground or background."""
    found, shape = network(), (24, 32)
    right = truth([4.0, 2.0, 22.0, 20.0])
    logits, deltas = torch.randn(3, 4, 6), 0.1 * torch.randn(3, 4, 6, 4)
    found.head = Says(logits, deltas)
    _, losses = found.propose(torch.zeros(1, 3, *shape), [shape], [torch.zeros(1, 4, 3, 4)], [right])

    x0, y0, x1, y1 = right.boxes[0].tolist()
    places = [(y, x, ratio, size) for y in range(3) for x in range(4) for ratio in (0.5, 1.0, 2.0) for size in (16, 32)]
    overlaps, entropies, distances = [], [], []
    for number, (y, x, ratio, size) in enumerate(places):
        width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
        left, top = 8 * x - width / 2, 8 * y - height / 2
        across = max(min(left + width, x1) - max(left, x0), 0) * max(min(top + height, y1) - max(top, y0), 0)
        overlaps.append(across / (width * height + (x1 - x0) * (y1 - y0) - across))
        logit, delta = float(logits.flatten()[number]), deltas.reshape(-1, 4)[number].tolist()
        wanted = [
            ((x0 + x1) / 2 - 8 * x) / width,
            ((y0 + y1) / 2 - 8 * y) / height,
            math.log((x1 - x0) / width),
            math.log((y1 - y0) / height),
        ]
        entropies.append((math.log1p(math.exp(-logit)), math.log1p(math.exp(logit))))
        distances.append(sum(abs(a - b) for a, b in zip(delta, wanted, strict=True)))
    most = max(overlaps)
    foreground = [overlap >= 0.7 or overlap > most - 1e-6 for overlap in overlaps]
    background = [overlap < 0.3 and not other for overlap, other in zip(overlaps, foreground, strict=True)]
    assert 0 < sum(foreground) < sum(foreground) + sum(background) < len(places)
    entropy = sum(yes for (yes, _), here in zip(entropies, foreground, strict=True) if here)
    entropy += sum(no for (_, no), here in zip(entropies, background, strict=True) if here)
    distance = sum(each for each, here in zip(distances, foreground, strict=True) if here)
    assert float(losses["loss_objectness"]) == pytest.approx(entropy / 256, rel=1e-5)
    assert float(losses["loss_rpn_box_reg"]) == pytest.approx(distance / 256, rel=1e-5)


def test_losses_are_shares_of_256_anchors_an_image() -> None:
    """An image twice in the batch has the loss that it has once, as has one with few anchors to draw."""
    found = network()
    found.head = Says(torch.randn(3, 4, 6), torch.randn(3, 4, 6, 4))
    once, twice = (
        found.propose(torch.zeros(n, 3, 24, 32), [(24, 32)] * n, [torch.zeros(n, 4, 3, 4)], [truth([4, 2, 22, 20])] * n)
        for n in (1, 2)
    )
    for name, loss in once[1].items():
        assert float(loss) == pytest.approx(float(twice[1][name]), rel=1e-5)


def test_an_image_without_objects_has_background_only() -> None:
    found = network()
    _, losses = found.propose(torch.zeros(1, 3, *SHAPE), [SHAPE], [torch.randn(1, 4, 8, 12)], [truth()])
    sum(losses.values()).backward()
    assert float(losses["loss_rpn_box_reg"]) == 0
    assert float(losses["loss_objectness"]) == pytest.approx(math.log(2), rel=0.05)  # 256 drawn, all unsure
    for parameter in found.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_proposals_stay_in_their_image_and_are_so_many() -> None:
    found = network()
    for training, most in ((True, 40), (False, 20)):
        found.train(training)
        targets = [truth([1.0, 1.0, 9.0, 9.0]), truth()] if training else None
        boxes, _ = found.propose(torch.zeros(2, 3, *SHAPE), [SHAPE, (40, 50)], [torch.randn(2, 4, 8, 12)], targets)
        assert [len(each) for each in boxes] == [most, most]
        assert float(boxes[1].amin()) >= 0
        assert float(boxes[1][:, 2].max()) <= 50 and float(boxes[1][:, 3].max()) <= 40
