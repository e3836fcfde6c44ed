"""Writing files so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lewel import reading
from lewel.errors import UserError, reason


def write_synced(path: Path, data: bytes) -> str:
    """Write a new file and wait until the disk has it; returns the sha256 of the data."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file at `path`, at once; on an error the old file stays, and nothing else."""
    with replacing(path) as temporary:
        write_synced(temporary, data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write, and sync, what then takes the place of the file at `path`; on an error the old file stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


_HALF = re.compile(r"\.(.+\.)?\d+\.tmp")


def clean(directory: Path) -> None:
    """Delete what killed processes left half-written in the directory, which must be this process's alone."""
    for path in directory.glob(".*.tmp"):
        if _HALF.fullmatch(path.name):
            path.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raises UserError where no file of this name can be made: before the work that it is for. Leaves nothing."""
    if path.is_dir():
        raise UserError(f"--out {path} is a folder; give a name for a file")
    _try(path.with_name(f".{path.name}.{os.getpid()}.tmp"), path)


def check_folder(path: Path) -> None:
    """The same of a folder that is there or will be made."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    _try(there / f".{os.getpid()}.tmp", path)


def _try(probe: Path, out: Path) -> None:
    try:
        open(probe, "xb").close()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({reason(error)}); give another --out") from error


def deliver(path: Path, data: bytes) -> None:
    """`replace`, of what the user asked for with --out. Raises UserError."""
    try:
        replace(path, data)
    except OSError as error:
        raise UserError(f"--out {path} not written ({reason(error)}); give another --out") from error


def sync_directory(path: Path) -> None:
    """Wait until the disk has the directory's entries (renames); Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the file at `path` for this process alone; False where another process holds it.

    The system lets go when the process ends, however it ends; its data workers, which may outlive it by seconds, do not
    inherit the lock. Where the file system knows no locks the answer is True. Raises OSError where no file can be made.
    """
    with open(path, "ab") as file:
        free = True
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
            else:
                import fcntl

                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            free = False
        except OSError:
            pass
        yield free


def sha256(path: Path) -> str:
    """The digest of a regular file, read in pieces. Raises OSError for any other."""
    with reading.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
