"""`lewel`, as a user types it."""

from __future__ import annotations

import sys

from lewel import cli


def lewel(*arguments: object) -> int:
    """Exit code of the command, run in this process."""
    old, sys.argv = sys.argv, ["lewel", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = old
    return 0
