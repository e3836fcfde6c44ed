"""Names of files, folders and classes, which may hold anything, in pictures and in Markdown.

Pages escape them in `template`, the terminal in `lewel.terminal`.
"""

from __future__ import annotations

import re

from lewel.terminal import printable

_SPECIAL = re.compile(r"[\\`*|~]|(?<=\])[(:\[]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word means nothing


def in_markdown(text: str) -> str:
    """One line of Markdown, in a table or outside, that shows this very text: no markup, links, columns or HTML."""
    escaped = _SPECIAL.sub(r"\\\g<0>", printable(" ".join(text.split())))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def shortened(name: str, most: int) -> str:
    """At most so many characters; the middle is left out, since names differ at their ends."""
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"
