"""Images in arrays are the images that were given."""

from __future__ import annotations

import gc
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.objects import Annotated
from lewel.evaluate.dense.truth.outlines import Outline, as_words, from_words

POLYGONS = (np.array([0.1, -0.0, 1e300, 4, 5, 6]), np.array([1.0, 2, 3, 4, 5, 6, 7, 8]))
NUMBERS = {"size": [3, 4], "counts": [0, 5, 7]}
TEXT = {"size": [3, 4], "counts": "PPYo1"}
NONE = np.zeros((0, 4))


def image(name: str, boxes: np.ndarray, outlines: tuple[Outline, ...] | None = None, label: int = 0) -> Annotated:
    rows = np.asarray(boxes, np.float64).reshape(-1, 4)
    flags, labels = np.arange(len(rows)) % 2 == 0, np.arange(len(rows)) + label
    return Annotated(name, Path("a", name), (7, 5 + len(rows)), rows, labels, flags, ~flags, rows[:, 2] + 0.5, outlines)


def plain(outline: Outline) -> object:
    return outline if isinstance(outline, dict) else [each.tobytes() for each in outline]


def assert_same(one: Annotated, other: Annotated) -> None:
    assert (one.name, one.path, one.size) == (other.name, other.path, other.size)
    for name in ("boxes", "labels", "crowd", "difficult", "areas"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape and np.array_equal(mine, theirs)
    assert (one.outlines is None) == (other.outlines is None)
    assert [*map(plain, one.outlines or ())] == [*map(plain, other.outlines or ())]


GIVEN = [
    image("eins.jpg", np.arange(12), (POLYGONS, NUMBERS, TEXT)),
    image("leer.jpg", NONE, ()),
    image("zwei-\udcff.jpg", np.arange(8), (POLYGONS[:1], POLYGONS)),
]
WITHOUT = [image("a", np.arange(4)), image("b", NONE), image("c", np.arange(8))]


@pytest.mark.parametrize("outline", [POLYGONS, POLYGONS[1:], NUMBERS, TEXT, {**TEXT, "counts": "P" * 16}])
def test_outlines_come_back_bit_for_bit(outline: Outline) -> None:
    assert plain(from_words(as_words(outline))) == plain(outline)


@pytest.mark.parametrize("given", [GIVEN, WITHOUT, GIVEN[1:2], []])
def test_images_come_back(given: list[Annotated]) -> None:
    found = Images.of(given)
    assert len(found) == len(given)
    for one, other in zip(found, given, strict=True):
        assert_same(one, other)
    for place in range(-len(given), len(given)):
        assert_same(found[place], given[place])
    with pytest.raises(IndexError):
        found[len(given)]


def test_some_of_them_in_another_order() -> None:
    found = Annotations("", "train", ("a", "b", "c"), Images.of(GIVEN), (), 0).subset(np.array([2, 0]))
    for one, other in zip(found.images, (GIVEN[2], GIVEN[0]), strict=True):
        assert_same(one, other)
    assert found.facts()["objects"] == 5 and found.facts()["without_objects"] == 0


def test_the_digest_follows_every_part() -> None:
    """But for where the files lie, and the areas, which follow from the outlines or the boxes."""
    kinds = [
        GIVEN,
        WITHOUT,
        GIVEN[::-1],
        [*GIVEN[:2], image("other", np.arange(8), GIVEN[2].outlines)],
        [*GIVEN[:2], image(GIVEN[2].name, np.arange(8) + 1, GIVEN[2].outlines)],
        [*GIVEN[:2], image(GIVEN[2].name, np.arange(8), GIVEN[2].outlines, label=1)],
        [*GIVEN[:2], image(GIVEN[2].name, np.arange(8), (POLYGONS, POLYGONS[:1]))],
    ]
    digests = {Annotations("", "train", ("a", "b", "c"), Images.of(kind), (), 0).digest for kind in kinds}
    renamed = Annotations("", "train", ("a", "b", "d"), Images.of(GIVEN), (), 0).digest
    assert len(digests | {renamed}) == len(kinds) + 1
    assert Annotations("elsewhere", "val", ("a", "b", "c"), Images.of(GIVEN), (), 1).digest in digests


def test_a_thousand_images_are_a_few_objects_of_pythons() -> None:
    """What a forked worker looks at, it copies: millions of small arrays were 250 MB for each worker of COCO."""
    gc.collect()
    before = len(gc.get_objects())
    found = Images.of(image(str(number), np.arange(8), (POLYGONS, NUMBERS)) for number in range(1000))
    assert len(found) == 1000 and len(gc.get_objects()) - before < 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells which memory is a process's own")
def test_a_worker_that_looks_at_all_of_them_copies_little() -> None:
    found = Images.of(image(str(number), np.arange(28), (POLYGONS,) * 7) for number in range(20_000))
    here, there = Pipe(duplex=False)
    worker = get_context("fork").Process(target=_look, args=(found, there))
    worker.start()
    objects, copied = here.recv()
    worker.join()
    assert objects == 140_000 and copied < 10e6


def _look(images: Images, answer: Connection) -> None:
    before = _own_bytes()
    answer.send((sum(len(each) for each in images), _own_bytes() - before))


def _own_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
