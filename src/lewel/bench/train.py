"""`lewel bench train`: the whole of training, from files to updated weights, and how long it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from lewel.bench import compare, one_file, package, work
from lewel.bench.apart import Built, Maker, timed
from lewel.bench.compare import Result
from lewel.bench.package import Setup
from lewel.bench.peers import OneFile, is_lewel_b
from lewel.console import Table
from lewel.data.folder import Files
from lewel.data.images import open_images


def measure(setup: Setup, executors: Sequence[Literal["pillow", "tensor", "resident"]], rounds: int) -> list[Result]:
    """The one-file version (where the recipe is LEWEL_B's and the images are files), the package on files by each
    executor, and the package on views that are ready: what it would do if data cost nothing.
    """
    assert setup.folder is not None
    makers: dict[str, tuple[Maker, Setup]] = {}
    if is_lewel_b(setup.recipe) and isinstance(open_images(setup.folder.data), Files):
        its_own = "bf16" if torch.device(setup.device).type == "cuda" else "fp32"  # as the file has it
        makers[f"one file, {its_own}"] = (one_file_on_files, setup)
    for executor in executors:
        folder = replace(setup.folder, executor=executor)
        makers[f"lewel, {setup.precision}, {executor}"] = (package.contender, replace(setup, folder=folder))
    makers[f"lewel, {setup.precision}, views ready"] = (package.contender, replace(setup, folder=None))
    return timed(makers, rounds)


def one_file_on_files(setup: Setup) -> Built:
    """`apart.Maker`: the one-file version's own images, loader and step."""
    assert setup.folder is not None
    torch.set_num_threads(setup.threads)
    device, images = torch.device(setup.device), open_images(setup.folder.data)
    assert isinstance(images, Files)
    peer = OneFile(setup.recipe)
    peer.network.to(device).train()
    loader = torch.utils.data.DataLoader(
        one_file.TwoViews(images, setup.recipe.data.image_size),
        setup.recipe.optimizer.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=setup.folder.workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=one_file.seed_worker,
        persistent_workers=setup.folder.workers > 0,
    )
    source = _endless(loader)

    def unit() -> dict[str, float]:
        waited = 0.0
        for _ in range(setup.steps):
            began = time.perf_counter()
            views = next(source)
            waited += time.perf_counter() - began
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):  # as the file has it
                loss = peer.loss(tuple(view.to(device, non_blocking=True) for view in views))
            peer.step(loss)
        work.finish(device)
        return {"data_s": waited}

    unit()
    return Built(unit, setup.images)


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def table(title: str, results: list[Result]) -> Table:
    made = compare.empty_table(title, "images/s", "times the first", "data wait", "CPU s an image", "peak GB")
    for result in results:
        made.add_row(
            result.name,
            compare.figures(result.images_per_s),
            compare.with_interval(result),
            f"{100 * result.facts['data_s'] * len(result.seconds) / sum(result.seconds):.0f} %",
            f"{result.cpu_seconds / result.images:.3f}",
            f"{result.facts['peak_bytes'] / 1e9:.2f}",
        )
    return made
