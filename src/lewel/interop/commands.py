"""`lewel export`: write, check, and say what was found and how the file is loaded."""

from __future__ import annotations

from pathlib import Path

from lewel.console import Console
from lewel.interop.export import TOLERANCE, Exported, export
from lewel.terminal import say


def save_export(source: str, to: str, out: Path, data: str | None) -> Exported:
    """Write the file and say what was found. On a UserError nothing is written."""
    with Console(stderr=True).status(f"exporting to {to}"):
        found = export(source, to, out, data)
    say(*_report(found, to))
    return found


def _report(found: Exported, to: str) -> list[str]:
    given, read = found.given, found.read
    why = f" ({read.why})" if read.why else ""
    images = f"{found.differences[0].shape[0]} images {found.images} at {given.image_size} px"
    config = ["", "the config needs", "", *found.config.rstrip().splitlines()] if found.config else []
    return [
        str(given.account),
        f"{given.encoder.name} to {to}: {found.tensors} tensors in the source, {read.written} in the file, read back: "
        f"{read.matched} matched, {len(read.missing)} missing, {len(read.unexpected)} unexpected{why}",
        f"features of {images}, differences (at most {TOLERANCE:g} of the largest feature is allowed):",
        *(f"  {difference}" for difference in found.differences),
        f"{'replaced' if found.replaced else 'wrote'} {found.out}",
        *config,
        "",
        "to load it",
        "",
        *found.snippet.rstrip().splitlines(),
    ]
