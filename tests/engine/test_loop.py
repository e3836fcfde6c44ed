"""The step's contract: order of calls, rejection, micro-batches, several processes."""

from __future__ import annotations

import pytest
import torch
from processes import finish, start
from torch import nn
from toy import BATCH, CPU, Toy, batches, digest, train, training

from lewel.engine import loop
from lewel.errors import UserError
from lewel.shapes import Batch, View


class Linear(nn.Module):
    """No BN and no dropout: its gradient over a batch is the mean over any parts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(3, 2).double()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, y: torch.Tensor):
        self.seen.append(len(x))
        loss = (self.layer(x) - y).square().mean()
        return loss, {"n": len(x)}


def linear_batch(first: int = 0, last: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(8, 5, generator=generator, dtype=torch.float64)[first:last]
    return rows[:, :3], rows[:, 3:]


def train_linear(**options) -> Linear:
    module = Linear()
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    loop.train(module, [linear_batch()], optimizer, lambda step: 0.1, total_steps=1, precision=CPU, **options)
    return module


def test_one_step_is_gradient_descent() -> None:
    start_module = Linear()
    x, y = linear_batch()
    error = start_module.layer(x) - y
    expected = start_module.layer.weight - 0.1 * (2 / error.numel()) * error.t() @ x
    assert torch.allclose(train_linear().layer.weight, expected, atol=1e-14, rtol=0)


def test_micro_batches_give_the_gradient_of_the_batch() -> None:
    whole, parts = train_linear(), train_linear(accumulate=4)
    assert parts.seen == [2, 2, 2, 2]
    assert torch.allclose(whole.layer.weight, parts.layer.weight, atol=1e-14, rtol=0)


def test_a_batch_that_cannot_be_cut() -> None:
    with pytest.raises(UserError, match="--accumulate 3 must divide the 8 images"):
        train_linear(accumulate=3)


def test_two_processes_give_the_gradient_of_the_whole_batch() -> None:
    code = """
        import os, torch
        from lewel import parallel
        from lewel.engine import loop
        from test_loop import CPU, Linear, linear_batch
        parallel.start(torch.device("cpu"))
        module, rank = Linear(), parallel.rank()
        batch = linear_batch(4 * rank, 4 * rank + 4)
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        loop.train(module, [batch], optimizer, lambda s: 0.1, total_steps=1, precision=CPU, accumulate=2)
        print(module.layer.weight.flatten().tolist())
        parallel.stop()
        threads = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
        assert not any("gloo" in name for name in threads), threads  # one of them may abort the interpreter's shutdown
    """
    results = finish(start(world=2, code=code))
    expected = train_linear().layer.weight.flatten().tolist()
    for status, out, error in results:
        assert status == 0, error
        assert eval(out) == pytest.approx(expected, abs=1e-14)


def test_the_module_is_told_once_a_step_and_the_callbacks_see_it() -> None:
    made, seen = training(), []
    train(made, 0, 10, callbacks=[seen.append], accumulate=2)
    assert made.module.calls == ["before", "after"] * 10
    assert [step.number for step in seen] == list(range(1, 11))
    assert [step.last for step in seen] == [False] * 9 + [True]
    assert all(step.accepted and step.images == BATCH and len(step.outs) == 2 for step in seen)
    assert all(0 <= step.data_s <= step.total_s for step in seen)
    assert seen[0].lr == pytest.approx(4.0) and seen[-1].lr < 0.2


def test_the_loss_told_is_the_mean_over_micro_batches() -> None:
    seen: list[loop.Step] = []
    train_linear(accumulate=2, callbacks=[seen.append])
    whole: list[loop.Step] = []
    train_linear(callbacks=[whole.append])
    assert seen[0].loss.item() == pytest.approx(whole[0].loss.item(), rel=1e-14)
    assert seen[0].gradient_norm.item() == pytest.approx(whole[0].gradient_norm.item(), rel=1e-14)


def state(made) -> dict[str, torch.Tensor]:
    momenta = {str(i): s["momentum_buffer"].clone() for i, s in enumerate(made.optimizer.state.values())}
    return {name: tensor.clone() for name, tensor in made.module.state_dict().items()} | momenta


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    made, states, seen = training(), [], []
    remember = lambda step: (states.append(state(made)), seen.append(step.accepted))  # noqa: E731
    train(made, 0, 10, batches(0, 10, nan_at=(4, 5, 8)), callbacks=[remember])
    assert seen == [step not in (4, 5, 8) for step in range(10)]
    for rejected in (4, 5, 8):
        for name, before in states[rejected - 1].items():
            assert torch.equal(before, states[rejected][name]), name
    assert not torch.equal(states[6]["queue"], states[5]["queue"])
    assert made.module.calls.count("after") == 7


def test_a_gradient_that_is_not_finite_is_rejected_too() -> None:
    class Root(nn.Module):
        """Loss sqrt(w * x): finite at 0, its slope is not."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor):
            return (self.w * x).sqrt().mean(), {}

    module = Root()
    optimizer = torch.optim.SGD(module.parameters(), 0.5)
    data = [(torch.zeros(2),), (torch.ones(2),)]
    seen: list[bool] = []
    options = {"callbacks": [lambda step: seen.append(step.accepted)], "precision": CPU}
    loop.train(module, data, optimizer, lambda step: 0.5, total_steps=2, **options)
    assert seen == [False, True]
    assert module.w.item() == pytest.approx(0.75)  # one step: 1 - 0.5 * 1/2


def test_three_rejected_steps_in_a_row_stop_the_run() -> None:
    with pytest.raises(UserError, match=r"step 7.*loss was not finite 3 times.*step 4\. .*images themselves"):
        train(training(), 0, 10, batches(0, 10, nan_at=(1, 2, 4, 5, 6)))


def test_a_rate_that_is_too_high_is_named() -> None:
    made = training("sgd")
    with pytest.raises(UserError, match=r"learning rate, 1e[+]20.* too high; lower --lr"):
        loop.train(
            made.module, batches(0, 20), made.optimizer, lambda step: 1e20, total_steps=20, precision=CPU
        )  # fmt: skip


def test_data_that_ends_early() -> None:
    with pytest.raises(UserError, match="the data ended at step 3 of 10"):
        train(training(), 0, 10, batches(0, 3))


def test_a_batch_of_views_is_passed_on_as_views() -> None:
    class Sees(Linear):
        def forward(self, first: View, second: View):
            assert isinstance(first, View) and first.geometry is not None and second.geometry is None
            self.seen.append(len(second.pixels))
            return self.layer(first.geometry[:, :3].double()).mean(), {}

    module = Sees()
    pixels = torch.zeros(4, 3, 2, 2)
    batch = Batch((View(pixels, torch.zeros(4, 8, dtype=torch.int32)), View(pixels)), torch.arange(4), [])
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    loop.train(module, [batch], optimizer, lambda step: 0.1, total_steps=1, precision=CPU, accumulate=2)
    assert module.seen == [2, 2]


def test_the_toy_is_deterministic_and_trains() -> None:
    a, b = training(), training()
    assert digest(a) == digest(b)
    begin = digest(a)
    train(a, 0, 10)
    torch.manual_seed(0)
    Toy()
    assert digest(a) != begin


@pytest.mark.slow
def test_a_nan_on_one_process_reaches_nothing_on_any(tmp_path) -> None:
    """A NaN in one image on process 1: both reject step 10, whose checkpoint has the tensors of step 9."""
    results = finish(start(tmp_path, 10, "--save-every", 9, "--nan-at", 9, "--nan-rank", 1, world=2))
    assert [status for status, _, _ in results] == [0, 0], results
    for name in ("module", "optimizer"):
        before, after = (tmp_path / f"checkpoints/step-{n:08d}/{name}.safetensors" for n in (9, 10))
        assert before.read_bytes() == after.read_bytes()


def test_a_loss_that_is_not_finite_and_a_stop_on_one_process_alone_count_on_both() -> None:
    """The gradient of that loss is finite, so that averaging the gradients tells the other process nothing."""
    code = """
        import torch
        from lewel import parallel
        from lewel.engine.signals import Interrupted, StopRequest
        from toy import digest, train, training
        with parallel.group(lambda: torch.device("cpu"), timeout_s=30):
            made, accepted, stop = training(), [], StopRequest()
            def callback(step):
                accepted.append(step.accepted)
                made.module.lost = step.number == 2 and parallel.rank() == 1
                stop.requested = step.number == 4 and parallel.rank() == 0
            try:
                train(made, 0, 9, callbacks=[callback], stop=stop)
            except Interrupted as stopped:
                print(accepted, stopped.step, digest(made))
    """
    results = finish(start(world=2, code=code))
    assert [status for status, _, _ in results] == [0, 0], results
    said = {out for _, out, _ in results}
    assert len(said) == 1 and said.pop().startswith("[True, True, False, True, True] 5 ")
