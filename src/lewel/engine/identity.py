"""Whether a checkpoint belongs to the run that wants to go on from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lewel.errors import UserError


@dataclass(frozen=True)
class Identity:
    """What must be the same for a run to go on: the recipe (as JSON), its epochs, and the number of processes."""

    recipe: Mapping[str, Any]
    epochs: int
    processes: int


def compare(saved: Identity, now: Identity, extend: bool = False, change_processes: bool = False) -> list[str]:
    """What the allowed changes change, one sentence each. Raises UserError for one that is not allowed."""
    was, is_now = (_flat(json.loads(json.dumps(dict(each.recipe)))) for each in (saved, now))
    differing = [
        f"{key} {was.get(key)} -> {is_now.get(key)}" for key in sorted(was | is_now) if was.get(key) != is_now.get(key)
    ]
    if was.get("images") != is_now.get("images"):
        raise UserError(
            f"the run directory's run has {was.get('images')}; the data now has {is_now.get('images')}; "
            "restore them, or give another --run (--init DIR/encoder.safetensors starts it from this run's encoder)"
        )
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UserError(
            f"the run directory holds a run of another recipe ({'; '.join(differing[:4])}{more}); "
            "give the same recipe and flags, or another --run"
        )
    sentences = []
    if saved.epochs != now.epochs:
        if not extend:
            raise UserError(
                f"the run directory's run has {saved.epochs} epochs, not {now.epochs}; --epochs {saved.epochs} goes on "
                f"with it, --extend allows the change"
            )
        sentences.append(
            f"--extend: {saved.epochs} -> {now.epochs} epochs. Rate and momentum follow the new length from here, "
            f"so the rate jumps, and the result is not that of a run of {now.epochs} epochs from the start"
        )
    if saved.processes != now.processes:
        if not change_processes:
            raise UserError(
                f"the run directory's run has {saved.processes} processes, not {now.processes}; start as many, or "
                "--change-processes allows the change"
            )
        sentences.append(
            f"--change-processes: {saved.processes} -> {now.processes} processes. Steps see the same images; "
            "dropout and other random numbers start anew, and where each process has batch norm statistics of its own, "
            "they are now over another number of images"
        )
    return sentences


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": [1, 2]}} -> {"a.b.0": 1, "a.b.1": 2}"""
    if not isinstance(content, dict | list) or not content:
        return {prefix: content}
    items = content.items() if isinstance(content, dict) else ((str(i), part) for i, part in enumerate(content))
    return {k: v for key, value in items for k, v in _flat(value, f"{prefix}.{key}" if prefix else key).items()}
