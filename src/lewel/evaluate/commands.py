"""`lewel evaluate`: the list of tasks, and one of them."""

from __future__ import annotations

from lewel.config import Evaluation
from lewel.console import Console, Table
from lewel.evaluate.changes import Changes
from lewel.evaluate.protocols import PROTOCOLS
from lewel.evaluate.results import Result


def list_tasks() -> None:
    """A line a protocol."""
    table = Table("task", "what", "numbers from", box=None, pad_edge=False)
    for name, protocol in PROTOCOLS.items():
        table.add_row(name, protocol.note, protocol.source)
    Console().print(table)


def evaluate(task: str, options: Evaluation, changes: Changes) -> list[Result]:
    """Run it, print the table, say what was written. Returns a result for each of the weights."""
    console = Console()
    if task == "maps":
        from lewel.evaluate.maps import where

        measured = where.evaluate(task, options, changes)
        where.describe(measured, options.out, console)
        return measured
    from lewel.evaluate import evaluation

    found = evaluation.evaluate(task, options, changes)
    evaluation.describe(found, options.out, console)
    return found.results
