"""`lewel bench step`: the training step on views that are ready, against what anybody would run for the same work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from lewel import config
from lewel.bench import compare, package, peers
from lewel.bench.apart import Facts, Maker, timed
from lewel.bench.compare import CONTROL, Result
from lewel.bench.package import Setup
from lewel.console import Table

LOSS_TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}


@dataclass(frozen=True)
class Entrant:
    """A contender in its setup: one row of the table."""

    name: str
    make: Maker
    setup: Setup


def entrants(recipe: config.Recipe, setup: Setup, switches: bool) -> list[Entrant]:
    """The yardstick as it is and with bf16, then the package in fp32 and in the setup's precision; the first is what
    the others are compared with.

    switches: also the package less each thing that makes it fast, and with torch.compile.
    """
    plain = replace(setup, recipe=recipe, precision="fp32")
    found = peers.yardstick(recipe)
    lines: list[Entrant] = []
    if found is not None:
        plain = replace(plain, recipe=found.recipe)
        lines.append(Entrant(f"{found.name}, fp32", found.make, plain))
    fast = replace(plain, precision=setup.precision)
    if found is not None and setup.precision != "fp32":
        lines.append(Entrant(f"{found.name}, {setup.precision}, channels-last", found.make, fast))
    lines.append(Entrant("lewel, fp32", package.contender, plain))
    if setup.precision != "fp32":
        lines.append(Entrant(f"lewel, {setup.precision}", package.contender, fast))
    if switches:
        for switch in package.SWITCHES:
            if switch != "folded target" or package.folds(plain.recipe):
                name = f"lewel, {setup.precision}, without {switch}"
                lines.append(Entrant(name, package.contender, replace(fast, without=(switch,))))
        lines.append(Entrant(f"lewel, {setup.precision}, compiled", package.contender, replace(fast, compiled=True)))
    return lines


def measure(lines: list[Entrant], rounds: int) -> list[Result]:
    """Time them, and put what else is known beside: peak bytes, counted work, shares of the roofline.

    Raises UserError where a loss or the FLOPs differ from the first's.
    """

    def check(facts: dict[str, Facts]) -> None:
        for line in lines:
            peers.check(facts[line.name], facts[lines[0].name], line.name, LOSS_TOLERANCE[line.setup.precision])

    results = timed({line.name: (line.make, line.setup) for line in lines}, rounds, check)
    setups = {line.name: line.setup for line in lines} | {CONTROL: lines[0].setup}
    return [_with_shares(result, setups[result.name]) for result in results]


def _with_shares(result: Result, setup: Setup) -> Result:
    """With the shares of what the machine can do: of its FLOPs, and of the operations' roofline."""
    assert setup.machine is not None
    fastest = setup.machine.fastest(torch.float32 if setup.precision == "fp32" else torch.bfloat16)
    a_step = setup.recipe.optimizer.batch_size / result.images_per_s
    shares = {
        "flops_share": result.facts["flops"] / fastest / a_step,
        "roofline_share": result.facts["seconds"] / a_step,
    }
    return replace(result, facts=result.facts | shares)


def table(title: str, results: list[Result], device: torch.device) -> Table:
    kernels = "launches" if device.type == "cuda" else "operations"
    heads = ("images/s", "times the first", "FLOPs", "roofline", "peak GB", kernels, "waits", "CPU s")
    made = compare.empty_table(title, *heads)
    for result in results:
        made.add_row(
            result.name,
            compare.figures(result.images_per_s),
            compare.with_interval(result),
            f"{100 * result.facts['flops_share']:.0f} %",
            f"{100 * result.facts['roofline_share']:.0f} %",
            f"{result.facts['peak_bytes'] / 1e9:.2f}",
            f"{result.facts[kernels]:.0f}",
            f"{result.facts['waits']:.0f}",
            f"{result.cpu_seconds / result.images:.3f}",
        )
    made.caption = f"FLOPs, roofline: share of what this machine reaches. {kernels}, waits: a step. CPU s: an image"
    return made
