"""Checkpoints: a directory a step, complete or absent, every byte under a digest, nothing pickled.

    checkpoints/step-00001234/
        module.safetensors       the module's state dict
        optimizer.safetensors    the optimizer's tensors, by parameter name
        rng.safetensors          the random generators of every process
        health.safetensors       what metrics.jsonl is made from beside these; not in an evaluation's, nor in older ones
        state.json               step, loss scaler, the optimizer's other state, what the run is
        MANIFEST.json            size and sha256 of each of them, and of itself; written last

A new one is made under a temporary name, flushed to the disk, and renamed. `latest` takes the newest whose bytes are
those that were written. All processes call `prepare`, `latest` and `load` together; process 0 alone calls `write`,
beside the training.
"""

from __future__ import annotations

import json
import logging
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import sha256 as digest
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from lewel import parallel, reading
from lewel.engine import files
from lewel.engine.identity import Identity, compare
from lewel.engine.state import Packed, Training, first_not_finite, pack, running_statistics, unpack
from lewel.errors import UserError, reason

log = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "MANIFEST.json"
_PARTS = ("module", "optimizer", "rng")  # as tensors
_HEALTH = "health.safetensors"
_FILES = frozenset({*(f"{part}.safetensors" for part in _PARTS), "state.json"})


class DamagedError(Exception):
    """A file of a checkpoint is not what was written; the text names it."""


class Content(NamedTuple):
    """A checkpoint in memory, its files as bytes: what the training does meanwhile does not change it."""

    target: Path
    files: dict[str, bytes]
    keep: int


def prepare(run: Path, step: int, training: Training, identity: Identity, keep: int = 2) -> Content | None:
    """The checkpoint of `step` as bytes, for `write`; on the processes beside 0 None.

    Raises UserError, on every process, when the state is not finite.
    """
    parallel.broadcast_(running_statistics(training.module))
    packed, found = pack(training), []
    parallel.on_main(lambda: found.append(_content(directory(run, step), step, packed, identity, keep)))
    return found[0] if found else None


def directory(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}"


def _content(target: Path, step: int, packed: Packed, identity: Identity, keep: int) -> Content:
    name = first_not_finite(packed)
    if name:
        raise UserError(f"{target} not written: {name} is not finite; {_last(target.parent)}; lower --lr")
    tensors = {"module": packed.module, "optimizer": packed.optimizer, "rng": packed.generators}
    made = {f"{part}.safetensors": _serialise(content) for part, content in tensors.items()}
    if packed.health:
        made[_HEALTH] = _serialise(packed.health)
    state = {"step": step, "identity": asdict(identity), **packed.numbers}
    return Content(target, made | {"state.json": _json(state)}, keep)


def write(content: Content) -> None:
    """Put it on the disk, then delete all but the newest `keep`.

    Raises UserError when the disk is full or not writable: the checkpoints that were there are untouched, and nothing
    half-written stays.
    """
    try:
        _put_all(content.target, content.files)
        _prune(content.target, content.keep)
    except OSError as error:
        lower = " or lower --keep" if content.keep > 1 and "make room" in reason(error) else ""
        raise UserError(
            f"{content.target} not written ({reason(error)}{lower}); {_last(content.target.parent)}; "
            "the same command goes on from there"
        ) from error


def _put_all(target: Path, parts: Mapping[str, bytes]) -> None:
    temporary = target.with_name(f".tmp-{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        entries = {name: _put(temporary / name, data) for name, data in parts.items()}
        files.write_synced(temporary / MANIFEST, _manifest(target.name, entries))
        files.sync_directory(temporary)
        if target.exists():  # of this very step: a damaged one, or a stop right after a save
            target.rename(target.with_name(f".tmp-old-{target.name}"))
        temporary.rename(target)
        files.sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _put(path: Path, data: bytes) -> dict[str, Any]:
    return {"sha256": files.write_synced(path, data), "bytes": len(data)}


def _manifest(name: str, entries: Mapping[str, Any]) -> bytes:
    content = {
        "format": FORMAT,
        "name": name,
        "files": entries,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    return _json(content | {"sha256": digest(_json(content)).hexdigest()})


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    """safetensors knows no tensors that share memory, nor other than row-major ones."""
    alone = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(alone)


def _last(folder: Path) -> str:
    kept = [path.name for path in _steps(folder)]
    return f"the last good one is {kept[-1]}" if kept else "there is none before it"


def _prune(newest: Path, keep: int) -> None:
    """Keep the newest `keep` up to this one; newer ones are damaged, or of a future that this run has left.

    Renamed before they are deleted, so that a crash between the two leaves no damaged checkpoint behind.
    """
    steps = _steps(newest.parent)
    kept = [path for path in steps if path <= newest][-max(keep, 1) :]
    for path in steps:
        if path not in kept:
            path.rename(path.with_name(f".tmp-old-{path.name}"))
    clean(newest.parents[1])


def clean(run: Path) -> None:
    """Delete what an interrupted save or deletion left. Call it on process 0 alone, when a run starts."""
    for path in (run / "checkpoints").glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def _steps(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name))


def latest(run: Path) -> Path | None:
    """The newest checkpoint of a run whose bytes are those that were written; None when there is none at all.

    Each damaged one is named in the log, with its file. Raises UserError when all are damaged.
    """
    found, problem = None, ""
    if parallel.is_main():
        try:
            found, damages = newest_whole(run)
        except UserError as error:
            damages, problem = [], str(error)
        for damage in damages:
            log.warning("%s; %s", damage, f"going on from {found.name}" if found else "there is none before it")
        if damages and not found:
            problem = f"{damages[0]}; no checkpoint of {run} can be used: restore one, or choose another --out"
    parallel.raise_together(problem)
    if parallel.world() == 1:
        return found
    step = parallel.all_gather(torch.tensor([int(found.name.removeprefix("step-")) if found else -1]))[0]
    return directory(run, int(step)) if step >= 0 else None


def newest_whole(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, or None; and what is wrong with each newer one.

    Raises UserError for one that a newer lewel wrote: to go on from an older one would leave its training behind.
    """
    damages = []
    for path in reversed(_steps(run / "checkpoints")):
        try:
            verify(path)
            return path, damages
        except DamagedError as damage:
            damages.append(str(damage))
    return None, damages


def verify(checkpoint: Path) -> None:
    """Compare every file with the manifest.

    Raises DamagedError, with the file's name; UserError for a format of a newer lewel.
    """
    entries = _read_manifest(checkpoint)
    for name, entry in entries.items():
        path = checkpoint / name
        try:
            reading.check_regular(path)
            size = path.stat().st_size
            same = size == entry["bytes"] and files.sha256(path) == entry["sha256"]
        except OSError as error:
            raise DamagedError(f"{path} cannot be read: {error.strerror}") from error
        except (KeyError, TypeError) as error:
            raise DamagedError(f"{checkpoint / MANIFEST} is damaged: it does not say what {name} is") from error
        if not same:
            what = "damaged: its sha256 differs" if size == entry["bytes"] else f"{size} bytes, not {entry['bytes']}"
            raise DamagedError(f"{path} is {what}")


def _read_manifest(checkpoint: Path) -> dict[str, dict[str, Any]]:
    path = checkpoint / MANIFEST
    try:
        data = reading.read_bytes(path)
        content = json.loads(data)
        own = content.pop("sha256")
        whole = digest(_json(content)).hexdigest() == own and _json(content | {"sha256": own}) == data
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: it is not what was written") from error
    if not whole or content.get("name") != checkpoint.name:
        raise DamagedError(f"{path} is damaged: it is not what was written for {checkpoint.name}")
    reading.check_format(path, content.get("format"), FORMAT)
    entries = content.get("files")
    if absent := _FILES - (entries.keys() if isinstance(entries, dict) else set()):
        raise DamagedError(f"{path} is damaged: it names no {', '.join(sorted(absent))}")
    return entries


def load(
    checkpoint: Path,
    training: Training,
    identity: Identity,
    extend: bool = False,
    change_processes: bool = False,
    change_images: bool = False,
    upgrade: Callable[[Identity], Identity] = lambda saved: saved,
) -> int:
    """Restore the training and this process's random generators; returns the steps done.

    extend, change_processes, change_images: allow more epochs, another number of processes, images with other contents;
    a warning says what that changes.
    upgrade: brings what an older lewel saved into the form of `identity`; its UserError is raised as it is.
    Raises UserError when the checkpoint is of another recipe, shape, number of epochs or of processes, or images.
    """
    numbers = read_state(checkpoint)
    saved = upgrade(Identity(**numbers["identity"]))
    for sentence in compare(saved, identity, extend, change_processes, change_images):
        if parallel.is_main():
            log.warning("%s", sentence)
    module, optimizer, generators = (safetensors.torch.load_file(checkpoint / f"{part}.safetensors") for part in _PARTS)
    health = safetensors.torch.load_file(checkpoint / _HEALTH) if (checkpoint / _HEALTH).exists() else {}
    unpack(Packed(module, optimizer, generators, numbers, health), training, str(checkpoint))
    return numbers["step"]


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's state.json. Raises UserError when it lacks what a state has."""
    path = checkpoint / "state.json"
    found = reading.read_json(path, "give another --out")
    identity = found.get("identity")
    whole = (
        isinstance(identity, dict)
        and isinstance(identity.get("recipe"), dict)
        and all(isinstance(identity.get(name), int) for name in ("epochs", "processes"))
    )
    if not whole or not {"optimizer", "scaler"} <= found.keys() or not isinstance(found.get("step"), int):
        raise UserError(f"{path} is not the state of a run as this lewel knows it; give another --out")
    return found
