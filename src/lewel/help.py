"""What `--help` says of a flag whose default depends on something else: the recipe's number, or why there is none.

A command's flags are dataclasses whose defaults are None for "as the recipe says". Only for --help they are replaced by
dataclasses of the same fields with the default in words.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import tokenize
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import tyro

from lewel import plan, recipes
from lewel.errors import UserError

Command = Callable[..., Any]


def with_defaults(command: Command, arguments: Sequence[str]) -> Command:
    """The command, for `--help` alone: each flag's default is one that a reader can use."""
    said = _of_recipe(arguments)
    hints = typing.get_type_hints(command, include_extras=True)
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        kind, default = _flag(hints[parameter.name], parameter.default, said, "")
        parameters.append(parameter.replace(annotation=kind, default=default))

    shown = types.FunctionType((lambda: None).__code__, {}, command.__name__)  # never called: --help ends before
    shown.__doc__ = command.__doc__
    shown.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    typing.cast(Any, shown).__signature__ = inspect.Signature(parameters)
    return shown


def _of_recipe(arguments: Sequence[str]) -> dict[str, str]:
    """Each of the recipe's flags and its default in words, where the arguments begin with a recipe."""
    names = [field.name for field in dataclasses.fields(plan.Overrides)]
    recipe = next((word for word in arguments if not word.startswith("-")), None)
    if recipe is None:
        return dict.fromkeys(names, "the recipe's")
    try:
        found = plan.numbers(recipes.get(recipe))
    except UserError:  # which the command says better when it is run
        return dict.fromkeys(names, "the recipe's")
    return {name: found.get(name, f"{recipe} has none") for name in names}


def _flag(kind: Any, default: Any, said: Mapping[str, str], help: str) -> tuple[Any, Any]:
    """Type and default of one flag, or of a dataclass of flags.

    `X | None` as `Optional[X]`, and no empty tuple: for the others tyro imports typeguard, a third of --help's time.
    """
    bare, extras = (kind.__origin__, kind.__metadata__) if hasattr(kind, "__metadata__") else (kind, ())
    if dataclasses.is_dataclass(bare) and isinstance(bare, type):
        made = _dataclass(bare, said)
        return Annotated[(made, *extras)], inspect.Parameter.empty if default is inspect.Parameter.empty else made()
    hint = None
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        bare = typing.Union[typing.get_args(bare)]  # noqa: UP007
        hint = "" if default is None else None
    if default == () and typing.get_origin(bare) is tuple:
        bare, default, hint = typing.Union[None, bare], None, ""  # noqa: UP007
    if default == "":
        hint = ""
    argument = tyro.conf.arg(help=help or None, help_behavior_hint=hint)
    return (Annotated[(bare, *extras, argument)] if help or hint is not None else kind), default


def _dataclass(kind: type, said: Mapping[str, str]) -> type:
    """The same flags, with their comments as help, and the defaults in `said` behind them."""
    comments, hints = _comments(kind), typing.get_type_hints(kind, include_extras=True)
    own = kind is plan.Overrides
    rows: list[Any] = []
    for field in dataclasses.fields(kind):
        help = comments.get(field.name, "")
        if own:
            help = f"{help} (default: {said[field.name]})".strip()
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        shown, default = _flag(hints[field.name], default, said, help)
        rows.append((field.name, shown) if default is inspect.Parameter.empty else (field.name, shown, default))
    return dataclasses.make_dataclass(kind.__name__, rows, frozen=True)


def _comments(kind: type) -> dict[str, str]:
    """Each field's comment: behind it, or in the lines above it."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__[:-1]):
        above: list[str] = []
        name, first = "", True
        for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(part)).readline):
            text = token.string.lstrip("# ")
            if token.type == tokenize.NEWLINE:
                name, first, above = "", True, []
            elif token.type == tokenize.COMMENT and name:
                found[name] = text
            elif token.type == tokenize.COMMENT:
                above.append(text)
            elif token.type == tokenize.NAME and first:
                name, first = token.string, False
                if above:
                    found[name] = " ".join(above)
    return found
