"""The networks have the published sizes, the loss counts what it should, and what is learned can be learned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lewel.engine.precision import hardware_bf16
from lewel.evaluate.dense.segmentation.model import AUXILIARY, FCN, Classes, Head, build, cross_entropy
from lewel.evaluate.dense.tasks import Segmentation
from lewel.model.encoder import Encoder

TASK = Segmentation(lr=0.01, batch_size=4, iterations=60, weight_decay=5e-4, model="fcn8", frame=(4.0, 1.0))
MOCO = replace(TASK, model="fcn16", align_corners=True)


@pytest.fixture(scope="module")
def small() -> Encoder:
    torch.manual_seed(0)
    return Encoder("resnet18")


def count(module: nn.Module | None) -> int:
    return sum(parameter.numel() for parameter in module.parameters()) if module is not None else 0


def shown(b: int = 2, height: int = 64, width: int = 64) -> tuple[Tensor, Tensor]:
    """Images, and their sizes."""
    images = torch.randn(b, 3, height, width, generator=torch.Generator().manual_seed(0))
    return images, torch.tensor([[height, width]] * b)


def truth(b: int = 2, side: int = 64, classes: int = 3) -> tuple[Classes, ...]:
    found = torch.randint(0, classes, (b, side, side), generator=torch.Generator().manual_seed(1))
    return tuple(Classes(each) for each in found.to(torch.uint8))


def test_parameters_of_fcn8_by_part() -> None:
    """mmsegmentation's fcn_r50-d8 of 21 classes: 49.5 million."""
    module = build(Encoder("resnet50"), TASK, 21)
    decode = (2048 + 512) * 512 * 9 + (2048 + 512) * 512 * 9 + 3 * 2 * 512 + 512 * 21 + 21
    auxiliary = 1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21
    assert (count(module.encoder), count(module.head), count(module.auxiliary)) == (23_508_032, decode, auxiliary)
    assert count(module) == 49_480_042 and all(each.requires_grad for each in module.parameters())


def test_parameters_of_fcn16_by_part() -> None:
    module = build(Encoder("resnet50"), MOCO, 21)
    head = (2048 + 256) * 256 * 9 + 2 * 2 * 256 + 256 * 21 + 21
    assert (count(module.encoder), count(module.head), count(module.auxiliary)) == (23_508_032, head, 0)


def test_first_weights() -> None:
    """Kaiming's normal with fan out for 3x3, N(0, 0.01) and no bias for 1x1."""
    torch.manual_seed(0)
    head = Head(64, 128, 2, 21, TASK, joined=True)
    for part in head.modules():
        if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3):
            assert part.bias is None and part.weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    assert head.classify.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head.classify.bias is not None and not head.classify.bias.any()


@pytest.mark.parametrize(
    ("stem", "task", "stride"), [("imagenet", TASK, 8), ("imagenet", MOCO, 16), ("small", TASK, 8), ("small", MOCO, 8)]
)
def test_output_strides(stem: str, task: Segmentation, stride: int) -> None:
    """A small stem has a stride of 8 already."""
    module = build(Encoder("resnet18", stem), task, 3).eval()
    sizes = list[tuple[int, ...]]()
    module.head.register_forward_hook(lambda _, given, out: sizes.append(tuple(out.shape)))
    module.predict(*shown(1))
    assert sizes == [(1, 3, 64 // stride, 64 // stride)]


def test_the_encoder_is_copied(small: Encoder) -> None:
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    module = build(small, TASK, 3)
    loss, _ = module(*shown(), truth())
    loss.backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())
    assert small(shown()[0]).shape[2:] == (2, 2) and module.encoder.state_dict().keys() == before.keys()


@torch.no_grad()
def test_the_loss_is_its_parts(small: Encoder) -> None:
    """Decode plus 0.4 times auxiliary, each a cross-entropy of the scores, enlarged; by torch's own."""
    module = build(small, TASK, 3)
    scores = list[Tensor]()
    for head in (module.head, module.auxiliary):
        assert head is not None
        head.register_forward_hook(lambda _, given, out: scores.append(out))
    loss, out = module(*shown(), truth())
    wanted = torch.stack([each.values for each in truth()]).long()
    decode, auxiliary = (
        functional.cross_entropy(functional.interpolate(each, (64, 64), mode="bilinear"), wanted) for each in scores
    )
    assert out["loss_decode"].item() == pytest.approx(decode.item(), rel=1e-6)
    assert out["loss_auxiliary"].item() == pytest.approx(AUXILIARY * auxiliary.item(), rel=1e-6) and AUXILIARY == 0.4
    assert loss.item() == pytest.approx((decode + 0.4 * auxiliary).item(), rel=1e-6)


def test_pixels_that_are_not_counted_count_as_nothing() -> None:
    """They have no gradient, and the others' sum is over all pixels: half of them make it half."""
    scores = torch.randn(1, 4, 6, 8, requires_grad=True)
    wanted = torch.randint(0, 4, (1, 6, 8), dtype=torch.uint8)
    whole = functional.cross_entropy(scores[..., :4], wanted[..., :4].long())
    wanted[..., 4:] = 255
    found = cross_entropy(scores, wanted)
    found.backward()
    assert found.item() == pytest.approx(whole.item() / 2, rel=1e-6)
    assert scores.grad is not None and not scores.grad[..., 4:].any() and scores.grad[..., :4].all()
    assert cross_entropy(scores, torch.full_like(wanted, 255)).item() == 0


@torch.no_grad()
def test_small_images_are_filled_up_to_their_targets(small: Encoder) -> None:
    module = build(small, TASK, 3).eval()
    images, sizes = shown(height=40, width=64)
    filled = functional.pad(images, (0, 0, 0, 24))
    assert torch.equal(module(images, sizes, truth())[0], module(filled, sizes, truth())[0])


@torch.no_grad()
@pytest.mark.parametrize("task", [TASK, MOCO])
def test_scores_are_enlarged_twice_and_then_compared(small: Encoder, task: Segmentation) -> None:
    """To the image as the network sees it, then to the image as it was, as mmsegmentation has it."""
    module = build(small, task, 3).eval()
    images, sizes = shown(height=48, width=80)
    sizes[1] = torch.tensor([48, 56])
    raw = list[Tensor]()
    module.head.register_forward_hook(lambda _, given, out: raw.append(out))
    first, second = module.predict(images, sizes)
    how = {"mode": "bilinear", "align_corners": task.align_corners}
    seen = functional.interpolate(raw[0], (48, 80), **how)
    assert torch.equal(first, seen[0]) and torch.equal(second, seen[1, :, :, :56])
    found = module.classes_at(first, (100, 150))
    assert found.dtype == torch.uint8
    assert torch.equal(found, functional.interpolate(seen[:1], (100, 150), **how)[0].argmax(dim=0))
    assert torch.equal(module.classes_at(second, (48, 56)), second.argmax(dim=0))


def overfit(module: FCN, images: Tensor, targets: tuple[Classes, ...], steps: int, bf16: bool) -> float:
    """The share of pixels that are right in the end."""
    sizes = torch.tensor([[images.shape[2], images.shape[3]]] * len(images))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, _ = module(images, sizes, targets)
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        scores = module.eval().predict(images, sizes)
    found = torch.stack([each.argmax(dim=0) for each in scores])
    return float((found == torch.stack([each.values for each in targets])).float().mean())


@pytest.mark.parametrize(("task", "bf16"), [pytest.param(TASK, True, marks=pytest.mark.slow), (MOCO, False)])
def test_two_colours_are_learned(small: Encoder, task: Segmentation, bf16: bool) -> None:
    """A bright rectangle on noise, another in each image. Both in fp32 where bf16 would be emulated, at a GFLOP/s."""
    bf16 = bf16 and hardware_bf16(torch.device("cpu"))
    torch.manual_seed(0)
    images, found = 0.3 * torch.randn(3, 3, 48, 48), []
    for place, image in enumerate(images):
        values = torch.zeros(48, 48, dtype=torch.uint8)
        values[8 * place : 8 * place + 24, 8:40] = 1
        image[:, values == 1] += 2
        found.append(Classes(values))
    assert overfit(build(small, task, 2), images, tuple(found), 40, bf16) > 0.9


@pytest.mark.parametrize("norm", ["group", "frozen"])
def test_other_norms_train_on_one_image(small: Encoder, norm: str) -> None:
    module = build(small, replace(TASK, norm=norm), 3)
    loss, _ = module(*shown(1), truth(1))
    loss.backward()
    assert not [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(each.grad is not None for each in module.parameters() if each.requires_grad)
