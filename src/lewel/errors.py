"""The one exception that a user's mistake raises; the command line prints its line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """One line: what was given, what is allowed, which flag to change.

    told_elsewhere: another process raises the same, and prints it.
    """

    exit_code = 2
    told_elsewhere = False


class DivergenceError(UserError):
    """A training whose loss or gradient is not finite any more."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """'; did you mean X?' for the nearest allowed name, or '' when none is near."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
