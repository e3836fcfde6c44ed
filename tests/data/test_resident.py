"""Images that live on the device: the loader's batches, without its workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lewel.config import Data, View
from lewel.console import Console
from lewel.data import crops, finishing, loader, resident, tensors
from lewel.data.draws import draw
from lewel.data.executor import Executor
from lewel.data.folder import Files
from lewel.data.images import Pixels, Source, open_images
from lewel.errors import UserError
from lewel.prepare.commands import pack
from lewel.shapes import Batch

CPU = torch.device("cpu")
STRONG = View(scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), gray=0.3, blur=0.5, solarize=0.4, vertical_flip=0.3)
DATA = Data(image_size=24, views=(View(blur=1.0), STRONG), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
BATCH, SEED = 6, 7


def in_memory(n: int = 22, side: int = 24) -> Pixels:
    rng = np.random.default_rng(0)
    return Pixels("memory", rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 good images of 24 x 20 pixels and three bad ones, one of which comes first."""
    rng = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / f"{number:02}.png")
    (tmp_path / "00-first.jpg").write_bytes(b"")
    (tmp_path / "a-cut.png").write_bytes((tmp_path / "00.png").read_bytes()[:500])
    (tmp_path / "b\n.jpg").write_text("no picture")
    return tmp_path


def run(images: Source, start: int = 0, stop: int = 9, data: Data = DATA, **more) -> list[Batch]:
    held = resident.hold(images, data, CPU)
    return list(resident.from_anywhere(held, data, BATCH, SEED, start, stop, geometry=True, **more))


def loaded(images: Source, executor: str, data: Data = DATA) -> list[Batch]:
    return list(loader.batches(images, data, BATCH, SEED, 0, 9, executor=Executor(executor), geometry=True))


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    """Order, replacements, geometry and pixels, and the pixels' place in memory."""
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert torch.equal(our.indices, their.indices) and our.skipped == their.skipped
        for one, two in zip(our.views, their.views, strict=True):
            for left, right in zip(one, two, strict=True):
                assert left is not None and right is not None
                assert left.dtype == right.dtype and left.stride() == right.stride() and torch.equal(left, right)


# -- held


def test_images_at_a_url_are_fetched_together(folder: Path, tmp_path_factory, monkeypatch) -> None:
    """One request for a chunk; the empty file needs none."""
    shards, url = tmp_path_factory.mktemp("packed") / "shards", "memory://resident"
    pack(str(folder), shards, 1e6, 1, Console(quiet=True))
    for path in shards.iterdir():
        fsspec.filesystem("memory").pipe_file(f"{url}/{path.name}", path.read_bytes())
    images, calls, real = open_images(url), [], MemoryFileSystem.cat_ranges

    def counted(self, paths, *rest, **more):
        calls.append(len(paths))
        return real(self, paths, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", counted)
    monkeypatch.setattr(resident, "CHUNK", 10)
    ours, theirs = resident.hold(images, DATA, CPU), resident.hold(open_images(folder), DATA, CPU)
    assert torch.equal(ours.columns, theirs.columns) and list(ours.unreadable) == list(theirs.unreadable)
    assert [count for count in calls if count > 1] == [9, 10, 3] and calls.count(1) == 1  # one for the size of all


# -- the loader's batches


def test_batches_are_the_loaders_with_pillow_bit_for_bit() -> None:
    """Three epochs."""
    assert_equal(run(in_memory()), loaded(in_memory(), "pillow"))


def test_unreadable_images_are_replaced_and_named_alike(folder: Path) -> None:
    found = run(open_images(folder))
    assert_equal(found, loaded(open_images(folder), "pillow"))
    assert len({skip for batch in found for skip in batch.skipped}) == 3


@pytest.mark.parametrize(("side", "levels"), [(24, 0), (40, 2)])
def test_batches_are_the_loaders_with_tensors_to_single_levels(side: int, levels: int) -> None:
    """Of the crop, as in test_crops.py; colours may stretch them, so they are left out here."""
    plain = replace(STRONG, jitter_probability=0.0, gray=0.0, blur=0.0, solarize=0.0)
    data = replace(DATA, views=(plain, plain), mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    differing = []
    for ours, theirs in zip(
        run(in_memory(side=side), data=data), loaded(in_memory(side=side), "tensor", data), strict=True
    ):
        assert torch.equal(ours.indices, theirs.indices)
        for our, their in zip(ours.views, theirs.views, strict=True):
            assert torch.equal(our.geometry, their.geometry)
            difference = (our.pixels - their.pixels).abs()
            assert difference.max() < levels + 0.01
            differing.append((difference > 0.5).float().mean())
    assert torch.stack(differing).mean() < 0.02


def test_starting_later_is_the_same_stream(folder: Path) -> None:
    whole = run(open_images(folder))
    for start in (1, 4, 9):
        assert_equal(run(open_images(folder), start), whole[start:])


def test_ranks_share_the_batch(folder: Path) -> None:
    whole = run(open_images(folder))
    parts = [run(open_images(folder), rank=rank, world=2) for rank in range(2)]
    for step, batch in enumerate(whole):
        assert torch.cat([part[step].indices for part in parts]).equal(batch.indices)
        assert parts[0][step].skipped + parts[1][step].skipped == batch.skipped
        for number, view in enumerate(batch.views):
            assert torch.cat([part[step].views[number].pixels for part in parts]).equal(view.pixels)


def test_more_images_than_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    expected = resident.hold(open_images(folder), DATA, CPU)
    monkeypatch.setattr(resident, "CHUNK", 5)
    for images in (open_images(folder), in_memory()):
        held = resident.hold(images, DATA, CPU)
        assert len(held.columns) == len(images)
        if isinstance(images, Files):
            assert torch.equal(held.columns, expected.columns) and held.unreadable == expected.unreadable


@pytest.mark.slow
def test_compiled_is_the_same() -> None:
    assert_equal(run(in_memory(), stop=3, executor=Executor("resident", compiled=True)), run(in_memory(), stop=3))


def test_nothing_waits_for_the_device() -> None:
    """Tensors without values: whatever asks for one, .item(), bool() or a mask of rows, raises."""
    drawn = draw(STRONG, (24, 24), 0, 0, range(40), 0)
    filters, held = crops.filters(24, 24, CPU), resident.hold(in_memory(40), DATA, CPU)
    geometry = torch.from_numpy(resident._cropped(drawn, list(range(40)), filters))
    steps, *rest = drawn.colours(2.0)
    constants = finishing.Normalise(DATA.mean, DATA.std, CPU)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        columns, geometry, *rest = (fake.from_tensor(each) for each in (held.columns, geometry, *rest))
        cut = crops.resized(columns, geometry, crops.Filters(*(fake.from_tensor(each) for each in filters)))
        coloured = tensors._step_by_step(cut, tensors.Colours(steps, *rest), compiled=False)  # as on a GPU
        views = tensors.normalised(coloured, constants.mean, constants.std)
        assert views.shape == (40, 3, 24, 24)
        with pytest.raises(DataDependentOutputException):
            views.max().item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nothing_waits_for_a_gpu_either() -> None:
    """And its crops are the CPU's; they are integers."""
    gpu = torch.device("cuda")
    plain = replace(DATA, views=(replace(STRONG, jitter_probability=0.0, gray=0.0, blur=0.0),) * 2)
    for data in (DATA, plain):
        source = resident.from_anywhere(resident.hold(in_memory(), data, gpu), data, BATCH, SEED, 0, 3)
        found = [next(source)]
        torch.cuda.set_sync_debug_mode("error")
        try:
            found += list(source)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for ours, theirs in zip(found, run(in_memory(), 0, 3, plain), strict=True):
        for our, their in zip(ours.views, theirs.views, strict=True):
            assert torch.allclose(our.pixels.cpu(), their.pixels, atol=1e-5)


# -- mistakes


def test_images_of_several_sizes(folder: Path) -> None:
    Image.new("RGB", (24, 21)).save(folder / "15.png")
    with pytest.raises(
        UserError, match=r"one size: .*15.png has 24 x 21 pixels, the first one 24 x 20; use --executor"
    ):
        run(open_images(folder))


def test_images_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"22 images of 24 x 24 pixels take 0.0 GB, cpu has room for 0.0; use --exec"):
        resident.hold(in_memory(), DATA, CPU, limit=22 * 24 * 24 * 3 - 1)
    assert len(resident.hold(in_memory(), DATA, CPU, limit=22 * 24 * 24 * 3).columns) == 22
    monkeypatch.setattr(resident, "_free_bytes", lambda device: 1000.0)
    with pytest.raises(UserError, match="has room for"):
        resident.hold(in_memory(), DATA, CPU)


def test_views_that_are_rotated() -> None:
    with pytest.raises(UserError, match=r"cannot rotate \(the recipe: 10 degrees\); use --executor pillow or tensor"):
        run(in_memory(), data=replace(DATA, views=(View(), View(rotation=10.0))))


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"none of the 3 images can be read, the last is .*2.jpg: empty file; check --d"
    ):
        run(open_images(tmp_path))


def test_batches_that_do_not_fit() -> None:
    held = resident.hold(in_memory(), DATA, CPU)
    with pytest.raises(UserError, match="--batch-size 23 for 22 images"):
        resident.from_anywhere(held, DATA, 23, 0, 0, 1)
    with pytest.raises(UserError, match="not a multiple of the 4 processes"):
        resident.from_anywhere(held, DATA, 6, 0, 0, 1, world=4)
