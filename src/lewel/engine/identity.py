"""Whether a checkpoint belongs to the run that wants to go on from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lewel.errors import UserError

_CONTENTS = ("contents", "all_contents")


@dataclass(frozen=True)
class Identity:
    """What must be the same for a run to go on: the recipe (as JSON), its epochs, and the number of processes.

    The recipe also has the images: how many and a digest of their names; "contents", the CRC-32 of a sample by name;
    "all_contents", a digest of all, where that was asked for. Runs from before these two have neither.
    """

    recipe: Mapping[str, Any]
    epochs: int
    processes: int


def compare(
    saved: Identity,
    now: Identity,
    extend: bool = False,
    change_processes: bool = False,
    change_images: bool = False,
) -> list[str]:
    """What the allowed changes change, one sentence each. Raises UserError for one that is not allowed."""
    was, is_now = (flat(json.loads(json.dumps(_without_contents(each.recipe)))) for each in (saved, now))
    differing = [
        f"{key} {was.get(key)} -> {is_now.get(key)}" for key in sorted(was | is_now) if was.get(key) != is_now.get(key)
    ]
    if was.get("images") != is_now.get("images"):
        raise UserError(
            f"the run directory's run has {was.get('images')}; the data now has {is_now.get('images')}; "
            "restore them, or give another --out (--init DIR/encoder.safetensors starts it from this run's encoder)"
        )
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UserError(
            f"the run directory holds a run of another recipe ({'; '.join(differing[:4])}{more}); "
            "give the same recipe and flags, or another --out"
        )
    sentences = _compare_contents(saved.recipe, now.recipe, change_images)
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


def _without_contents(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in _CONTENTS}


def _compare_contents(was: Mapping[str, Any], is_now: Mapping[str, Any], allowed: bool) -> list[str]:
    """What is known of the contents on both sides. Raises UserError for a difference that is not allowed."""
    sample, there = was.get("contents") or {}, is_now.get("contents") or {}
    changed = [name for name, checksum in sample.items() if there.get(name, checksum) != checksum]
    problem = ""
    if changed:
        first = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
        problem = f"{len(changed)} of the {len(sample)} images that are compared have other contents ({first})"
    elif "all_contents" in was and was["all_contents"] != is_now.get("all_contents", was["all_contents"]):
        problem = "images have other contents, none of them in the sample that is named"
    if problem and not allowed:
        raise UserError(
            f"{problem} than when the run began; restore them, or --change-images goes on with them, or give another "
            "--out"
        )
    sentences = [f"--change-images: {problem} than before; the rest of the run sees them"] if problem else []
    if "all_contents" in is_now and "all_contents" not in was:
        sentences.append("--check-images all: the run began without it, so only the sample could be compared")
    return sentences


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": [1, 2]}} -> {"a.b.0": 1, "a.b.1": 2}"""
    if not isinstance(content, dict | list) or not content:
        return {prefix: content}
    items = content.items() if isinstance(content, dict) else ((str(i), part) for i, part in enumerate(content))
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}.{key}" if prefix else key).items()}
