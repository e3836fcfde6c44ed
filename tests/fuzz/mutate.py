"""Damaged copies of a file, each a pure function of a seed: what a disk, an editor or another program leaves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

EDGES = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r\n",
    b"\t",
    b",",
    b";",
    b'"',
    b"'",
    b"[",
    b"{",
    b"<!--",
    b"\x1b[31m",
)
NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"NaN",
    b"inf",
    b"-Infinity",
    b"9" * 30,
    b"1e-400",
    b"0x10",
    b"1_000",
    b"+-1",
    b"\xc2\xb2",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, -(2**64), 0.5, -0.0, float("nan"), float("inf"), 1e308, "", "0",
    "x", "\ud800", "../..", "a\nb", "a\0b", "1" * 400, [], {}, [[]], [None], [1, 2], {"a": 1},
)  # fmt: skip

Mutation = Callable[[random.Random, bytes], bytes]


def damaged(content: bytes, seed: int, mutations: tuple[Mutation, ...]) -> bytes:
    """One to four of the mutations, one after the other."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        content = chance.choice(mutations)(chance, content)
    return content


def flip_bits(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def flip_bits_of_the_head(chance: random.Random, content: bytes) -> bytes:
    """Where formats keep their sizes and types."""
    head = min(len(content), 512)
    return flip_bits(chance, content[:head]) + content[head:]


def cut(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def cut_out(chance: random.Random, content: bytes) -> bytes:
    begin, end = _span(chance, content)
    return content[:begin] + content[end:]


def repeat(chance: random.Random, content: bytes) -> bytes:
    begin, end = _span(chance, content)
    return content[:end] + content[begin:end] * chance.choice((1, 2, 20)) + content[end:]


def insert(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(EDGES + NUMBERS) + content[at:]


def number(chance: random.Random, content: bytes) -> bytes:
    """Another number in the place of one that is written in digits."""
    places = [i for i, byte in enumerate(content) if 48 <= byte <= 57 and (i == 0 or not 48 <= content[i - 1] <= 57)]
    if not places:
        return insert(chance, content)
    begin = chance.choice(places)
    end = begin
    while end < len(content) and 48 <= content[end] <= 57:
        end += 1
    return content[:begin] + chance.choice(NUMBERS) + content[end:]


def line(chance: random.Random, content: bytes) -> bytes:
    """A line left out, said twice, or moved."""
    lines = content.splitlines(keepends=True) or [b""]
    taken = lines.pop(chance.randrange(len(lines)))
    for _ in range(chance.choice((0, 1, 2))):
        lines.insert(chance.randrange(len(lines) + 1), taken)
    return b"".join(lines)


def encode(chance: random.Random, content: bytes) -> bytes:
    """The same text in another encoding."""
    text = content.decode(errors="replace")
    return text.encode(chance.choice(("utf-16", "utf-16-le", "utf-8-sig", "latin-1", "utf-32", "cp1252")), "replace")


def json_value(chance: random.Random, content: bytes) -> bytes:
    """One value of a JSON document changed, left out, or named otherwise; text that is no JSON is cut."""
    try:
        document = json.loads(content)
    except ValueError:
        return cut(chance, content)
    holders = list(_holders(document))
    if not holders:
        return json.dumps(chance.choice(VALUES)).encode(errors="surrogatepass")
    holder, key = chance.choice(holders)
    what = chance.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[str(chance.choice(VALUES))] = holder.pop(key)
    elif what == 2 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = chance.choice(VALUES)
    return json.dumps(document).encode(errors="surrogatepass")


def _holders(value: Any) -> list[tuple[Any, Any]]:
    """Each (container, key or index) of a JSON document."""
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            pending.append(holder[key])
    return found


def _span(chance: random.Random, content: bytes) -> tuple[int, int]:
    begin = chance.randrange(len(content) + 1)
    return begin, min(len(content), begin + chance.choice((1, 4, 16, 256, 4096)))


BINARY: tuple[Mutation, ...] = (flip_bits, flip_bits, flip_bits_of_the_head, cut, cut_out, repeat, insert)
TEXT: tuple[Mutation, ...] = (flip_bits, cut, cut_out, repeat, insert, number, number, line, encode)
JSON: tuple[Mutation, ...] = (json_value, json_value, json_value, *TEXT)
