"""Pages from templates: all in one look, with everything in the one file, and no text that becomes markup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from lewel.version import __version__


def render(path: Path, **values: Any) -> str:
    """The template at `path` with these values, escaped; it may extend base.html.j2 and import chart.html.j2."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(path.name).render(version=__version__, **values)
