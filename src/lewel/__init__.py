"""LEWEL: self-supervised pretraining that learns where to aggregate its features.

    run = lewel.pretrain("lewel_b_folder", data="photos", out="runs/a")
    encoder = lewel.load_encoder("runs/a")                            # images -> (b, c, h, w)
    method = lewel.build.method(lewel.recipes.lewel_b_in1k_100ep())   # loss, out = method(view1, view2)

The public names are imported when they are first used, so that `import lewel` needs neither torch nor time.
`docs/api.md` describes them.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from lewel.version import __version__

if TYPE_CHECKING:
    from lewel import build, config, recipes
    from lewel.api import embed, evaluate, export, load_run, maps, open_images, pretrain
    from lewel.config import Recipe
    from lewel.engine.loop import Step
    from lewel.engine.record import Logger
    from lewel.engine.signals import Interrupted
    from lewel.errors import UserError
    from lewel.evaluate.embed import FeatureTable
    from lewel.evaluate.results import Result
    from lewel.interop.export import Exported
    from lewel.interop.published import read as read_published
    from lewel.interop.runs import Run
    from lewel.interop.weights import initialise, load_encoder, save_encoder
    from lewel.model.encoder import Encoder
    from lewel.model.method import Method
    from lewel.shapes import View

__all__ = [
    "Encoder",
    "Exported",
    "FeatureTable",
    "Interrupted",
    "Logger",
    "Method",
    "Recipe",
    "Result",
    "Run",
    "Step",
    "UserError",
    "View",
    "__version__",
    "build",
    "config",
    "embed",
    "evaluate",
    "export",
    "initialise",
    "load_encoder",
    "load_run",
    "maps",
    "open_images",
    "pretrain",
    "read_published",
    "recipes",
    "save_encoder",
]

# public name: (module, the name there; "" for the module itself)
_HOMES = {
    "Encoder": ("lewel.model.encoder", "Encoder"),
    "Exported": ("lewel.interop.export", "Exported"),
    "FeatureTable": ("lewel.evaluate.embed", "FeatureTable"),
    "Interrupted": ("lewel.engine.signals", "Interrupted"),
    "Logger": ("lewel.engine.record", "Logger"),
    "Method": ("lewel.model.method", "Method"),
    "Recipe": ("lewel.config", "Recipe"),
    "Result": ("lewel.evaluate.results", "Result"),
    "Run": ("lewel.interop.runs", "Run"),
    "Step": ("lewel.engine.loop", "Step"),
    "UserError": ("lewel.errors", "UserError"),
    "View": ("lewel.shapes", "View"),
    "build": ("lewel.build", ""),
    "config": ("lewel.config", ""),
    "embed": ("lewel.api", "embed"),
    "evaluate": ("lewel.api", "evaluate"),
    "export": ("lewel.api", "export"),
    "initialise": ("lewel.interop.weights", "initialise"),
    "load_encoder": ("lewel.interop.weights", "load_encoder"),
    "load_run": ("lewel.api", "load_run"),
    "maps": ("lewel.api", "maps"),
    "open_images": ("lewel.api", "open_images"),
    "pretrain": ("lewel.api", "pretrain"),
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
    globals()[name] = value  # found here from now on
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(types.ModuleType):
    """`lewel.pretrain` and `lewel.evaluate` are functions, although modules have these names.

    The import system sets a module as an attribute of its package. Here the function stays.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, types.ModuleType) and _HOMES.get(name, ("", ""))[1]):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
