"""Names that hold anything, as text that can be drawn."""

from __future__ import annotations

import pytest

from lewel.visualize.text import printable, shortened


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tabby cat", "tabby cat"),
        ("Bär 日本", "Bär 日本"),
        ("two\nlines\tof it", "two lines of it"),
        ("caf\udce9", "caf\\udce9"),
        ("bell\a", "bell\\x07"),
        ("left\u202eright", "left\\u202eright"),
    ],
)
def test_printable(name: str, expected: str) -> None:
    assert printable(name) == expected and printable(name).isprintable()


def test_both_ends_of_a_long_name_are_kept() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 7) == "abc…ijk"
    assert shortened("abcdefghijk", 6) == "abc…jk"
