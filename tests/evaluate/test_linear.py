"""Linear classifiers: they begin, step and end as by hand, each as it would alone, and the encoder never knows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import torch
from torch.nn import functional

from lewel.evaluate import classification, linear, training
from lewel.evaluate.linear import Classifiers, Setting
from lewel.evaluate.order import Epochs
from lewel.evaluate.tasks import Linear

SGD = Linear("sgd", 0.4, 8, 3, milestones=(1, 2), evaluate_every=1)
LARS = Linear("lars", 3.2, 8, 4, evaluate_every=1)
TRAIN, VAL = little.colours(20, 0), little.colours(30, 1)


def on_colours() -> Any:
    return little.data(little.labelled(little.planes(TRAIN)), little.labelled(little.planes(VAL)))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[training.Fit]:
    """What `training.run` was given, in order."""
    found, run = [], training.run
    monkeypatch.setattr(training, "run", lambda job, fit: found.append(fit) or run(job, fit))
    return found


def rows(colour: np.ndarray) -> np.ndarray:
    return (colour / 255 - 0.4) / 0.2


def test_all_classifiers_begin_alike_as_published() -> None:
    torch.manual_seed(0)
    classifiers = Classifiers(512, 100, 4)
    first = classifiers.weights[0]
    assert abs(first.mean().item()) < 4 * 0.01 / math.sqrt(51_200)
    assert abs(first.std().item() - 0.01) < 4 * 0.01 / math.sqrt(2 * 51_200)
    assert all(torch.equal(first, other) for other in classifiers.weights)
    assert len({weight.data_ptr() for weight in classifiers.weights}) == 4
    assert not any(bias.any() for bias in classifiers.biases)
    torch.manual_seed(1)
    assert not torch.equal(Classifiers(512, 100, 1).weights[0], first)


def by_hand(task: Linear, rate: float, decay: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The task's steps in float64: weights (3, 3) and biases (3,)."""
    torch.manual_seed(seed)
    weight = torch.empty(3, 3).normal_(0, 0.01).double().numpy()
    bias = np.zeros(3)
    speeds = [np.zeros_like(weight), np.zeros_like(bias)]
    steps = math.ceil(len(TRAIN) / task.batch_size)
    for step, (_, indices) in enumerate(Epochs(len(TRAIN), task.batch_size, task.epochs, seed)):
        epoch = step // steps
        if task.optimizer == "sgd":
            lr = task.lr * 0.1 ** sum(epoch >= each for each in task.milestones)
        else:
            lr = task.lr * (1 + math.cos(math.pi * epoch / task.epochs)) / 2
        x, truth = rows(TRAIN[indices]), np.eye(3)[np.array(indices) % 3]
        logits = x @ weight.T + bias
        share = np.exp(logits - logits.max(1, keepdims=True))
        error = (share / share.sum(1, keepdims=True) - truth) / len(x)
        for value, speed, gradient in zip((weight, bias), speeds, (error.T @ x, error.sum(0)), strict=True):
            update = gradient + decay * value
            if task.optimizer == "lars" and np.linalg.norm(value) and np.linalg.norm(gradient):
                size = np.linalg.norm(value)
                update *= 0.001 * size / (np.linalg.norm(gradient) + decay * size)
            speed *= 0.9
            speed += update
            value -= rate * lr * speed
    return weight, bias


@pytest.mark.parametrize(("task", "at_once"), [(SGD, 2**27), (LARS, 2**27), (SGD, 47)], ids=["sgd", "lars", "parts"])
def test_the_steps_are_those_by_hand(
    task: Linear, at_once: int, trained: list[training.Fit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """at_once: scores in memory, 15 an image here: so 47 are 3 of the 8 images of a batch."""
    monkeypatch.setattr(classification, "AT_ONCE", at_once)
    task = replace(task, rates=(0.25, 4.0), decays=(0.0, 0.01))
    values = dict(linear.evaluate(little.job(task, little.subject(), on_colours(), tmp_path)))
    classifiers = trained[0].module
    assert isinstance(classifiers, Classifiers)
    settings = linear.grid(task)
    assert settings == [(1, 0), (0.25, 0), (0.25, 0.01), (4, 0), (4, 0.01)]
    for (rate, decay), weight, bias, told in zip(
        settings, classifiers.weights, classifiers.biases, values["grid"], strict=True
    ):
        expected, expected_bias = by_hand(task, rate, decay)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(bias.detach().numpy(), expected_bias, rtol=1e-4, atol=1e-6)
        assert (told["lr"], told["weight_decay"]) == (task.lr * rate, decay)
    weight, bias = by_hand(task, 1, 0)
    top1 = 100 * ((rows(VAL) @ weight.T + bias).argmax(1) == np.arange(len(VAL)) % 3).mean()
    assert values["top1_last"] == pytest.approx(top1)


def test_the_grid_has_the_protocols_own_first_and_once() -> None:
    settings = linear.grid(SGD)
    assert settings[0] == Setting(1, 0) and len(settings) == len(set(settings)) == len(SGD.rates) * len(SGD.decays)
    assert linear.grid(replace(SGD, weight_decay=0.5))[0] == (1, 0.5)


def test_nothing_of_the_encoder_changes(tmp_path: Path) -> None:
    encoder = little.encoder().train()
    encoder.backbone.layer1.eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    modes = {name: module.training for name, module in encoder.named_modules()}
    wanted = {name: parameter.requires_grad for name, parameter in encoder.named_parameters()}
    assert any(name.endswith("running_var") for name in before) and set(modes.values()) == {True, False}
    dict(linear.evaluate(little.job(SGD, little.subject(encoder), on_colours(), tmp_path)))
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert modes == {name: module.training for name, module in encoder.named_modules()}
    assert wanted == {name: parameter.requires_grad for name, parameter in encoder.named_parameters()}
    assert not any(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize("task", [SGD, replace(LARS, lr=0.1)], ids=["sgd", "lars"])
def test_the_best_of_the_grid_is_the_same_head_trained_alone(
    task: Linear, trained: list[training.Fit], tmp_path: Path
) -> None:
    of = little.subject(little.encoder())
    values = dict(linear.evaluate(little.job(task, of, on_colours(), tmp_path / "grid")))
    together, settings = trained[0].module, linear.grid(task)
    best = max(range(len(settings)), key=lambda place: values["grid"][place]["top1"])
    assert best and values["grid"][best]["top1"] == values["best_of_grid_top1"] > values["top1"]
    rate, decay = settings[best]
    alone = replace(task, lr=rate * task.lr, weight_decay=decay, rates=(1.0,), decays=(decay,))
    found = dict(linear.evaluate(little.job(alone, of, on_colours(), tmp_path / "alone")))
    assert found["top1"] == found["best_of_grid_top1"] == values["best_of_grid_top1"] and len(found["grid"]) == 1
    heads = trained[1].module
    assert isinstance(together, Classifiers) and isinstance(heads, Classifiers)
    torch.testing.assert_close(together.weights[best], heads.weights[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(together.biases[best], heads.biases[0], rtol=1e-6, atol=1e-6)


def test_a_head_that_runs_away_harms_no_other() -> None:
    """LARS makes a head grow by a share of itself in each step, so that 64 times its rate is soon beyond all bounds."""
    task = replace(LARS, rates=(1.0, 64.0, 1000.0), decays=(0.0, 1e-4))
    random = torch.Generator().manual_seed(0)
    rows, labels = torch.rand(400, 16, generator=random), torch.randint(5, (400,), generator=random)

    def fitted(settings: list[Setting]) -> Classifiers:
        torch.manual_seed(0)
        classifiers = Classifiers(16, 5, len(settings))
        optimizer = linear.optimizer(classifiers, task, settings)
        for group in optimizer.param_groups:
            group["lr"] = task.lr * group["lr_scale"]
        for step in range(250):
            chosen = torch.arange(step, step + 32) % 400
            loss, out = classifiers(rows[chosen], labels[chosen])
            assert loss.isfinite() and out["loss"].isfinite()
            loss.backward()
            assert all(parameter.grad.isfinite().all() for parameter in classifiers.parameters())
            optimizer.step()
            optimizer.zero_grad()
        return classifiers

    settings = linear.grid(task)
    together, alone = fitted(settings), fitted(settings[:1])
    assert max(weight.abs().max().item() for weight in together.weights) > 1e4
    assert all(parameter.isfinite().all() for parameter in together.parameters())
    torch.testing.assert_close(together.weights[0], alone.weights[0], rtol=1e-6, atol=1e-6)


def test_the_loss_is_the_sum_of_cross_entropies_and_the_firsts_is_shown() -> None:
    torch.manual_seed(0)
    classifiers = Classifiers(6, 4, 3)
    for weight in classifiers.weights:
        weight.data.normal_()
    rows, labels = torch.randn(5, 6), torch.tensor([0, 3, 1, 1, 2])
    loss, out = classifiers(rows, labels)
    each = [functional.cross_entropy(rows @ weight.T, labels) for weight in classifiers.weights]
    torch.testing.assert_close(loss, torch.stack(each).sum())
    torch.testing.assert_close(out["loss"], each[0].detach())


def test_the_result_is_the_best_evaluation_and_the_last_stands_beside_it(tmp_path: Path) -> None:
    task = Linear("sgd", 6.0, 4, 9, evaluate_every=2, rates=(1.0, 0.01), decays=(0.0,))
    values = dict(linear.evaluate(little.job(task, little.subject(), on_colours(), tmp_path)))
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    evaluations = {row["epoch"]: row for row in lines if "top1" in row}
    assert list(evaluations) == [2, 4, 6, 8, 9]
    top1 = [row["top1"] for row in evaluations.values()]
    assert values["top1"] == max(top1) > top1[-1] == values["top1_last"]
    with np.load(tmp_path / "predictions.npz") as arrays:
        assert 100 * (arrays["predicted"] == arrays["labels"]).mean() == pytest.approx(values["top1"])
        assert arrays["labels"].tolist() == [index % 3 for index in arrays["images"]]
        assert len(arrays["images"]) == len(VAL)
    assert [row["grid"][0] for row in evaluations.values()] == pytest.approx(top1)
    assert values["grid"][1]["top1"] == max(row["grid"][1] for row in evaluations.values())
