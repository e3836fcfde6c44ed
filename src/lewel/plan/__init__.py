"""From a recipe and the command line's numbers to one checked plan. Pure: no torch, no files.

overrides   the numbers that flags may change, and which methods have them
numbers     what they are in a recipe, as --help shows them
resolve     recipe + overrides + number of images + processes -> Plan, or one line that says what does not fit
"""

from __future__ import annotations

from lewel.plan.numbers import numbers
from lewel.plan.overrides import Overrides
from lewel.plan.resolve import Plan, resolve

__all__ = ["Overrides", "Plan", "numbers", "resolve"]
