"""Both detectors as a whole, on little images, with little of everything that takes time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from lewel.errors import UserError
from lewel.evaluate.dense.backbone import levels
from lewel.evaluate.dense.detection.detector import Detector
from lewel.evaluate.dense.detection.model import build
from lewel.evaluate.dense.detection.objects import Detections, Objects, pasted
from lewel.evaluate.dense.tasks import Detection, Norm
from lewel.model.encoder import Encoder

SIDE = 64
SCALE = SIDE / 800
SIZES = torch.tensor([[64, 64], [48, 64]])


def task(model: str, norm: Norm = "batch", masks: bool = True) -> Detection:
    numbers = {"lr": 0.02, "batch_size": 2, "iterations": 9, "weight_decay": 1e-4, "norm": norm}
    little = {"regions": 16, "proposals": 20}
    return Detection(**numbers, **little, data="coco", model=model, masks=masks, extra_norm=model == "c4")


def detector(model: str, norm: Norm = "batch", masks: bool = True) -> Detector:
    torch.manual_seed(0)
    return build(Encoder("test_resnet"), task(model, norm, masks), 3, SCALE)


def rectangles(*boxes: tuple[int, int, int, int], height: int = SIDE) -> Objects:
    """Objects that fill their boxes, of classes 0, 1, ..."""
    masks = torch.zeros(len(boxes), height, SIDE, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Objects(torch.tensor(boxes).float().reshape(-1, 4), torch.arange(len(boxes)), masks)


def triangles(whole: Objects) -> Objects:
    """The lower left halves of objects that fill their boxes."""
    assert whole.masks is not None
    masks = whole.masks.clone()
    for mask, (x0, y0, x1, y1) in zip(masks, whole.boxes.int().tolist(), strict=True):
        across, down = torch.linspace(0, 1, x1 - x0), torch.linspace(0, 1, y1 - y0)
        mask[y0:y1, x0:x1] = across[None] <= down[:, None]
    return whole._replace(masks=masks)


def painted(targets: list[Objects]) -> Tensor:
    """Noise with the objects in it, each class in its channel."""
    images = 0.1 * torch.randn(len(targets), 3, SIDE, SIDE)
    for image, objects in zip(images, targets, strict=True):
        assert objects.masks is not None
        for mask, label in zip(objects.masks, objects.labels.tolist(), strict=True):
            image[label, : len(mask)] += 2 * mask
    return images


@torch.no_grad()
def predicted(module: Detector, images: Tensor) -> list[Detections]:
    return module.eval().predict(images, SIZES)


TWO = [rectangles((4, 6, 30, 40), (34, 10, 62, 30)), rectangles((10, 5, 40, 44), height=48)]
MODELS = pytest.mark.parametrize("model", ["c4", "fpn"])


@MODELS
@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_every_weight_of_the_encoder_is_the_given_one(model: str, norm: Norm) -> None:
    torch.manual_seed(0)
    encoder = Encoder("test_resnet")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    found = build(encoder, task(model, norm), 3, SCALE)
    assert found.encoder is encoder
    state = {name: tensor for name, tensor in found.state_dict().items() if name.startswith("encoder.")}
    missing = {name for name in before if f"encoder.{name}" not in state}
    dropped = {"batch": (), "frozen": ("num_batches_tracked",), "group": ("num_batches_tracked", "mean", "var")}[norm]
    assert all(name.endswith(dropped) for name in missing)
    assert len(state) == len(before) - len(missing)
    assert all(torch.equal(tensor, before[name.removeprefix("encoder.")]) for name, tensor in state.items())
    assert all(parameter.requires_grad for parameter in found.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_its_maps_are_the_encoders_own(name: str) -> None:
    """res5 is the encoder's output; C4 proposes from res4, and its regions go through the encoder's res5."""
    encoder = Encoder(name)
    images = torch.randn(1, 3, 64, 96)
    before = encoder.eval()(images)
    found = build(encoder, task("c4"), 3, SCALE).eval()
    with torch.no_grad():
        maps = levels(found.encoder, images)
        assert torch.equal(maps[3], before)
        assert torch.equal(found.maps(images)[0], maps[2])
        whole = torch.tensor([[0.0, 0, 96, 64]])
        seen = nn.functional.interpolate(maps[2], size=(14, 14), mode="bilinear", align_corners=False)
        right = encoder.get_submodule("backbone.layer4")(seen)
        features = found.features([maps[2]], [whole])
    assert torch.allclose(features, found.get_submodule("extra_norm")(right), atol=1e-4)


def learned(found: Detector, images: Tensor, targets: list[Objects], steps: int) -> list[float]:
    """The losses of so many steps."""
    optimizer, losses = torch.optim.SGD(found.train().parameters(), lr=0.05, momentum=0.9), list[float]()
    for _ in range(steps):
        loss, parts = found(images, SIZES, targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(found.parameters(), 10.0)
        optimizer.step()
        losses.append(loss.item())
        assert losses[-1] == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-5)
    return losses


@pytest.mark.parametrize(("model", "steps"), [("c4", 20), pytest.param("fpn", 12, marks=pytest.mark.slow)])
def test_a_batch_is_learned(model: str, steps: int) -> None:
    losses = learned(detector(model), painted(TWO), TWO, steps)
    assert sum(losses[-3:]) / 3 < losses[0] / 2


@pytest.mark.slow
@pytest.mark.parametrize(("model", "steps"), [("c4", 150), ("fpn", 150)])
def test_what_is_learned_is_found_again(model: str, steps: int) -> None:
    """Masks too, which are half of their boxes."""
    targets = [triangles(each) for each in TWO]
    found, images = detector(model), painted(targets)
    learned(found, images, targets, steps)
    norms = [part for part in found.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for _ in range(5):
            found(images, SIZES, targets)
    for truth, result, (height, width) in zip(targets, predicted(found, images), SIZES.tolist(), strict=True):
        overlap = box_iou(truth.boxes, result.boxes)
        best = overlap.argmax(dim=1)
        assert (overlap.amax(dim=1) > 0.5).all()
        assert torch.equal(result.labels[best], truth.labels)
        assert result.masks is not None and truth.masks is not None
        masks = pasted(result.masks[best], result.boxes[best], height, width)
        overlaps = (masks & truth.masks).sum(dim=(1, 2)) / (masks | truth.masks).sum(dim=(1, 2))
        assert (overlaps > 0.7).all(), overlaps


@MODELS
@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_images_without_objects_train(model: str, norm: Norm) -> None:
    """Alone they give every weight a gradient, 0 for masks, so that weight decay and momentum go on."""
    found = detector(model, norm).train()
    loss, parts = found(torch.randn(2, 3, SIDE, SIDE), SIZES, [rectangles(), rectangles(height=48)])
    loss.backward()
    assert loss.isfinite()
    assert float(parts["loss_mask"]) == float(parts["loss_box_reg"]) == float(parts["loss_rpn_box_reg"]) == 0
    for name, parameter in found.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    one = found(torch.randn(2, 3, SIDE, SIDE), SIZES, [TWO[0], rectangles(height=48)])[1]
    assert float(one["loss_mask"]) > 0


@MODELS
def test_every_weight_learns_from_objects(model: str) -> None:
    found = detector(model).train()
    found(painted(TWO), SIZES, TWO)[0].backward()
    still = {name for name, parameter in found.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    assert not still


@pytest.mark.parametrize("model", ["c4", pytest.param("fpn", marks=pytest.mark.slow)])  # minutes where bf16 is emulated
def test_it_trains_and_predicts_in_bfloat16(model: str) -> None:
    found = detector(model).train()
    images = painted(TWO)
    with torch.autocast("cpu", torch.bfloat16):
        loss, parts = found(images, SIZES, TWO)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    torch.manual_seed(1)
    exact = found(images, SIZES, TWO)[0]
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        near = found(images, SIZES, TWO)[0]
    assert float(near.detach()) == pytest.approx(float(exact.detach()), rel=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        results = predicted(found, images)
    assert all(each.boxes.dtype == each.scores.dtype == torch.float32 for each in results)
    assert set(parts) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}


@MODELS
@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_nothing_found_is_a_result(model: str, norm: Norm) -> None:
    found = detector(model, norm).eval()
    nn.init.constant_(found.predictor.classes.bias[-1:], 50.0)  # all is background
    results = predicted(found, torch.randn(2, 3, SIDE, SIDE))
    assert [len(each.boxes) for each in results] == [0, 0]
    side = 14 if model == "c4" else 28
    assert all(each.masks is not None and each.masks.shape == (0, side, side) for each in results)


@MODELS
def test_without_masks_it_is_faster_rcnn(model: str) -> None:
    found = detector(model, masks=False)
    targets = [each._replace(masks=None) for each in TWO]
    assert "loss_mask" not in found.train()(painted(TWO), SIZES, targets)[1]
    assert all(each.masks is None for each in predicted(found, painted(TWO)))


@MODELS
def test_images_that_are_filled_up_give_what_is_in_them(model: str) -> None:
    found = detector(model, masks=False).eval()
    nn.init.normal_(found.predictor.classes.weight, std=1.0)
    results = predicted(found, painted(TWO))
    assert len(results[1].boxes)
    assert float(results[1].boxes[:, 3].max()) <= 48


def test_anchors_and_levels_are_smaller_with_the_images() -> None:
    """C4's one map: as the images. FPN's: as the root, between objects, that are smaller, and strides, that are not."""
    c4, fpn = (build(Encoder("test_resnet"), task(model), 3, 0.25) for model in ("c4", "fpn"))
    assert c4.proposals.anchor_generator.sizes == ((8.0, 16.0, 32.0, 64.0, 128.0),)
    assert fpn.proposals.anchor_generator.sizes == ((16.0,), (32.0,), (64.0,), (128.0,), (256.0,))
    assert getattr(fpn, "canonical") == 112.0  # noqa: B009


def test_a_small_stem_has_smaller_strides() -> None:
    fpn, found = (build(Encoder("resnet18", stem="small"), task(model), 3, SCALE) for model in ("fpn", "c4"))
    assert fpn.proposals.anchor_generator.strides == (1, 2, 4, 8, 16)
    assert found.proposals.anchor_generator.strides == (4,)
    loss, _ = found.train()(painted(TWO), SIZES, TWO)
    assert loss.isfinite()


def test_other_networks_are_refused() -> None:
    with pytest.raises(UserError, match="take ResNets apart"):
        build(Encoder("mobilenetv3_small_050"), task("c4"), 3, SCALE)
