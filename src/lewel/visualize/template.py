"""Pages from templates: all in one look, with everything in the one file, and no text that becomes markup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from lewel.terminal import printable
from lewel.version import __version__


def _shown(value: object) -> object:
    """Control characters, and those that turn the order of the letters, as escapes; layout and markup as they are."""
    if not isinstance(value, str) or hasattr(value, "__html__"):  # a macro's result
        return value
    return printable(value, keep="\n\t\xa0")


def render(path: Path, **values: Any) -> str:
    """The template at `path` with these values, escaped; it may extend base.html.j2 and import chart.html.j2."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(path.name).render(version=__version__, **values)
