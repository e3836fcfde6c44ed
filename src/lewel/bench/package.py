"""The package as a contender: its own training loop, on views that are ready or on a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal

import torch
from torch import Tensor

from lewel import build, config
from lewel.bench import work
from lewel.bench.apart import Built
from lewel.bench.data import ENDLESS
from lewel.data import executor, resident
from lewel.data.images import open_images
from lewel.engine import memory, precision
from lewel.engine.loop import Step, place, train
from lewel.engine.optim import make_optimizer
from lewel.model.method import Method
from lewel.model.target import MomentumTarget
from lewel.terms import Momentum

Switch = Literal["kept memory", "channels-last", "folded target"]
SWITCHES: tuple[Switch, ...] = ("kept memory", "channels-last", "folded target")


@dataclass(frozen=True)
class Folder:
    """Images from files. workers: processes; executor: as in `lewel pretrain`."""

    data: str
    workers: int
    executor: Literal["pillow", "tensor", "resident"] = "pillow"


@dataclass(frozen=True)
class Setup:
    """A training step to be timed.

    steps: of a unit of work. machine: what the counted work is set against; None does not count.
    without: what the package has and this contender has not. compiled: the network by torch.compile.
    folder: None trains on random views that are on the device already.
    """

    recipe: config.Recipe
    device: str
    precision: Literal["fp32", "bf16"]
    threads: int
    steps: int
    machine: work.Machine | None = None
    without: tuple[Switch, ...] = ()
    compiled: bool = False
    folder: Folder | None = None

    @property
    def images(self) -> int:
        """Of a unit."""
        return self.steps * self.recipe.optimizer.batch_size


def contender(setup: Setup) -> Built:
    """`apart.Maker` of the package."""
    if "kept memory" not in setup.without:
        memory.keep_freed()
    run = _Run(setup)
    facts = run.facts(setup.machine) if setup.machine else {}
    if setup.compiled:
        run.method.compile_encoders()
    for _ in range(2):  # warm, and compiled
        run.unit()
    if setup.machine and torch.device(setup.device).type == "cuda":
        facts["launches"], facts["waits"] = (n / setup.steps for n in work.launches(run.unit))
    return Built(run.unit, setup.images, facts)


class _Run:
    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        self.setup, self.device = setup, torch.device(setup.device)
        self.precision = precision.choose(setup.precision, self.device)
        self.method = untrained(setup.recipe)
        self.method.to(self.device) if "channels-last" in setup.without else place(self.method, self.device)
        self.method.train()
        target = self.method.target
        if "folded target" in setup.without and isinstance(target, MomentumTarget):
            target.inference_branch = lambda example: target.branch
        self.optimizer = make_optimizer(self.method, setup.recipe.optimizer)
        self.source, self.done, self.waited = self._source(), 0, 0.0

    def _source(self) -> Iterator[Any]:
        data, batch_size = self.setup.recipe.data, self.setup.recipe.optimizer.batch_size
        if (folder := self.setup.folder) is None:
            pixels = ready_views(self.setup.recipe, self.device)
            return repeat(pixels)
        how = executor.choose(folder.executor, self.device)
        images = open_images(folder.data)
        if how.name == "resident":
            images = resident.hold(images, data, self.device)
        return resident.from_anywhere(
            images, data, batch_size, 0, 0, ENDLESS, workers=folder.workers, device=self.device, executor=how
        )

    def facts(self, machine: work.Machine) -> dict[str, Any]:
        """The first loss, the numbers of parameters, and the work of a step."""
        with torch.no_grad(), self.precision.autocast():
            loss, _ = self.method(*ready_views(self.setup.recipe, self.device))
        counted = work.count(lambda: self._train(1), machine)
        trained = sum(p.numel() for p in self.method.parameters() if p.requires_grad)
        return {"loss": float(loss), "parameters": trained, **vars(counted)}

    def unit(self) -> dict[str, float]:
        self.waited = 0.0
        self._train(self.setup.steps)
        work.finish(self.device)
        return {"data_s": self.waited}

    def _train(self, steps: int) -> None:
        train(
            self.method,
            self.source,
            self.optimizer,
            lambda step: 1e-3,
            total_steps=self.done + steps,
            precision=self.precision,
            start_step=self.done,
            callbacks=[self._count],
        )
        self.done += steps

    def _count(self, step: Step) -> None:
        self.waited += step.data_s


def untrained(recipe: config.Recipe) -> Method:
    """The method that all contenders start from."""
    torch.manual_seed(0)
    return build.terms(recipe)


def folds(recipe: config.Recipe) -> bool:
    """Whether its target runs with its batch norm folded, in running statistics."""
    target = getattr(recipe.method, "target", None)
    return isinstance(target, Momentum) and target.batchnorm == "running"


def ready_views(recipe: config.Recipe, device: torch.device) -> tuple[Tensor, ...]:
    """Two views of noise, the same for all contenders, in channels-last memory."""
    generator = torch.Generator().manual_seed(1)
    shape = (recipe.optimizer.batch_size, 3, recipe.data.image_size, recipe.data.image_size)
    views = [torch.randn(shape, generator=generator) for _ in recipe.data.views]
    return tuple(view.contiguous(memory_format=torch.channels_last).to(device) for view in views)
