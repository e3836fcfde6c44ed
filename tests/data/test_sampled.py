"""What a dry run finds: how many of a sample cannot be read, and whether a run would end by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import encoded, noise

from lewel.data import sampled
from lewel.data.images import open_images


def folder(path: Path, images: int, broken: int) -> Path:
    path.mkdir()
    content = encoded(noise(), "jpg")
    for number in range(images):
        (path / f"{number:03d}.jpg").write_bytes(
            b"no picture" if number % 10 == 5 and number < 10 * broken else content
        )
    return path


@pytest.mark.parametrize("workers", [0, 1])
def test_all_of_a_small_data_set(tmp_path: Path, workers: int) -> None:
    found = sampled.sample([open_images(folder(tmp_path / "a", 40, 3))], workers)
    assert found[:2] == (40, 40)
    assert [Path(skip.path).name for skip in found.unreadable] == ["005.jpg", "015.jpg", "025.jpg"]
    assert found.told().startswith(
        f"decoded all 40 images: 3 (7.5 %) cannot be read: {tmp_path}/a/005.jpg: not an image"
    )
    assert found.problem(0.075) == ""
    assert found.problem(0.07).startswith("3 of 40 images cannot be read, more than 7 %: ")
    assert found.problem(0.07).endswith("or allow more, such as --max-unreadable 0.09")


def test_a_sample_of_a_larger_one(tmp_path: Path) -> None:
    parts = [open_images(folder(tmp_path / name, images, 0)) for name, images in (("a", 40), ("b", 10))]
    found = sampled.sample(parts, 0, most=20)
    assert found == (30, 50, [])
    assert found.told() == "decoded 30 of 50 images: all can be read"
    found = sampled.sample([open_images(folder(tmp_path / "c", 40, 4))], 0, most=40)
    assert found._replace(total=900).problem(0.01).startswith("4 of 40 images, a sample of 900, cannot be read, more")
