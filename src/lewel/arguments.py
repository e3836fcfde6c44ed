"""What a command line stands for: flags of old names, and tyro, which never shows a control character."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro

from lewel.terminal import printable


def parse(
    command: Callable[..., None], name: str, given: Sequence[str], renamed: Mapping[str, str]
) -> Callable[[], None]:
    """The call of `command` with these arguments. For --help and for wrong ones, say so and raise SystemExit.

    name: as the user types it.   renamed: flags by their former names, which still work.
    tyro repeats arguments as they are; where they hold control characters it is asked again, with escapes instead.
    """

    @functools.wraps(command)
    def deferred(*positional: Any, **flags: Any) -> Callable[[], None]:
        return lambda: command(*positional, **flags)

    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    if {"-h", "--help"} & set(given):
        from lewel.help import with_defaults

        tyro.cli(with_defaults(command, given), prog=name, config=config, args=["--help"])
    exact = [_current(argument, renamed) for argument in given]
    shown = [printable(argument) for argument in exact]
    ask = functools.partial(tyro.cli, deferred, prog=name, config=config)
    try:
        return ask(args=exact, console_outputs=shown == exact)
    except SystemExit:
        if shown != exact:
            ask(args=shown)
        raise


def _current(argument: str, renamed: Mapping[str, str]) -> str:
    """`--flag` or `--flag=value` with the flag's present name."""
    flag, *value = argument.split("=", 1)
    return "=".join([renamed.get(flag, flag), *value])
