"""What a campaign tells while it runs, and what it leaves in docs/data/."""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "data"
EVERY_S = 10.0


def flags(described: str | None) -> argparse.ArgumentParser:
    """Those that every campaign has."""
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what the campaign makes")
    parser.add_argument("--out", type=Path, default=DATA, help="folder for the record")
    return parser


class Progress:
    """A line every ten seconds: how much of how much, and the time that is left."""

    def __init__(self, total: float, of: str):
        self.total, self.of = total, of
        self.began = self.told = time.monotonic()
        print(f"0/{total:g} {of}", flush=True)

    def at(self, done: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self.told < EVERY_S and done < self.total:
            return
        self.told = now
        left = (now - self.began) * (self.total - done) / max(done, 1e-9)
        left_told = f"{left / 60:.0f} min left" if done else "time left unknown"
        print(f"{done:g}/{self.total:g} {self.of}, {left_told}{f'  ({note})' if note else ''}", flush=True)


def write(name: str, folder: Path, content: dict[str, Any]) -> Path:
    """NAME.json: the content, with the command, the machine and the versions."""
    from lewel.bench.compare import machine

    head = {
        "command": " ".join(["python", *(word.removeprefix(f"{ROOT}/") for word in sys.argv)]),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(head | content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def commit() -> str:
    """Of the checkout, with + where something in it is not committed."""
    found = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
