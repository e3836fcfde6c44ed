"""Processes that were started differently are told so before anything else: each flag, each version."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from typing import Any

import pytest

from lewel import agreement, parallel
from lewel.config import Options
from lewel.errors import UserError
from lewel.plan import Overrides

OPTIONS = Options(data="photos", run="runs/a")


@pytest.fixture
def beside(monkeypatch):
    """Compares this process's facts with those that another one gave before."""
    given: list[Any] = []

    def gather(mine: list[Any]) -> list[Any]:
        given.extend(mine)
        return given[:1] + mine

    monkeypatch.setattr(parallel, "all_gather_objects", gather)
    agreement.check_commands("byol_tiny", OPTIONS, Overrides())
    return agreement.check_commands


@pytest.mark.parametrize("kind", [Options, Overrides])
def test_every_flag_must_be_the_same_but_for_the_data_and_the_workers(kind, beside) -> None:
    for field in fields(kind):
        given = {Options: dataclasses.replace(OPTIONS), Overrides: Overrides()}
        object.__setattr__(given[kind], field.name, 7)
        flag = "--out" if field.name == "run" else "--" + field.name.replace("_", "-")
        if field.name in ("data", "workers"):
            beside("byol_tiny", *given.values())
            continue
        with pytest.raises(UserError, match=rf"^{flag} is not .* \(process 0: .*; process 1: 7\)") as caught:
            beside("byol_tiny", *given.values())
        assert caught.value.everywhere and not caught.value.told_elsewhere


def test_recipe_and_versions_must_be_the_same(beside, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"the recipe .* \(process 0: byol_tiny; process 1: lewel_b_tiny\)"):
        beside("lewel_b_tiny", OPTIONS, Overrides())
    for place, what in (("__version__", "lewel"), ("platform.python_version", "Python"), ("version", "torch")):
        with monkeypatch.context() as patched, pytest.raises(UserError, match=f"the version of {what} is not the same"):
            patched.setattr(f"lewel.agreement.{place}", "0" if place == "__version__" else lambda *_: "0")
            beside("byol_tiny", OPTIONS, Overrides())


def test_many_differences_are_counted(beside) -> None:
    changed = Overrides(epochs=1, batch_size=2, lr=3.0, dim=4, hidden=5, blur=0.5)
    with pytest.raises(UserError, match="nor are 2 more; start all processes with one command"):
        beside("byol_tiny", OPTIONS, changed)
