"""`lewel evaluate`: the list of tasks, and one of them."""

from __future__ import annotations

from lewel.config import Evaluation
from lewel.console import Console, Table
from lewel.evaluate.changes import Changes
from lewel.evaluate.protocols import PROTOCOLS


def list_tasks() -> None:
    """A line a protocol."""
    table = Table("task", "what", "numbers from", box=None, pad_edge=False)
    for name, protocol in PROTOCOLS.items():
        table.add_row(name, protocol.note, protocol.source)
    Console().print(table)


def evaluate(task: str, options: Evaluation, changes: Changes) -> None:
    """Run it, print the table, say what was written."""
    console = Console()
    if task == "maps":
        from lewel.evaluate.maps import where

        where.describe(where.evaluate(task, options, changes), options.out, console)
        return
    from lewel.evaluate import evaluation

    evaluation.describe(evaluation.evaluate(task, options, changes), options.out, console)
