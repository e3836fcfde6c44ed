"""Some damaged files to every reader, the same ones each time; `python tests/fuzz/run.py --inputs 10000` gives more."""

from __future__ import annotations

import pytest

from fuzz.readers import READERS, Reader
from fuzz.run import fuzz


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damaged_files_are_read_or_refused(reader: Reader) -> None:
    report = fuzz(reader, first_seed=1_000_000, count=100, seconds=None)
    assert report.faults == [] and report.count == 100
    assert 0 < report.slowest_s <= report.seconds and 1_000_000 <= report.slowest < 1_000_100
    assert report.ends["read"] and report.ends["refused"] + report.ends["read"] == 100
