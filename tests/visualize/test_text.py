"""Names that hold anything, in pictures, in Markdown and in pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from lewel.visualize import template
from lewel.visualize.text import in_markdown, shortened


def test_both_ends_of_a_long_name_are_kept() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 7) == "abc…ijk"
    assert shortened("abcdefghijk", 6) == "abc…jk"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lewel_b_tiny [lr=0.1], 71.20 ± 0.15", "lewel_b_tiny [lr=0.1], 71.20 ± 0.15"),
        ("a|b\nc", "a\\|b c"),
        ("`x` *y* ~~z~~ __w__", "\\`x\\` \\*y\\* \\~\\~z\\~\\~ \\_\\_w\\_\\_"),
        ("[a](b) [a][b] [a]: b", "[a]\\(b) [a]\\[b] [a]\\: b"),
        ("C:\\data", "C:\\\\data"),
        ("<b>&lt;", "&lt;b>&amp;lt;"),
        ("x\u202ey\x1b", "x\\\\u202ey\\\\x1b"),
    ],
)
def test_markdown_shows_the_text(text: str, expected: str) -> None:
    assert in_markdown(text) == expected


def test_pages_show_the_text(tmp_path: Path) -> None:
    """Markup, attributes and the order of letters; a macro's own markup stays."""
    page = tmp_path / "page.html.j2"
    macro = "{% macro bold(x) %}<b>{{ x }}</b>{% endmacro %}"
    page.write_text(macro + '<p title="{{ name }}">{{ name }}{{ bold(name) }}</p>')
    shown = "&lt;i&gt; &#34;q&#34; &#39;\\u202e\\x1b[1m שלום\n"
    text = template.render(page, name='<i> "q" \'\u202e\x1b[1m שלום\n')
    assert text == f'<p title="{shown}">{shown}<b>{shown}</b></p>'
