"""LEWEL: self-supervised pretraining that learns where to aggregate its features.

    method = lewel.build.method(lewel.recipes.lewel_b_in1k_100ep())   # loss, out = method(view1, view2)
    encoder = lewel.load_encoder("run-or-file")                       # images -> (b, c, h, w)

The public names are imported when they are first used, so that `import lewel` needs neither torch nor time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lewel.version import __version__

if TYPE_CHECKING:
    from lewel import build, config, recipes
    from lewel.config import Recipe
    from lewel.engine.record import Logger
    from lewel.errors import UserError
    from lewel.interop.export import export
    from lewel.interop.published import read as read_published
    from lewel.interop.weights import initialise, load_encoder, save_encoder
    from lewel.model.encoder import Encoder
    from lewel.model.method import Method
    from lewel.shapes import View

__all__ = [
    "Encoder",
    "Logger",
    "Method",
    "Recipe",
    "UserError",
    "View",
    "__version__",
    "build",
    "config",
    "export",
    "initialise",
    "load_encoder",
    "read_published",
    "recipes",
    "save_encoder",
]

# public name: (module, the name there; "" for the module itself)
_HOMES = {
    "Encoder": ("lewel.model.encoder", "Encoder"),
    "Logger": ("lewel.engine.record", "Logger"),
    "Method": ("lewel.model.method", "Method"),
    "Recipe": ("lewel.config", "Recipe"),
    "UserError": ("lewel.errors", "UserError"),
    "View": ("lewel.shapes", "View"),
    "build": ("lewel.build", ""),
    "config": ("lewel.config", ""),
    "export": ("lewel.interop.export", "export"),
    "initialise": ("lewel.interop.weights", "initialise"),
    "load_encoder": ("lewel.interop.weights", "load_encoder"),
    "read_published": ("lewel.interop.published", "read"),
    "recipes": ("lewel.recipes", ""),
    "save_encoder": ("lewel.interop.weights", "save_encoder"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lewel' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    found = importlib.import_module(module)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value  # asked once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
