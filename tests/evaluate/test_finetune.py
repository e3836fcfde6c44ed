"""Fine-tuning: each number of the protocol is seen in what is trained, and batch norm is as published."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lewel.data.decode import DecodeError
from lewel.errors import UserError
from lewel.evaluate import finetune, training
from lewel.evaluate.finetune import Classifier
from lewel.evaluate.order import Epochs
from lewel.evaluate.parts import Labelled
from lewel.evaluate.protocols import PROTOCOLS
from lewel.evaluate.tasks import Finetune
from lewel.model.batchnorm import GroupBatchNorm

SEMI = Finetune("sgd", 0.1, 0.01, 8, 2, 1e-4, milestones=(1,), bn_images=4, evaluate_every=1)
FACES = Finetune("adamw", 2e-4, 1e-4, 8, 2, 0.05, warmup_epochs=1, lr_last=1e-6, head_init="normal", evaluate_every=1)
ENCODER = little.encoder()


def classes(n: int = 18, val: int = 12) -> Any:
    train, test = (little.planes(little.colours(k, seed), noise=60) for k, seed in ((n, 0), (val, 1)))
    return little.data(little.labelled(train), little.labelled(test))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[training.Fit]:
    """What `training.run` was given, in order."""
    found, run = [], training.run
    monkeypatch.setattr(training, "run", lambda job, fit: found.append(fit) or run(job, fit))
    return found


def trained(
    task: Finetune, directory: Path, fits: list[training.Fit], on: Any = None, of: Any = None, seed: int = 0
) -> tuple[Classifier, dict[str, Any]]:
    job = little.job(task, of or little.subject(ENCODER), on or classes(), directory, seed)
    values = dict(finetune.evaluate(job))
    module = fits[-1].module
    assert isinstance(module, Classifier)
    return module, values


def test_the_published_heads() -> None:
    torch.manual_seed(0)
    head = finetune.make_head(512, 1000, SEMI)
    assert isinstance(head, nn.Linear)
    bound = 1 / math.sqrt(512)  # of nn.Linear's own uniform distribution
    assert 0.99 * bound < head.weight.abs().max() <= bound and 0.9 * bound < head.bias.abs().max() <= bound
    assert abs(head.weight.std().item() / (bound / math.sqrt(3)) - 1) < 0.01
    normal = finetune.make_head(512, 1000, FACES)
    assert isinstance(normal, nn.Linear)
    assert abs(normal.weight.std().item() / 0.01 - 1) < 0.01 and not normal.bias.any()


def test_the_head_of_attributes() -> None:
    task = PROTOCOLS["faces-attributes"].task
    assert isinstance(task, Finetune)
    head = finetune.make_head(2048, 40, task)
    parts = [part for part in head.modules() if not list(part.children())]
    assert [type(part).__name__ for part in parts] == [*["Linear", "BatchNorm1d", "Dropout", "ReLU"] * 2, "Linear"]
    sizes = [(part.in_features, part.out_features) for part in parts if isinstance(part, nn.Linear)]
    assert sizes == [(2048, 512), (512, 256), (256, 40)]
    assert {part.p for part in parts if isinstance(part, nn.Dropout)} == {0.2}


class Rates:
    """Each group's rate in each step, noted where the optimizer would step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[list[float]] = []
        for kind in (torch.optim.SGD, torch.optim.AdamW):
            monkeypatch.setattr(kind, "step", lambda optimizer: self._note(optimizer))

    def _note(self, optimizer: torch.optim.Optimizer) -> None:
        self.seen.append([group["lr"] for group in optimizer.param_groups])


def test_encoder_and_head_have_rates_of_their_own(
    tmp_path: Path, fits: list[training.Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = Rates(monkeypatch)
    trained(SEMI, tmp_path / "semi", fits)  # 18 images: 3 steps an epoch
    assert rates.seen == [pytest.approx(each) for each in [[0.01, 0.1]] * 3 + [[0.001, 0.01]] * 3]
    rates.seen.clear()
    trained(FACES, tmp_path / "faces", fits)
    heads = [2e-4 / 3, 4e-4 / 3, 2e-4, 2e-4, 1e-6 + 1.99e-4 * 0.75, 1e-6 + 1.99e-4 * 0.25]
    assert [each[1] for each in rates.seen] == pytest.approx(heads)
    assert [each[0] for each in rates.seen] == pytest.approx([rate / 2 for rate in heads])


@pytest.mark.parametrize("task", [SEMI, FACES], ids=["sgd", "adamw"])
def test_every_tensor_is_trained_and_decays(task: Finetune, tmp_path: Path) -> None:
    module = finetune.classifier(little.job(task, little.subject(ENCODER), classes(), tmp_path), task, 3)
    optimizer = finetune.optimizer(module, task)
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in held} == {id(parameter) for parameter in module.parameters()}
    assert len(held) == len(set(map(id, held)))
    assert set(map(id, optimizer.param_groups[1]["params"])) == set(map(id, module.head.parameters()))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {task.weight_decay}
    assert isinstance(optimizer, torch.optim.AdamW if task.optimizer == "adamw" else torch.optim.SGD)
    if task.optimizer == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.9}


def test_the_first_step_is_by_hand(tmp_path: Path, fits: list[training.Fit]) -> None:
    """SGD from the encoder's weights: w - lr * (g + decay * w), by autograd on torch's own batch norm."""
    task = replace(SEMI, epochs=1, milestones=(), batch_size=18, bn_images=None)
    on = classes()
    module, _ = trained(task, tmp_path, fits, on)
    fit = fits[-1]
    (batch,) = fit.batches(0)
    pixels, labels = fit.to_inputs(batch)
    assert torch.equal(labels, batch.indices % 3)
    torch.manual_seed(0)
    reference = Classifier(little.encoder(), nn.Linear(1, 1), False)
    torch.manual_seed(0)
    reference.head = finetune.make_head(little.subject(ENCODER).width, 3, task)
    reference.train()
    functional.cross_entropy(reference.head(reference.encoder(pixels).mean(dim=(2, 3))), labels).backward()
    for (name, after), before in zip(module.named_parameters(), reference.parameters(), strict=True):
        assert before.grad is not None
        rate = 0.1 if name.startswith("head") else 0.01
        expected = before.detach() - rate * (before.grad + 1e-4 * before.detach())
        torch.testing.assert_close(after.detach(), expected, rtol=1e-4, atol=1e-6, msg=name)


def test_batch_norm_is_in_train_mode_and_its_statistics_follow(tmp_path: Path, fits: list[training.Fit]) -> None:
    module, _ = trained(SEMI, tmp_path, fits)
    norms = [part for part in module.encoder.modules() if isinstance(part, GroupBatchNorm)]
    before = dict(ENCODER.named_buffers())
    assert norms and all(norm.training and norm.groups == 2 for norm in norms)
    for name, buffer in module.encoder.named_buffers():
        assert int(buffer) == 6 if name.endswith("num_batches_tracked") else not torch.equal(buffer, before[name])


def test_parts_of_64_images_are_as_batches_of_their_own(tmp_path: Path) -> None:
    task = replace(SEMI, batch_size=128, bn_images=64)
    job = little.job(task, little.subject(ENCODER), classes(), tmp_path)
    together = finetune.classifier(job, task, 3).train()
    alone = finetune.classifier(job, replace(task, bn_images=None), 3).train()
    assert training.bn_groups(task) == 2 and training.bn_groups(replace(task, batch_size=256)) == 4
    pixels = torch.randn(128, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, second = pixels.split(64)
    found = together.encoder(pixels)
    expected = alone.encoder(first)
    statistics = {name: buffer.clone() for name, buffer in alone.encoder.named_buffers()}
    torch.testing.assert_close(found, torch.cat([expected, alone.encoder(second)]), rtol=1e-4, atol=1e-5)
    for name, buffer in together.encoder.named_buffers():
        torch.testing.assert_close(buffer, statistics[name], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, alone.encoder(pixels), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("n", "sizes"), [(18, [8, 8, 4]), (17, [8, 8, 4]), (21, [8, 8, 6]), (3, [4]), (24, [8, 8, 8])])
def test_the_last_batch_of_an_epoch_is_filled_for_batch_norm(
    n: int, sizes: list[int], tmp_path: Path, fits: list[training.Fit]
) -> None:
    """Two parts of two images at least: on a map of 1 x 1 an image alone has no variance."""
    trained(replace(SEMI, epochs=1, milestones=()), tmp_path, fits, classes(n, 3))
    batches = list(fits[-1].batches(0))
    assert [len(batch.indices) for batch in batches] == sizes
    seen = torch.cat([batch.indices for batch in batches]).tolist()
    assert sorted(seen[:n]) == list(range(n)) and seen[n:] == (seen[:n] * 2)[: len(seen) - n]


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_last_batch_of_one_image_is_no_error(head: Any, tmp_path: Path, fits: list[training.Fit]) -> None:
    trained(replace(FACES, head=head, epochs=1, warmup_epochs=0), tmp_path, fits, classes(9, 3))


def test_balanced_classes_are_drawn_equally_often(tmp_path: Path, fits: list[training.Fit]) -> None:
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    train = little.labelled(little.planes(little.colours(100, 0)), labels)
    on = little.data(train, little.labelled(little.planes(little.colours(3, 1))))
    task = replace(FACES, balanced=True, epochs=1, warmup_epochs=0)
    trained(task, tmp_path, fits, on)
    steps = Epochs(100, 8, 40, 0, classes=labels)
    first = [batch.indices.tolist() for batch in fits[-1].batches(0)]
    assert first[:-1] == [indices for _, indices in steps][: len(first) - 1]
    drawn = labels[[index for _, indices in steps for index in indices]]
    shares = np.bincount(drawn) / len(drawn)
    assert abs(shares - 1 / 3).max() < 4 * math.sqrt(2 / 9 / len(drawn))  # four standard errors


def test_the_loss_of_attributes_is_binary_cross_entropy(tmp_path: Path) -> None:
    task = replace(FACES, multilabel=True)
    job = little.job(task, little.subject(ENCODER), classes(), tmp_path)
    module = finetune.classifier(job, task, 4).eval()
    pixels, targets = torch.randn(6, 3, 32, 32), torch.randint(2, (6, 4), dtype=torch.uint8)
    p = module.logits(pixels).sigmoid().double()
    expected = -(targets * p.log() + (1 - targets.double()) * (1 - p).log()).mean()
    torch.testing.assert_close(module(pixels, targets)[0].double(), expected, rtol=1e-5, atol=1e-6)


def test_attributes_are_measured_at_a_half(tmp_path: Path, fits: list[training.Fit]) -> None:
    random = np.random.default_rng(0)
    parts = [
        little.labelled(little.planes(little.colours(n, 0)), random.integers(0, 2, (n, 3), np.uint8)) for n in (18, 12)
    ]
    task = replace(FACES, head="mlp", views="face", multilabel=True)
    module, values = trained(task, tmp_path, fits, little.data(*parts))
    with np.load(tmp_path / "predictions.npz") as arrays:
        right = 100 * (arrays["predicted"] == parts[1].targets).mean(axis=0)
    assert values["per_attribute"] == dict(zip(little.CLASSES, right.tolist(), strict=True))
    assert values["mean_accuracy"] == pytest.approx(right.mean())
    module.eval()
    with torch.no_grad():
        logits = module.logits(torch.from_numpy((parts[1].images.pixels / 255 - 0.4) / 0.2).float().permute(0, 3, 1, 2))
    last = (logits.sigmoid() > 0.5).numpy() == parts[1].targets
    assert values["mean_accuracy_last"] == pytest.approx(100 * last.mean())


def test_seeds_start_from_the_same_encoder(tmp_path: Path, fits: list[training.Fit]) -> None:
    of = little.subject(ENCODER)
    before = {name: tensor.clone() for name, tensor in ENCODER.state_dict().items()}
    modes = [module.training for module in ENCODER.modules()]
    first, values = trained(SEMI, tmp_path / "0", fits, of=of)
    second, _ = trained(SEMI, tmp_path / "1", fits, of=of, seed=1)
    again, same = trained(SEMI, tmp_path / "2", fits, of=of)
    assert all(torch.equal(before[name], tensor) for name, tensor in ENCODER.state_dict().items())
    assert modes == [module.training for module in ENCODER.modules()]
    assert values == same and all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.head.weight, second.head.weight)


def test_faces_are_whole_and_others_are_cropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of 32 x 16 with a red left half: the central view cuts its sides off, the whole one squeezes them."""
    image = np.zeros((2, 16, 32, 3), np.uint8)
    image[:, :, :8] = 255
    part = little.labelled(image, np.array([0, 1]))
    for task, red in ((replace(SEMI, views="face"), 0.25), (SEMI, 0.0)):
        job = little.job(task, little.subject(ENCODER), classes(), tmp_path)
        (batch,) = finetune._batches(job, part, finetune.EvaluationOrder(2, 256), augmented=False)
        pixels = batch.views[0].pixels * 0.2 + 0.4
        assert tuple(pixels.shape) == (2, 3, 32, 32) and float(pixels.mean()) == pytest.approx(red, abs=0.03)


def test_val_without_a_readable_image_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = classes()
    part: Labelled = on.val
    job = little.job(SEMI, little.subject(ENCODER), on, tmp_path)
    module = finetune.classifier(job, SEMI, 3)
    monkeypatch.setattr(type(part.images), "read", unreadable)
    with pytest.raises(UserError, match="none of the images of val can be read"):
        finetune._classes(job, module, part)


def unreadable(images: Any, index: int) -> Any:
    raise DecodeError(images.path(index), "cut off")
