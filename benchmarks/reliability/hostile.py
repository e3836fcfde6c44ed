"""Files that mean harm: nothing in them is executed, nothing is written, and memory and time stay bounded.

    python benchmarks/reliability/hostile.py --work DIR [--out docs/data]

Each file is given to the reader of its kind, in a process of its own with limited memory. The harm that it tries is a
file of a certain name; the reader must refuse in one line, or read what is harmless in it.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import campaign
from hostile_files import MARK, images, shards, texts, weights
from started import preload

MEMORY = 2e9  # more than the importing took
SECONDS = 60


def readers() -> tuple[tuple[str, Callable[[Path], dict[str, Path]], Callable[[Path], object]], ...]:
    """Name, files, and the call that lewel reads such files with."""
    from lewel.data import decode
    from lewel.data.images import open_images
    from lewel.evaluate import predictions
    from lewel.evaluate.dense.truth import coco_content, voc_xml
    from lewel.interop import weights as interop
    from lewel.recipes import config_file

    def text(path: Path) -> object:
        if path.suffix == ".yaml":
            return config_file.read(path)
        return voc_xml.read(path) if path.suffix == ".xml" else coco_content.read(path)

    def array_or_tar(path: Path) -> object:
        return predictions.load(path) if path.suffix == ".npz" else list(open_images(path.parent).names)

    return (
        ("weights", weights, lambda path: interop.load_encoder(f"timm:test_resnet={path}")),
        ("images", images, decode.rgbx),
        ("texts", texts, text),
        ("arrays and archives", shards, array_or_tar),
    )


def one(number: int, path: Path, mark: Path) -> dict[str, Any]:
    """In its own process: read it, and say how that ended."""
    from lewel.data.decode import DecodeError
    from lewel.errors import UserError

    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    there = {entry.name for entry in path.parent.iterdir()}
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        readers()[number][2](path)
        told = "read: nothing in it does harm"
    except (UserError, DecodeError) as error:
        told = str(error).replace(str(path.parent), "DIR")
    except BaseException as error:
        told = f"{type(error).__name__}: {error}"[:300]
        return {"told": told, "fault": "another exception than UserError"}
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    new = sorted({entry.name for entry in path.parent.iterdir()} - there)
    fault = "executed" if mark.exists() else f"written: {new}" if new else "more than one line" if "\n" in told else ""
    fault = fault or (f"{peak / 1e9:.1f} GB" if peak > MEMORY else "")
    return {"told": told[:300], "fault": fault, "mb": round(peak / 1e6), "s": round(time.process_time() - began, 2)}


def main() -> int:
    parser = campaign.flags(__doc__)
    given = parser.parse_args()
    preload()
    rows, jobs = list[dict[str, Any]](), list[tuple[int, str, Path, Path]]()
    for number, (kind, make, _) in enumerate(readers()):
        folder = given.work.absolute() / kind.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        jobs += [(number, name, path, folder / MARK) for name, path in make(folder).items()]
    progress, fork = campaign.Progress(len(jobs), "hostile files"), multiprocessing.get_context("fork")
    for done, (number, name, path, mark) in enumerate(jobs):
        with fork.Pool(1) as pool:
            try:
                found = pool.apply_async(one, (number, path, mark)).get(timeout=20 * SECONDS)
            except multiprocessing.TimeoutError:
                found = {"told": "", "fault": f"the process ended, or took more than {SECONDS} s"}
        mark.unlink(missing_ok=True)
        rows.append({"kind": readers()[number][0], "file": name, **found})
        if found["fault"]:
            print(f"  {name}: {found['fault']}: {found['told']}", flush=True)
        progress.at(done + 1)
    faults = sum(bool(row["fault"]) for row in rows)
    most, longest = (max(row.get(unit, 0) for row in rows) for unit in ("mb", "s"))
    print(f"{len(rows)} hostile files, {faults} faults; at most {most} MB and {longest} s")
    campaign.write("hostile", given.out, {"files": len(rows), "faults": faults, "most_mb": most, "rows": rows})
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
