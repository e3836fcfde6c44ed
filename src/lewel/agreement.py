"""Whether all processes of a run were started alike: what decides numbers or collective calls must be the same on all.

Compared in one call, before any other in which the processes could wait for different things.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from lewel import parallel
from lewel.config import Options
from lewel.errors import UserError
from lewel.plan import Overrides
from lewel.plan.overrides import flag
from lewel.version import __version__

PACKAGES = ("torch", "torchvision", "timm", "pillow", "numpy")
OF_A_MACHINE = ("data", "workers")  # --data may be another path on another machine; its images are compared
NAMED = 4  # differences in the message


def check_commands(recipe: str, options: Options, overrides: Overrides) -> None:
    """Raises UserError, on every process, where they have other flags, or other versions of what makes the numbers."""
    values = asdict(options) | asdict(overrides)
    flags = {
        "--out" if name == "run" else flag(name): value for name, value in values.items() if name not in OF_A_MACHINE
    }
    versions = {"the version of lewel": __version__, "the version of Python": platform.python_version()}
    versions |= {f"the version of {name}": _version(name) for name in PACKAGES}
    check({"the recipe": recipe, **flags, **versions}, "start all processes with one command, from equal installations")


def check(facts: Mapping[str, object], advice: str) -> None:
    """Raises UserError, on every process, where one has other facts. The facts are compared as text."""
    everyone = parallel.all_gather_objects([{name: str(value) for name, value in facts.items()}])
    names = dict.fromkeys(name for each in everyone for name in each)
    differing = [name for name in names if len({each.get(name) for each in everyone}) > 1]
    if differing:
        told = [f"{name} is not the same on all processes ({_two(everyone, name)})" for name in differing[:NAMED]]
        told += [f"nor are {len(differing) - NAMED} more"] if len(differing) > NAMED else []
        raise parallel.everywhere(UserError("; ".join([*told, advice])))


def _two(everyone: list[dict[str, str]], name: str) -> str:
    """`process 0: 0.1; process 1: 0.2`: the value of process 0, and the first that differs from it."""
    first = everyone[0].get(name)
    other = next(rank for rank, each in enumerate(everyone) if each.get(name) != first)
    return f"process 0: {first}; process {other}: {everyone[other].get(name)}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
