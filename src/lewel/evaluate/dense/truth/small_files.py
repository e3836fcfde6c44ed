"""Small files of text that people write: lists, class names, points, XML.

A path may lead to anything: only regular files of a bounded size are read, and a FIFO does not block.
"""

from __future__ import annotations

import os
from pathlib import Path

from lewel import reading
from lewel.data import text_files
from lewel.errors import UserError
from lewel.terminal import printable

MOST = 2**26  # bytes: 64 MiB; a list of a million names has 20


def content(path: Path, most: int | None = MOST) -> bytes:
    """The bytes. Raises UserError for what cannot be read, is no regular file, or has more than `most` bytes."""
    try:
        with reading.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                raise UserError(f"--data: {printable(path)} has {size:,} bytes; at most {most:,} are read")
            return file.read()
    except OSError as error:
        raise UserError(f"--data: {printable(path)} cannot be read: {reading.first_line(error)}") from error


def lines(path: Path, most: int | None = MOST) -> list[str]:
    """The lines, stripped, without empty ones; of bytes that are not UTF-8 lone surrogates, as in names of files.

    Raises UserError as `content`, and for what is no text.
    """
    return _lines(text_files.decoded(content(path, most), f"--data: {printable(path)}"))


def words(path: Path) -> list[str]:
    """The lines of a file whose words are shown to people. Raises UserError as `lines`, and where it is not UTF-8."""
    text = text_files.decoded(content(path), f"--data: {printable(path)}")
    found = _lines(text)
    if not text.is_utf8:
        number, line = next(each for each in enumerate(found, 1) if not _is_utf8(each[1]))
        raise UserError(
            f"--data: {printable(path)}: '{printable(line)}', line {number}, is not UTF-8; save the file as UTF-8"
        )
    return found


def _lines(text: text_files.Text) -> list[str]:
    return [line.strip() for line in text_files.lines(text.content) if line.strip()]


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= each <= "\udcff" for each in text)
