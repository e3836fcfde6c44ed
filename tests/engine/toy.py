"""A small module with everything that a resume can lose: weights, BN, target, queue, pointer, dropout; and a run of it.

As a script: python toy.py RUN_DIRECTORY STEPS, with the options of `main`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lewel import parallel
from lewel.engine import checkpoint, loop, optim, precision
from lewel.engine.background import Background
from lewel.engine.identity import Identity
from lewel.engine.schedule import warmup_cosine
from lewel.engine.signals import Interrupted, StopRequest
from lewel.engine.state import Training
from lewel.errors import UserError

BATCH, SIZE = 8, 6
TOYS = Identity({"name": "toy", "sizes": [1, 2]}, epochs=10, processes=1)


class Toy(nn.Module):
    """BYOL-like: an online net, its moving average, and a queue of the target's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = False  # the next loss is not finite, and its gradient is
        self.online = net()
        self.target = net().requires_grad_(False)
        self.target.load_state_dict(self.online.state_dict())
        self.register_buffer("queue", torch.zeros(32, 5))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("empty", torch.zeros(0))
        self.calls: list[str] = []

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Any]]:
        online = self.online(first)
        with torch.no_grad():
            target = self.target(second)
        loss = (online - target).square().mean() + 0.1 * (online @ self.queue.t()).square().mean()
        loss, self.lost = loss + (torch.nan if self.lost else 0), False
        seen = {"pooled": online.detach(), "embeddings": {"toy": online.detach()[:, None]}}
        return loss, {"loss/toy": loss.detach(), "keys": target, **seen}

    def before_step(self, step: int, total_steps: int) -> None:
        self.calls.append("before")

    @torch.no_grad()
    def after_step(self, *outs: dict[str, Any]) -> None:
        self.calls.append("after")
        torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 0.1)
        for out in outs:
            keys = parallel.all_gather(out["keys"])
            where = (self.pointer + torch.arange(len(keys))) % len(self.queue)
            self.queue[where] = keys
            self.pointer.add_(len(keys)).remainder_(len(self.queue))


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(4 * (SIZE - 2) ** 2, 5),
    )


def batch(step: int, rank: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    pixels = torch.randn(2, BATCH, 3, SIZE, SIZE, generator=generator)
    return pixels[0], pixels[1]


def batches(start: int, total: int, pause: float = 0, nan_at: tuple[int, ...] = (), nan_rank: int = 0) -> Iterator[Any]:
    for step in range(start, total):
        first, second = batch(step, parallel.rank())
        if step in nan_at and parallel.rank() == nan_rank:
            first[3, 1, 2, 2] = torch.nan
        time.sleep(pause)
        yield first, second


def training(kind: str = "lars") -> Training:
    """The same start at every call."""
    torch.manual_seed(0)
    module = loop.place(Toy(), torch.device("cpu"))
    groups = optim.parameter_groups(module, "bias_and_bn", 1e-4)
    optimizer = optim.LARS(groups, 0.1) if kind == "lars" else torch.optim.SGD(groups, 0.1, momentum=0.9)
    return Training(module, optimizer, CPU.scaler())


CPU = precision.Precision(torch.device("cpu"), "fp32")


def train(made: Training, start: int, total: int, data: Any = None, **options: Any) -> None:
    peak = 4.0 if isinstance(made.optimizer, optim.LARS) else 0.05
    schedule = warmup_cosine(peak, 10, max(total // 10, 1), warmup_epochs=1)
    loop.train(
        made.module, data or batches(start, total), made.optimizer, schedule, total_steps=total, start_step=start,
        precision=CPU, scaler=made.scaler, **options,
    )  # fmt: skip


def digest(made: Training) -> str:
    """Of everything that a resumed run must have again."""
    sha = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    for tensor in made.module.state_dict().values():
        sha.update(tensor.contiguous().numpy().tobytes())
    for parameter in made.module.parameters():
        for _, tensor in sorted(made.optimizer.state.get(parameter, {}).items()):
            sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def save(run: Path, step: int, made: Training, identity: Identity, keep: int = 2) -> Path:
    """A checkpoint, at once."""
    content = checkpoint.prepare(run, step, made, identity, keep)
    parallel.on_main(lambda: content and checkpoint.write(content))
    return checkpoint.directory(run, step)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--save-every", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--nan-at", default="")
    parser.add_argument("--nan-rank", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    parallel.start(torch.device("cpu"), timeout_s=60)
    made = training()
    identity = Identity({"name": "toy"}, epochs=10, processes=parallel.world())
    torch.manual_seed(parallel.rank())
    checkpoint.clean(options.run)
    found = checkpoint.latest(options.run)
    start = checkpoint.load(found, made, identity) if found else 0

    background = Background(str)

    def save(step: loop.Step) -> None:
        if step.last or step.number % options.save_every == 0:
            content = checkpoint.prepare(options.run, step.number, made, identity, options.keep)
            background.start(content and (lambda: checkpoint.write(content)))
        if step.last:
            background.finish()

    nan_at = tuple(int(step) for step in options.nan_at.split(",") if step)
    data = batches(start, options.steps, options.pause, nan_at, options.nan_rank)
    try:
        with StopRequest() as stop:
            print("at", start, flush=True)
            train(made, start, options.steps, data, callbacks=[save], stop=stop)
    except Interrupted as interrupted:
        print(interrupted, flush=True)
        return interrupted.exit_code
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    finally:
        parallel.stop()
    print(digest(made), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
