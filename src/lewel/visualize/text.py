"""Names of files, folders and classes, which may hold anything, as text that can be drawn."""

from __future__ import annotations


def printable(name: str) -> str:
    """One line; what is no text, such as a byte that is no UTF-8 or a control character, is written as an escape."""
    text = " ".join(name.split()).encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shortened(name: str, most: int) -> str:
    """At most so many characters; the middle is left out, since names differ at their ends."""
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"
