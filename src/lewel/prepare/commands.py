"""`lewel data`: from a folder to an index, of all or of some classes, or to shards; VOC and SBD to train_aug."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Lock

from lewel.console import Console, byte_bar, decimal
from lewel.data import index, remote
from lewel.data.cifar import Pixels
from lewel.data.decode import printable
from lewel.data.folder import Files
from lewel.data.images import is_divided, open_images
from lewel.data.shards import Shards
from lewel.data.splits import Split
from lewel.engine import files as disk
from lewel.engine.progress import Progress
from lewel.errors import UserError
from lewel.prepare import pack as packing
from lewel.prepare import subset, voc_aug
from lewel.prepare.shard_plan import plan

LINE_EVERY_S = 30.0
PARTS: tuple[tuple[str, Split | None], ...] = (("train", "train"), ("val", "val"))
WHOLE: tuple[tuple[str, Split | None], ...] = (("images", None),)


def make_index(folder: str, out: Path, console: Console | None = None) -> None:
    """Write the index of a folder or a list. Nothing but an index is replaced; on a UserError nothing is written."""
    console, began = console or Console(stderr=True), time.monotonic()
    _check_index(out)
    if folder.lower().endswith(index.SUFFIX):
        raise UserError(f"{folder} is an index already; give the folder that it is of")
    _write_index(_parts(folder, console), out, began, console)


def make_subset(source: str, classes: Path, out: Path, console: Console | None = None) -> None:
    """Write the index of some classes of a folder, a list or an index. On a UserError nothing is written."""
    console, began = console or Console(stderr=True), time.monotonic()
    _check_index(out)
    if Path(source).absolute() == out.absolute():
        raise UserError(f"--out {printable(out)} is what the images are taken from; give another name")
    wanted = subset.read_classes(classes)
    parts = subset.chosen(_parts(source, console), wanted)
    _write_index(parts, out, began, console)
    for sentence in subset.told(parts, wanted):
        console.print(sentence)


def pack(source: str, out: Path, shard_size: float, workers: int, console: Console | None = None) -> None:
    """Pack a folder, a list or an index into shards, or go on with it."""
    console, began = console or Console(stderr=True), time.monotonic()
    if workers < 1:
        raise UserError(f"--workers {workers}: must be 1 or more")
    if not 0 < shard_size < 2**62:
        raise UserError(f"--shard-size {shard_size:g}: bytes are needed, such as 1e9")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {printable(out)} is a file; give a folder, new or of the pack to go on with")
    parts = _parts(source, console)
    with console.status("asking for the files' sizes"):
        planned = plan(parts, packing.sizes_of(parts), int(shard_size))
    with _progress(planned.total, console) as advance:
        new = packing.pack(planned, out, workers, advance)
    done = "wrote" if new else "all is there already:"
    size = f"{len(planned.shards)} shards, {decimal(planned.total)}"
    console.print(f"{done} {printable(out)}: {_counts(parts)}, {size}, in {time.monotonic() - began:.1f} s")


def make_voc_aug(root: Path, sbd: Path, out: Path, workers: int, console: Console | None = None) -> None:
    """Write train_aug of VOC and SBD, or go on with it."""
    console, began = console or Console(stderr=True), time.monotonic()
    if workers < 1:
        raise UserError(f"--workers {workers}: must be 1 or more")
    planned = voc_aug.plan(root, sbd)
    total = len(planned.names)
    counts: list[int] = []
    with Progress(total, console=console, unit="mask") as bar:

        def advance(count: int) -> None:
            counts.append(count)  # first those that are there
            speed = sum(counts[1:]) / max(time.monotonic() - began, 1e-9)
            left = total - sum(counts)
            bar.show({"step": sum(counts)} | ({"images_per_s": speed, "left_s": left / speed} if speed else {}))

        new = voc_aug.write(planned, out, workers, advance)
    took = f"{new:,} masks were missing, in {time.monotonic() - began:.1f} s"
    console.print(f"{'wrote' if new else 'all is there already:'} {printable(out)}: {took}")
    for sentence in voc_aug.told(planned.counts):
        console.print(sentence)


def _parts(where: str, console: Console) -> dict[str, Files]:
    """Both parts of a divided folder, or all of one that is not."""
    if remote.is_url(where):
        raise UserError(f"{where}: files at a URL cannot be listed; give a folder")
    found, notes = dict[str, Files](), dict[str, None]()
    with console.status(f"looking for images in {printable(where)}"), packing.errors_of(""):
        for part, split in PARTS if is_divided(where) else WHOLE:
            images = open_images(where, split)
            if isinstance(images, Shards):
                raise UserError(
                    f"{where} is packed already: --data takes it as it is; else give the folder of the images"
                )
            if isinstance(images, Pixels):
                raise UserError(f"{where} is CIFAR-10, which is read at once as it is; give a folder of image files")
            found[part] = Files(str(Path(images.root).absolute()), images.names, images.labels, images.classes)
            notes |= dict.fromkeys(images.notes)
    for note in notes:
        console.print(note)
    return found


def _check_index(out: Path) -> None:
    """Raises UserError where no index can be written, or something else would be replaced."""
    if out.suffix.lower() != index.SUFFIX:
        raise UserError(f"--out {printable(out)}: a name that ends in {index.SUFFIX} is needed")
    if not out.parent.is_dir():
        raise UserError(f"--out {printable(out)}: the folder {printable(out.parent)} does not exist")
    if out.exists():
        _check_replaceable(out)


def _write_index(parts: dict[str, Files], out: Path, began: float, console: Console) -> None:
    try:
        disk.replace(out, index.to_bytes(parts))
    except OSError as error:
        raise UserError(
            f"--out {printable(out)} cannot be written ({error.strerror or error}); give another"
        ) from error
    console.print(f"wrote {printable(out)}: {_counts(parts)}, in {time.monotonic() - began:.1f} s")


def _check_replaceable(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"--out {printable(out)} is a folder; give a file that ends in {index.SUFFIX}")
    try:
        known = index.read(str(out))
    except UserError as error:
        raise UserError(f"--out {printable(out)} is there and is no index; give another name") from error
    if any(isinstance(part, Shards) for part in known.values()):
        raise UserError(f"--out {printable(out)} is the index of shards; give another name")


def _counts(parts: dict[str, Files]) -> str:
    said = []
    for part, files in parts.items():
        classes = "" if files.classes is None else f" in {len(files.classes):,} classes"
        said.append(f"{len(files):,} images{'' if part == 'images' else f' of {part}'}{classes}")
    return ", ".join(said)


@contextmanager
def _progress(total: int, console: Console) -> Iterator[packing.Advance]:
    """Bytes, speed and time left: a bar on a terminal, a line now and then anywhere else."""
    if console.is_terminal:
        with byte_bar(console) as bar:
            task = bar.add_task("left", total=total)
            yield lambda size: bar.advance(task, size)
        return
    yield _Lines(total, console).advance


class _Lines:
    """A line now and then; called from any thread."""

    def __init__(self, total: int, console: Console) -> None:
        self.total, self.console, self.done = total, console, 0
        self.began = self.said = time.monotonic()
        self.lock = Lock()

    def advance(self, size: int) -> None:
        with self.lock:
            self.done += size
            now = time.monotonic()
            if now - self.said < LINE_EVERY_S:
                return
            self.said = now
            speed = self.done / (now - self.began)
            left = timedelta(seconds=round((self.total - self.done) / speed))
            self.console.print(f"{decimal(self.done)} of {decimal(self.total)}  {decimal(int(speed))}/s  {left} left")
