"""The stream of batches: the same for any start, rank and number of workers; damaged files, dead workers."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F  # noqa: N812

from lewel.config import Data, View
from lewel.data import loader, pillow
from lewel.data.augment import sample
from lewel.data.cifar import Pixels
from lewel.data.decode import DecodeError
from lewel.data.executor import Executor
from lewel.data.images import Source, open_images
from lewel.data.loader import batches, evaluation_batches, steps_per_epoch
from lewel.errors import UserError
from lewel.shapes import Batch

DATA = Data(
    image_size=16,
    views=(View(blur=1.0), View(blur=0.1, solarize=0.5)),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.25, 0.3),
)


def in_memory(n: int = 22) -> Pixels:
    rng = np.random.default_rng(0)
    return Pixels("memory", rng.integers(0, 256, (n, 20, 24, 3), dtype=np.uint8))


def run(images: Source, start: int = 0, stop: int = 6, batch_size: int = 6, **more) -> list[Batch]:
    return list(batches(images, DATA, batch_size, 7, start, stop, geometry=True, **more))


def equal(a: list[Batch], b: list[Batch]) -> bool:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        if x.indices.tolist() != y.indices.tolist() or x.skipped != y.skipped:
            return False
        for one, two in zip(x.views, y.views, strict=True):
            for left, right in zip(one, two, strict=True):
                assert left is not None and right is not None
                if not torch.equal(left, right):
                    return False
    return True


# -- order


def test_an_epoch_sees_each_image_at_most_once_and_drops_the_rest() -> None:
    epochs = [torch.cat([b.indices for b in run(in_memory(), 3 * e, 3 * e + 3)]).tolist() for e in range(3)]
    assert steps_per_epoch(22, 6) == 3
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == 18
        assert set(epoch) < set(range(22))
    assert epochs[0] != epochs[1] != epochs[2]
    assert len({frozenset(epoch) for epoch in epochs}) == 3  # another rest each time


def test_starting_later_is_the_same_stream() -> None:
    whole = run(in_memory(), 0, 8)
    for start in (1, 3, 5, 8):
        assert equal(run(in_memory(), start, 8), whole[start:])


def test_starting_at_a_million_steps_costs_nothing() -> None:
    start = time.monotonic()
    assert len(run(in_memory(), 10**9, 10**9 + 1)) == 1
    assert time.monotonic() - start < 1


def test_ranks_share_the_batch() -> None:
    whole = run(in_memory())
    for world in (2, 3):
        parts = [run(in_memory(), rank=rank, world=world) for rank in range(world)]
        for step, batch in enumerate(whole):
            assert torch.cat([part[step].indices for part in parts]).tolist() == batch.indices.tolist()
            for number, view in enumerate(batch.views):
                assert torch.equal(torch.cat([part[step].views[number].pixels for part in parts]), view.pixels)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers(workers: int) -> None:
    assert equal(run(in_memory(), workers=workers), run(in_memory()))


def test_the_seed_decides() -> None:
    other = list(batches(in_memory(), DATA, 6, 8, 0, 6))
    assert not equal(other, run(in_memory()))


def test_the_runs_own_generator_is_left_alone() -> None:
    """Else a run that goes on would draw other numbers than the unbroken one."""
    torch.manual_seed(0)
    np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    run(in_memory(), workers=1)
    run(in_memory())
    list(evaluation_batches(in_memory(), 16, 6, workers=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before


# -- content


def test_pixels_and_geometry_are_those_of_the_parameters() -> None:
    images = in_memory()
    for step, batch in enumerate(run(images)):
        assert batch.indices.dtype == torch.int64 and batch.skipped == []
        for number, view in enumerate(batch.views):
            assert view.pixels.is_contiguous(memory_format=torch.channels_last) and view.pixels.dtype == torch.float32
            assert view.geometry is not None
            for row, index in enumerate(batch.indices.tolist()):
                image = Image.fromarray(images.pixels[index])
                p = sample(DATA.views[number], image.size, 16, 7, step // 3, index, number)
                expected = F.normalize(F.to_tensor(pillow.augmented(image, p)), list(DATA.mean), list(DATA.std))
                assert torch.equal(view.pixels[row], expected)
                assert view.geometry[row].tolist() == [*p.crop, 24, 20, p.flip, p.vertical_flip]


def test_evaluation_sees_all_in_order() -> None:
    images = in_memory()
    for workers in (0, 2):
        found = list(evaluation_batches(images, 16, 8, workers, DATA.mean, DATA.std))
        assert torch.cat([batch.indices for batch in found]).tolist() == list(range(22))
        assert [len(batch.indices) for batch in found] == [8, 8, 6]
        for batch in found:
            (view,) = batch.views
            assert view.geometry is None
            for row, index in enumerate(batch.indices.tolist()):
                picture = F.center_crop(F.resize(Image.fromarray(images.pixels[index]), [16]), [16, 16])
                assert torch.equal(view.pixels[row], F.normalize(F.to_tensor(picture), list(DATA.mean), list(DATA.std)))


# -- mistakes


@pytest.mark.parametrize("batch_size", [23, 0, -1])
def test_a_batch_that_does_not_fit(batch_size: int) -> None:
    with pytest.raises(UserError, match=f"--batch-size {batch_size} for 22 images: allowed is 1 to 22"):
        batches(in_memory(), DATA, batch_size, 0, 0, 1)


def test_a_batch_that_the_processes_do_not_divide() -> None:
    with pytest.raises(UserError, match="--batch-size 6 is not a multiple of the 4 processes"):
        batches(in_memory(), DATA, 6, 0, 0, 1, world=4)


# -- damaged files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 good images and four bad ones."""
    rng = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{number:02}.png")
    whole = (tmp_path / "00.png").read_bytes()
    (tmp_path / "a-cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b-empty.jpg").write_bytes(b"")
    (tmp_path / "c-text.jpg").write_text("no picture")
    with open(os.path.join(os.fsencode(tmp_path), b"d-\xff.jpg"), "wb") as file:
        file.write(whole[:20])
    return tmp_path


def test_bad_images_are_replaced_and_named(folder: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    images = open_images(folder)
    assert len(images) == 24
    found = run(images, 0, 8)  # two epochs
    assert equal(run(images, 0, 8, workers=2), found)
    assert equal(run(images, 3, 8), found[3:])
    named = {skip.path: skip.reason for batch in found for skip in batch.skipped}
    assert sorted(Path(path).name for path in named) == ["a-cut.png", "b-empty.jpg", "c-text.jpg", "d-\udcff.jpg"]
    assert all(reason and "\n" not in reason for reason in named.values())
    for batch in found:
        assert set(batch.indices.tolist()) <= set(range(20))
        assert len(batch.indices) == len(batch.views[0].pixels) == 6
    assert json.loads(json.dumps(named, ensure_ascii=False).encode("utf-8", "backslashreplace")) == named
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_replacements_are_drawn_for_unreadable_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """And they are the same for ever: a run of an older version goes on with its own."""
    tried = []

    def read(index: int) -> int:
        tried.append(index)
        if index != 150:
            raise DecodeError(f"{index}.jpg", "empty file")
        return -index

    assert loader.readable(read, 1000, seed=7, epoch=2, index=3, skipped=[]) == (150, -150)
    assert tried == [3, 739, 145, 580, 150]
    monkeypatch.setattr(loader, "uniforms", None)
    assert loader.readable(read, 1000, seed=7, epoch=2, index=150, skipped=[]) == (150, -150)


def test_bad_images_are_replaced_alike_on_ranks(folder: Path) -> None:
    images = open_images(folder)
    whole = run(images, 0, 4)
    parts = [run(images, 0, 4, rank=rank, world=2) for rank in range(2)]
    for step, batch in enumerate(whole):
        assert torch.cat([part[step].views[0].pixels for part in parts]).equal(batch.views[0].pixels)
        assert parts[0][step].skipped + parts[1][step].skipped == batch.skipped


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_leaves_bad_images_out(folder: Path, workers: int) -> None:
    found = list(evaluation_batches(open_images(folder), 16, 4, workers))
    assert torch.cat([batch.indices for batch in found]).tolist() == list(range(20))
    assert sum(len(batch.views[0].pixels) for batch in found) == 20
    assert [len(batch.skipped) for batch in found] == [0, 0, 0, 0, 0, 4]
    assert found[-1].views[0].pixels.shape == (0, 3, 16, 16)


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_that_can_be_read(tmp_path: Path, workers: int) -> None:
    for number in range(6):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"21 images in a row cannot be read, the last is .*empty file") as caught:
        run(open_images(tmp_path), 0, 1, workers=workers)
    assert "Traceback" not in str(caught.value)


# -- the executors


@pytest.mark.parametrize("workers", [0, 1])
def test_both_executors_make_the_same_views_to_a_grey_level(folder: Path, workers: int) -> None:
    """Crops differ by a level, which the colours after them may stretch; all that is drawn is the same."""
    images, strong = open_images(folder), View(scale=(0.3, 1), gray=0.2, blur=0.5, solarize=0.2, rotation=10)
    data = Data(32, (strong, strong))
    slow = batches(images, data, 8, 0, 0, 3, geometry=True)
    fast = batches(images, data, 8, 0, 0, 3, workers=workers, executor=Executor("tensor"), geometry=True)
    for theirs, ours in zip(slow, fast, strict=True):
        assert torch.equal(theirs.indices, ours.indices)
        for their, our in zip(theirs.views, ours.views, strict=True):
            assert torch.equal(their.geometry, our.geometry)
            assert our.pixels.is_contiguous(memory_format=torch.channels_last)
            spread = torch.tensor(data.std).view(3, 1, 1)
            assert ((their.pixels - our.pixels) * spread * 255).abs().mean() < 2
