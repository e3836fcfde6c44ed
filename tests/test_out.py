"""Where nothing can be written, one line says so before the work is done; and why."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from command import lewel
from lewel import errors
from lewel.data import images
from lewel.engine import files

COMMANDS = {
    "views": ("lewel_b_tiny", "--data", "DATA", "--out", "OUT.png"),
    "maps": ("--run", "DATA", "--data", "DATA", "--out", "OUT.png"),
    "compare": ("DATA", "--out", "OUT.png"),
    "neighbours": ("--weights", "DATA", "--data", "DATA", "--out", "OUT.html"),
    "embed": ("--weights", "DATA", "--data", "DATA", "--out", "OUT.npz"),
}


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that no file can be made in, whoever asks: root may write everywhere."""
    folder = tmp_path / "read [only]"
    folder.mkdir()
    real = open

    def refuse(path, mode="r", *more, **others):
        if "r" not in mode and Path(path).parent == folder:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, mode, *more, **others)

    monkeypatch.setattr(files, "open", refuse, raising=False)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_only_folder_is_told_before_the_work(command, read_only, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(images, "open_images", lambda *_: pytest.fail("the work has begun"))
    out = {f"OUT.{ending}": read_only / f"x.{ending}" for ending in ("png", "html", "npz")}
    given = [out.get(part, tmp_path if part == "DATA" else part) for part in COMMANDS[command]]
    assert lewel(command, *given) == 2
    where = next(path for name, path in out.items() if name in COMMANDS[command])
    said = capsys.readouterr().err.splitlines()
    assert said == [f"lewel: --out {where} cannot be written (Read-only file system); give another --out"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_in_the_place_of_the_file(command, tmp_path, capsys) -> None:
    out = {f"OUT.{ending}": tmp_path / f"x.{ending}" for ending in ("png", "html", "npz")}
    for path in out.values():
        path.mkdir()
    assert lewel(command, *(out.get(part, tmp_path if part == "DATA" else part) for part in COMMANDS[command])) == 2
    assert "is a folder; give a name for a file\n" in capsys.readouterr().err


def test_what_is_checked_leaves_nothing(tmp_path) -> None:
    files.check_writable(tmp_path / "x.png")
    files.check_folder(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "; make room"), (errno.EDQUOT, "; make room"), (errno.EACCES, "")]
)
def test_a_full_disk_is_told_apart(number, remedy, tmp_path, monkeypatch) -> None:
    error = OSError(number, os.strerror(number), "f")
    assert errors.reason(error) == f"{os.strerror(number)}{remedy}"

    def fail(path, data):
        raise error

    monkeypatch.setattr(files, "replace", fail)
    with pytest.raises(errors.UserError) as caught:
        files.deliver(tmp_path / "x", b"")
    assert (
        str(caught.value) == f"--out {tmp_path / 'x'} not written ({os.strerror(number)}{remedy}); give another --out"
    )


def test_an_error_of_the_system_is_one_line_wherever_it_comes_from(tmp_path, monkeypatch, capsys) -> None:
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "scenes/[0].jpg")

    monkeypatch.setattr("lewel.recipes.describe", full)
    assert lewel("recipes") == 2
    assert capsys.readouterr().err == "lewel: scenes/[0].jpg: No space left on device; make room\n"


def test_a_fault_of_lewel_keeps_its_traceback(monkeypatch) -> None:
    monkeypatch.setattr("lewel.recipes.describe", lambda: Path("/no/such/file").read_text())
    with pytest.raises(FileNotFoundError):
        lewel("recipes")


@pytest.mark.parametrize("inside", ["", "a/b"])
def test_a_folder_that_will_be_made(read_only, inside) -> None:
    with pytest.raises(errors.UserError, match=r"cannot be written \(Read-only file system"):
        files.check_folder(read_only / inside)
