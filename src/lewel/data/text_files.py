"""Text files as people write them: UTF-8 with a byte order mark or without, or UTF-16; never a silent guess."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from lewel.errors import UserError

_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAGIC = {b"PK\x03\x04": "a ZIP or Excel file", b"\xd0\xcf\x11\xe0": "an Excel file", b"PAR1": "a parquet file"}
_MAGIC |= {b"\x1f\x8b": "a gzip file", b"%PDF": "a PDF", b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture"}


class Text(NamedTuple):
    """The content of a file. is_utf8: False where bytes are not UTF-8; they are lone surrogates then, as in names."""

    content: str
    is_utf8: bool


def decoded(content: bytes, what: str) -> Text:
    """The text of a file. what: names it in an error.

    Raises UserError for what is no text: other formats, NUL characters, half characters of UTF-16.
    """
    for magic, kind in _MAGIC.items():
        if content.startswith(magic):
            raise UserError(f"{what} is {kind}, not text; save it as text, in UTF-8")
    mark, encoding = next((pair for pair in _MARKS if content.startswith(pair[0])), (b"", _without_mark(content)))
    try:
        text, is_utf8 = content[len(mark) :].decode(encoding), True
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise UserError(f"{what} is damaged {encoding.upper()}: {error.reason}; save it as UTF-8") from error
        text, is_utf8 = content[len(mark) :].decode("utf-8", "surrogateescape"), False
    if "\0" in text:
        raise UserError(f"{what} has NUL characters and is no text; save it as text, in UTF-8")
    return Text(text, is_utf8)


def lines(text: str) -> list[str]:
    r"""The lines, ended by \n, \r\n, or \r where there is no other; `splitlines` would split at rare characters too."""
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]


def _without_mark(content: bytes) -> str:
    """UTF-16, by the zeros that stand in every second byte of its Latin letters; else UTF-8."""
    zeros = [content[first::2].count(0) for first in (0, 1)]
    if sum(zeros) * 4 < len(content) or max(zeros) < 9 * min(zeros):
        return "utf-8"
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
