"""Images to tar shards: the same bytes whatever the number of workers, each shard there whole or not at all.

What is there already is checked and kept, so the same call after a crash goes on, and ends in the same bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import BinaryIO

import numpy as np

from lewel.data import index
from lewel.data.decode import printable
from lewel.data.folder import Files
from lewel.data.names import Names
from lewel.data.shards import Layout, Shards
from lewel.engine import files as disk
from lewel.errors import UserError, reason
from lewel.prepare.shard_plan import Plan, Shard

LOCK = ".lewel-pack.lock"  # stays: who removes it may do so while another one waits for it
THREADS, CHUNK = 16, 1000  # that ask for the files' sizes, so many at a time: they wait for a disk or a network
Advance = Callable[[int], None]
Sums = dict[str, np.ndarray]  # of each part the CRC-32 of every image, (n,) uint32


def sizes_of(parts: Mapping[str, Files]) -> dict[str, np.ndarray]:
    """Bytes of every file, (n,) int64 for each part. Raises UserError that names files that are not there."""
    found, problems = {}, []
    with ThreadPoolExecutor(THREADS) as pool:
        for part, files in parts.items():
            answers = pool.map(partial(_sizes, files), range(0, len(files), CHUNK))
            sizes, wrong = zip(*answers, strict=True)
            found[part] = np.array([size for some in sizes for size in some], np.int64)
            problems += [problem for some in wrong for problem in some]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(
            f"{len(problems)} images cannot be packed: {'; '.join(problems[:5])}{more}; nothing is left out silently: "
            "restore them, or remove them and index the folder again"
        )
    return found


def _sizes(files: Files, first: int) -> tuple[list[int], list[str]]:
    """Bytes of the next files, and of some of them why they cannot be read."""
    sizes, problems = [], []
    for number in range(first, min(first + CHUNK, len(files))):
        try:
            status = os.stat(files.file(number))
        except (OSError, ValueError) as error:
            sizes.append(0)
            problems.append(
                f"{printable(files.path(number))}: {(getattr(error, 'strerror', None) or str(error)).lower()}"
            )
            continue
        sizes.append(status.st_size)
        if not stat.S_ISREG(status.st_mode):
            problems.append(f"{printable(files.path(number))}: not a regular file")
    return sizes, problems


def pack(plan: Plan, out: Path, workers: int, advance: Advance) -> bool:
    """Write the shards of `plan` and their index into `out`, or what is missing of them; False where nothing is.

    workers: shards written at the same time. advance: told of bytes as they are written or found.
    Raises UserError for a folder that holds anything else, a full disk, and files that changed.
    """
    with ExitStack() as held:
        try:
            out.mkdir(parents=True, exist_ok=True)
            _refuse_others(plan, out)
            free = held.enter_context(disk.locked(out / LOCK))
        except OSError as error:
            raise _cannot_write(out, error) from error
        if not free:
            raise UserError(f"--out {printable(out)} is in use by another process; wait for its end, or give another")
        there = _there(plan, out)
        known = _known_sums(plan, out)
        if known is not None and len(there) == len(plan.shards):
            return False
        missing = sum(shard.total for shard in plan.shards if shard.name not in there)
        if (room := shutil.disk_usage(out).free) < missing:
            raise UserError(f"--out {printable(out)}: {missing:,} bytes are needed and {room:,} are free; make room")
        sums = _in_parallel(plan, out, there, known, workers, advance)
        try:
            disk.replace(out / index.OF_SHARDS, index.to_bytes(_packed(plan, sums)))
        except OSError as error:
            raise _cannot_write(out, error) from error
        return True


# -- what is there


def _refuse_others(plan: Plan, out: Path) -> None:
    """Raises UserError where something else lies in the folder; before anything is written there."""
    ours = {index.OF_SHARDS, *(shard.name for shard in plan.shards)}
    if others := sorted(name for name in os.listdir(out) if name not in ours and not name.startswith(".")):
        raise UserError(
            f"--out {printable(out)} holds other things ({printable(others[0])}), or shards of other images or of "
            "another --shard-size; give a new folder"
        )


def _there(plan: Plan, out: Path) -> set[str]:
    """The names of the shards that are there whole; half ones of a killed process are removed."""
    planned = {shard.name: shard.total for shard in plan.shards}
    there = set()
    for entry in sorted(out.iterdir()):
        if entry.name in planned:
            if (size := entry.stat().st_size) != planned[entry.name]:
                raise UserError(
                    f"{printable(entry)} has {size} bytes, not {planned[entry.name]}: {_OTHERS.format(printable(out))}"
                )
            there.add(entry.name)
        elif (half := _HALF.fullmatch(entry.name)) and half[1] in (*planned, index.OF_SHARDS):
            entry.unlink()
    return there


_HALF = re.compile(r"\.(.+)\.\d+\.tmp")  # what `files.replacing` has not finished
_OTHERS = (
    "it is cut short, or of other images or another --shard-size; delete it, or give the same images and size, or "
    "another --out than {}"
)


def _known_sums(plan: Plan, out: Path) -> Sums | None:
    """The checksums in the index of these shards, None where there is none. Raises UserError where it is of others."""
    where = out / index.OF_SHARDS
    if not where.is_file():
        return None
    with errors_of("--out "):
        found, sums = index.read(str(where)), _no_sums(plan)
    for part, planned in _packed(plan, sums).items():
        images = found.get(part)
        if not isinstance(images, Shards) or not _alike(images, planned):
            raise UserError(
                f"--out {printable(out)} holds shards of other images, labels or --shard-size; give another"
            )
        sums[part] = images.layout.crc.copy()
    return sums


@contextmanager
def errors_of(flag: str) -> Iterator[None]:
    """Reading data says --data; say `flag` where it is given by that."""
    try:
        yield
    except UserError as error:
        raise UserError(flag + str(error).removeprefix("--data ")) from error


def _no_sums(plan: Plan) -> Sums:
    return {part: np.zeros(len(files), np.uint32) for part, files in plan.parts.items()}


def _alike(images: Shards, planned: Shards) -> bool:
    """Whether all but the checksums is the same."""
    pairs = [(getattr(images.layout, name), getattr(planned.layout, name)) for name in ("shard", "start", "size")]
    return (
        images.digest() == planned.digest()
        and images.classes == planned.classes
        and np.array_equal(_or_empty(images.labels), _or_empty(planned.labels))
        and all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    )


def _or_empty(labels: np.ndarray | None) -> np.ndarray:
    return np.empty(0, np.int64) if labels is None else labels


# -- shards


def _in_parallel(plan: Plan, out: Path, there: set[str], known: Sums | None, workers: int, advance: Advance) -> Sums:
    """Write every shard that is not there; take up what is there by its known checksums, which may tell of damage."""
    stop = Event()
    sums = known or _no_sums(plan)

    def work(shard: Shard) -> None:
        if shard.name not in there:
            found = _write(plan, shard, out / shard.name, stop, advance)
        elif known is None:
            found = _check(plan, shard, out / shard.name, stop, advance)
        else:
            return advance(shard.total)
        sums[shard.part][shard.first : shard.last] = found

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, shard) for shard in plan.shards]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:  # Ctrl-C too: no thread writes on
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return sums


def _write(plan: Plan, shard: Shard, path: Path, stop: Event, advance: Advance) -> list[int]:
    """The CRC-32 of each image."""
    try:
        with disk.replacing(path) as temporary, open(temporary, "wb") as file:
            found = [_add(plan, shard.part, number, file, stop, advance) for number in range(shard.first, shard.last)]
            file.write(plan.behind_all(shard))
            file.flush()
            os.fsync(file.fileno())
        return found
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def _add(plan: Plan, part: str, number: int, file: BinaryIO, stop: Event, advance: Advance) -> int:
    if stop.is_set():
        raise UserError("stopped")
    files, size = plan.parts[part], int(plan.sizes[part][number])
    named = printable(files.path(number))
    try:
        data = Path(files.file(number)).read_bytes()
    except OSError as error:
        raise UserError(
            f"{named} cannot be packed: {(error.strerror or str(error)).lower()}; restore it, or remove "
            "it and index the folder again"
        ) from error
    if len(data) != size:
        raise UserError(f"{named} changed while it was packed: {len(data)} bytes, not {size}; pack again")
    header, behind = plan.image_header(part, number), plan.behind_image(part, number)
    file.write(header)
    file.write(data)
    file.write(behind)
    advance(len(header) + len(data) + len(behind))
    return zlib.crc32(data)


def _check(plan: Plan, shard: Shard, path: Path, stop: Event, advance: Advance) -> list[int]:
    """The CRC-32 of each image of a shard that is there. Raises UserError where its members are not those planned."""
    found = []
    with open(path, "rb") as file:
        for number in range(shard.first, shard.last):
            if stop.is_set():
                raise UserError("stopped")
            header, behind = plan.image_header(shard.part, number), plan.behind_image(shard.part, number)
            same = file.read(len(header)) == header
            data = file.read(int(plan.sizes[shard.part][number]))
            if not same or file.read(len(behind)) != behind:
                raise UserError(f"{printable(path)} is not as planned: {_OTHERS.format(printable(path.parent))}")
            advance(len(header) + len(data) + len(behind))
            found.append(zlib.crc32(data))
    return found


def _packed(plan: Plan, sums: Mapping[str, np.ndarray]) -> dict[str, Shards]:
    """The images as they lie in the shards."""
    packed = {}
    for part, files in plan.parts.items():
        mine = [shard for shard in plan.shards if shard.part == part]
        counts = [shard.last - shard.first for shard in mine]
        layout = Layout(
            Names.of(shard.name for shard in mine),
            np.array([shard.total for shard in mine], np.int64),
            np.repeat(np.arange(len(mine), dtype=np.int32), counts),
            np.concatenate([plan.starts(shard) for shard in mine]),
            plan.sizes[part],
            sums[part],
        )
        packed[part] = Shards("", files.names, layout, files.labels, files.classes)
    return packed


def _cannot_write(out: Path, error: OSError) -> UserError:
    why = f"--out {printable(out)} cannot be written ({reason(error)})"
    return UserError(f"{why}; the same command goes on, or give another --out")
