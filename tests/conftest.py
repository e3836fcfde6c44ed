"""What holds for every test: one thread, shapes checked at run time, slow tests only on request.

Tests can import what lies beside this file (`command`, `test_golden`), which pytest's importlib mode does not let them.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Generator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch, and for the processes that tests start

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))

# The hook wants the checker by name. The tower: an int where a float is wanted is right, as type checkers have it.
checker = types.ModuleType("lewel_shape_checker")
checker.__dict__["check"] = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules[checker.__name__] = checker
install_import_hook("lewel", f"{checker.__name__}.check")  # before any module of the package is imported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Names of files that are no UTF-8 stand in captured logs; xdist's processes cannot send them as they are."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    if report.failed:
        report.longrepr = str(report.longrepr).encode("utf-8", "backslashreplace").decode()
    return report
