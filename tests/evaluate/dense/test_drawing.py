"""What is drawn lies where it is, in the colour of its class, whatever size the image has."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lewel.evaluate.dense import drawing

BLACK = Image.new("RGB", (210, 105))


def where(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(h, w): whether a pixel has the colour."""
    return (np.asarray(picture) == colour).all(axis=2)


def edges(mask: np.ndarray) -> list[int]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@pytest.mark.parametrize(
    ("size", "expected"), [((210, 105), (420, 210)), ((500, 1000), (210, 420)), ((9, 900), (4, 420))]
)
def test_the_longer_side_is_fixed(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert drawing.fitted(Image.new("L", size)).size == expected


def test_boxes_and_masks_are_where_they_are() -> None:
    boxes = np.array([[20.0, 40, 100, 90], [150, 30, 190, 60]])
    masks = np.zeros((2, 105, 210), bool)
    masks[0, 50:80, 30:90] = True
    picture = drawing.objects(BLACK, boxes, np.array([1, 4]), "abcdef", masks=masks)
    assert edges(where(picture, drawing.OBJECTS[1])) == [40, 65, 200, 180]  # the name is above the box
    assert edges(where(picture, drawing.OBJECTS[4])) == [300, 45, 380, 120]
    filled = tuple(round(drawing.FILL * part) for part in drawing.OBJECTS[1])
    inside = np.abs(np.asarray(picture).astype(int) - filled).max(axis=2) <= 1
    assert edges(inside) == [61, 101, 179, 159] and inside[101:159, 61:179].all()


def test_unsure_boxes_are_thin() -> None:
    boxes = np.array([[20.0, 40, 100, 90]])
    counts = [
        where(drawing.objects(BLACK, boxes, np.array([2]), "abc", np.array([score])), drawing.OBJECTS[2])[100].sum()
        for score in (0.6, 0.4)
    ]
    assert counts == [4, 2]


def test_names_do_not_cover_each_other_and_are_few() -> None:
    boxes = np.tile(np.array([[60.0, 60, 200, 100]]), (4, 1))
    plain = drawing.objects(BLACK, boxes, np.zeros(4, int), ["person"])
    covered = [
        where(drawing.objects(BLACK, boxes[:k], np.zeros(k, int), ["person"]), drawing.OBJECTS[0]).sum()
        for k in (1, 2, 3)
    ]
    assert covered[0] < covered[1] < covered[2] < where(plain, drawing.OBJECTS[0]).sum()
    many = np.tile(boxes[:1], (40, 1))
    most = drawing.objects(BLACK, many, np.zeros(40, int), ["person"])
    again = drawing.objects(BLACK, many[: drawing.TAGS], np.zeros(drawing.TAGS, int), ["person"])
    assert np.array_equal(np.asarray(most), np.asarray(again))


def test_no_objects_are_no_change() -> None:
    none = np.zeros((0, 4))
    picture = drawing.objects(BLACK, none, np.zeros(0, int), [], np.zeros(0), np.zeros((0, 105, 210), bool))
    assert not np.asarray(picture).any()


def test_classes_of_pixels() -> None:
    values = np.zeros((105, 210), np.uint8)
    values[:50, :70], values[50:, :70] = 15, 255
    image = Image.new("RGB", (210, 105), (0, 0, 100))
    picture = np.asarray(drawing.pixels(image, values))
    assert (picture[:, 145:] == (0, 0, 100)).all() and (picture[110:, :135] == 255).all()
    assert (picture[:95, :135] == np.round(0.65 * np.array([192, 128, 128]) + 0.35 * np.array([0, 0, 100]))).all()
    names = ["background", *(f"class {number}" for number in range(1, 21))]
    assert drawing.legend(names, values, np.full_like(values, 3)) == (
        ("class 3", (128, 128, 0)),
        ("class 15", (192, 128, 128)),
    )


def test_the_colours_are_vocs() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {value: drawing.palette(value) for value in known} == known


def test_points_are_tied_to_their_truth() -> None:
    truth, found = np.array([[20.0, 50], [150, 50]]), np.array([[60.0, 50], [150, 50]])
    alone, both = drawing.points(BLACK, truth), drawing.points(BLACK, truth, found)
    assert where(alone, drawing.TRUTH)[100, [40, 300]].all() and not where(alone, drawing.PREDICTION).any()
    assert where(both, drawing.PREDICTION)[100, [120, 300]].all() and where(both, drawing.TRUTH)[100, 40]
    assert where(both, drawing.WHITE)[100, 45:115].all() and not where(alone, drawing.WHITE)[100, 45:115].any()


def test_points_whose_truth_is_hidden_are_not_drawn() -> None:
    truth, found = np.array([[20.0, 50], [np.nan, np.nan]]), np.array([[60.0, 50], [150, 50]])
    both, first = drawing.points(BLACK, truth, found), drawing.points(BLACK, truth[:1], found[:1])
    assert both.tobytes() == first.tobytes() != drawing.points(BLACK, truth[:1]).tobytes()
