"""The training loop: counts optimizer steps, rejects what is not finite, and tells its callbacks.

One step: before_step -> forward and backward over the micro-batches -> is it finite, on every process? ->
before_update -> optimizer -> after_step (see `engine.hooks`). A step that is not finite, or that the loss scaler would
skip, changes nothing but the step's number: BN's running statistics are put back, and neither the optimizer nor
`after_step` is called, on any process.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lewel import parallel
from lewel.engine.hooks import ChangesGradients, FinishesStep, HasParts, PreparesStep, TakesIndices
from lewel.engine.precision import Precision
from lewel.engine.schedule import Schedule
from lewel.engine.signals import Interrupted, StopRequest
from lewel.engine.state import running_statistics
from lewel.errors import DivergenceError, UserError
from lewel.shapes import Batch

log = logging.getLogger(__name__)

MAX_REJECTED = 3  # in a row, then the run stops


@dataclass(frozen=True)
class Step:
    """What the callbacks see after a step. Tensors are on the device: reading one waits for it.

    number: steps done, this one counted, rejected ones too.   images: of all processes.
    loss: mean over this process's micro-batches.   outs: the second result of each forward.
    data_s, total_s: seconds waited for data, and in all.   last: the run ends after this step, done or asked to stop.
    """

    number: int
    total_steps: int
    lr: float
    accepted: bool
    last: bool
    loss: Float[Tensor, ""]
    gradient_norm: Float[Tensor, ""]
    outs: Sequence[dict[str, Any]]
    batch: Any
    images: int
    data_s: float
    total_s: float


Callback = Callable[[Step], None]


def views(batch: Any) -> tuple[Any, ...]:
    """The inputs of the module: a `Batch`'s views, or any other tuple as it is."""
    return batch.views if isinstance(batch, Batch) else tuple(batch)


def place(module: nn.Module, device: torch.device) -> nn.Module:
    """Move the module to the device, its convolutions' weights in channels-last order, faster on CPU and GPU alike."""
    return module.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # a real overload


def train(
    module: nn.Module,
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    total_steps: int,
    precision: Precision,
    scaler: torch.amp.GradScaler | None = None,
    start_step: int = 0,
    accumulate: int = 1,
    callbacks: Sequence[Callback] = (),
    stop: StopRequest | None = None,
    before: Callable[[int], None] = lambda step: None,
    to_inputs: Callable[[Any], tuple[Any, ...]] = views,
) -> None:
    """Train `module` from `start_step` to `total_steps` optimizer steps.

    module: `loss, out = module(*to_inputs(batch))`, on precision.device already (see `place`).
    batches: this process's share of each step, the first one that of `start_step`.
    schedule: step (from 0) -> learning rate, which a group of the optimizer multiplies by its "lr_scale"; a group with
        "constant" keeps its own.
    scaler: from `precision.scaler()`; fp16 needs it, and its state saved.
    accumulate: each batch is cut into so many micro-batches.
    callbacks: called after every step, in order, on every process.
    before: called with each step's number, from 0, before its batch is asked for, on every process.

    Raises Interrupted when `stop` was requested on any process, after the callbacks of a step with `last`.
    Raises UserError after three rejected steps in a row, when a batch cannot be cut into `accumulate` parts, or when
    the batches end too early.
    """
    module.train()
    source, rejected = iter(batches), 0
    with closing(_Worker(module, optimizer, precision, scaler or precision.scaler(), accumulate, to_inputs)) as worker:
        for step in range(start_step, total_steps):
            before(step)
            began = time.perf_counter()
            batch = _next(source, step, total_steps)
            data_s = time.perf_counter() - began
            if isinstance(module, PreparesStep):
                module.before_step(step, total_steps)
            lr = schedule(step)
            result = worker.step(step, batch, lr, stop is not None and stop.requested)
            rejected = rejected + result.counts if not result.accepted else 0
            if not result.accepted:
                worker.explain(batch, step, lr, result, rejected)
            done, stopping = step + 1 == total_steps, result.stopping
            told = Step(
                step + 1, total_steps, lr, result.accepted, done or stopping, result.loss, result.gradient_norm,
                result.outs, batch, result.images * parallel.world(), data_s, time.perf_counter() - began,
            )  # fmt: skip
            for callback in callbacks:
                callback(told)
            if stopping and not done:
                raise Interrupted(step + 1, total_steps, stop.by if stop is not None else "")


def _next(source: Iterator[Any], step: int, total_steps: int) -> Any:
    try:
        return next(source)
    except StopIteration:
        raise UserError(f"the data ended at step {step} of {total_steps}; give the loader as many steps") from None


@dataclass(frozen=True)
class _Result:
    loss: Tensor
    gradient_norm: Tensor
    outs: list[dict[str, Any]]
    images: int
    accepted: bool
    loss_finite: bool
    counts: bool  # a loss scaler that still looks for its scale is no sign of trouble
    stopping: bool


@dataclass
class _Worker:
    """One optimizer step, and what it needs from one step to the next."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision
    scaler: torch.amp.GradScaler
    accumulate: int
    to_inputs: Callable[[Any], tuple[Any, ...]]

    def __post_init__(self) -> None:
        self.parallel: nn.Module | None = None
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.statistics = running_statistics(self.module)
        self.snapshot = [tensor.clone() for tensor in self.statistics]

    def close(self) -> None:
        """Let go of the process group, which must end before the interpreter does (see `parallel.stop`)."""
        self.parallel = None

    def step(self, number: int, batch: Any, lr: float, stop_requested: bool) -> _Result:
        _copy(self.snapshot, self.statistics)
        for group in self.optimizer.param_groups:
            if not group.get("constant", False):
                group["lr"] = lr * group.get("lr_scale", 1.0)
        loss, outs, images = self._gradients(batch)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        asked = torch.full_like(loss, stop_requested, dtype=torch.bool)
        flags = torch.stack([~loss.isfinite(), ~norm.isfinite(), asked]).float()
        loss_bad, norm_bad, stopping = (flag > 0 for flag in parallel.all_reduce_(flags, "max").tolist())
        accepted = not (loss_bad or norm_bad)
        if accepted:
            if isinstance(self.module, ChangesGradients):
                self.module.before_update(number)
            self.optimizer.step()
            parallel.broadcast_(self.statistics)  # before the target takes its average of them
            if isinstance(self.module, FinishesStep):
                self.module.after_step(*outs)
        else:
            _copy(self.statistics, self.snapshot)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        counts = loss_bad or not self.scaler.is_enabled() or self.scaler.get_scale() < 1 if not accepted else False
        return _Result(loss, norm, outs, images, accepted, not loss_bad, counts, stopping)

    def _gradients(self, batch: Any) -> tuple[Tensor, list[dict[str, Any]], int]:
        inputs = mapped(self._move, self.to_inputs(batch))
        images = len(_first_tensor(inputs))
        takes_indices = isinstance(self.module, TakesIndices) and self.module.takes_indices
        indices = self._move(batch.indices) if takes_indices else None
        if images % self.accumulate:
            raise UserError(f"--accumulate {self.accumulate} must divide the {images} images of a process's batch")
        size = images // self.accumulate
        pieces = [(inputs, indices)]  # of one piece nothing is cut, as not every tensor need have a row an image
        if self.accumulate > 1:
            whole = (inputs, indices)
            pieces = [mapped(lambda t, at=i * size: t[at : at + size], whole) for i in range(self.accumulate)]
        losses, outs = [], []
        for number, (piece, numbers) in enumerate(pieces):
            more = {} if numbers is None else {"indices": numbers}
            loss, out = self._backward(piece, more, last=number == self.accumulate - 1)
            losses.append(loss)
            outs.append(out)
        return torch.stack(losses).mean(), outs, images

    def _backward(self, piece: tuple[Any, ...], more: dict[str, Tensor], last: bool) -> tuple[Tensor, dict[str, Any]]:
        """Forward and backward of a micro-batch, part by part. last: of the step, so that the processes' sums begin."""
        parts = self.module.parts(*piece) if isinstance(self.module, HasParts) else 1
        if self.parallel is None:
            self.parallel = _distributed(self.module, one_pass=parts == self.accumulate == 1)
        losses, outs = [], []
        for part in range(parts):
            choice = {"part": part} if parts > 1 else {}
            with self._synchronised(last and part == parts - 1):
                with self.precision.autocast():
                    loss, out = self.parallel(*piece, **choice, **more)
                self.scaler.scale(loss / self.accumulate).backward()
            losses.append(loss.detach())
            outs.append(out)
        return torch.stack(losses).sum(), self.module.joined(outs) if isinstance(self.module, HasParts) else outs[0]

    def _synchronised(self, last: bool) -> AbstractContextManager[None]:
        """DDP sums the gradients of all processes in the last backward pass of a step, and in no other."""
        ddp = self.parallel
        return ddp.no_sync() if isinstance(ddp, DistributedDataParallel) and not last else nullcontext()

    def _move(self, tensor: Tensor) -> Tensor:
        moved = tensor.to(self.precision.device, non_blocking=True)
        return moved.contiguous(memory_format=torch.channels_last) if moved.dim() == 4 else moved

    def explain(self, batch: Any, step: int, lr: float, result: _Result, in_a_row: int) -> None:
        """Say which step was rejected and the likely cause; raise UserError after too many in a row."""
        what = "gradient" if result.loss_finite else "loss"
        cause = self._cause(batch, lr, result)
        if parallel.is_main():
            log.warning("step %d rejected: the %s is not finite, and nothing was changed. %s", step + 1, what, cause)
        if in_a_row >= MAX_REJECTED:
            text = f"stopped at step {step + 1}: the {what} was not finite {in_a_row} times in a row, the weights are "
            raise parallel.everywhere(DivergenceError(f"{text}those of step {step + 1 - in_a_row}. {cause}"))

    def _cause(self, batch: Any, lr: float, result: _Result) -> str:
        finite: list[Tensor] = []
        mapped(lambda t: finite.append(t.isfinite().all()) or t, self.to_inputs(batch))
        bad_input = parallel.all_reduce_(torch.tensor([not all(bool(f) for f in finite)], dtype=torch.float32), "max")
        if bad_input.item():
            return "Likely cause: the images themselves are not finite; check the mean and std they are normalised with"
        if self.precision.name == "fp16" and not result.loss_finite:
            return "Likely cause: a number beyond fp16's 65504; use --precision bf16 or fp32"
        if result.counts is False:
            return "The loss scaler halves its scale; this is usual at the start"
        return f"Likely cause: the learning rate, {lr:.4g} at this step, is too high; lower --lr"


def _distributed(module: nn.Module, one_pass: bool) -> nn.Module:
    """Average gradients over processes; buffers stay each process's own, or a queue's writes would be lost.

    With one backward pass a step its graph is the first step's for ever, which DDP can use.
    """
    if parallel.world() == 1:
        return module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the option's new name, which torch 2.11 does not know
        return DistributedDataParallel(
            module, broadcast_buffers=False, gradient_as_bucket_view=True, static_graph=one_pass
        )


@torch.no_grad()
def _copy(to: list[Tensor], source: list[Tensor]) -> None:
    if to:
        torch._foreach_copy_(to, source)


def mapped(change: Callable[[Any], Any], value: Any, kind: type = Tensor) -> Any:
    """Apply `change` to everything of this kind in nested (named) tuples; leave anything else."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, tuple):
        parts = [mapped(change, part, kind) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _first_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else _first_tensor(value[0])
