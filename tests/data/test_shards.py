"""Images out of shards, on a disk or at a URL: those of the folder, all of a batch at once, and never silent damage."""

from __future__ import annotations

import functools
import http.server
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from lewel.config import Data, View
from lewel.console import Console
from lewel.data import remote, sample, shards, workers
from lewel.data.decode import DecodeError
from lewel.data.images import Source, evenly, is_divided, open_images, relabelled
from lewel.data.loader import batches, evaluation_batches
from lewel.data.shards import Shards
from lewel.errors import UserError
from lewel.prepare.commands import pack
from lewel.shapes import Batch

DATA = Data(16, (View(), View()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """22 + 4 images; one of the first is damaged and one empty."""
    root, rng = tmp_path_factory.mktemp("images") / "data", np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 4)):
        for number in range(count):
            path = root / part / "abcd"[number % 4] / f"{number:02}.{'png' if number % 2 else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (24, 20 + number, 3), dtype=np.uint8)).save(path)
    (root / "train/a/damaged.jpg").write_bytes((root / "train/a/00.jpg").read_bytes()[:300])
    (root / "train/b/empty.jpg").write_bytes(b"")
    return root


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    pack(str(folder), tmp_path / "shards", 10240, 2, Console(quiet=True))
    assert len(list((tmp_path / "shards").glob("train-*.tar"))) > 2
    return tmp_path / "shards"


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files, by byte ranges too, as an object store gives them. `broken` answers are errors, then all is well."""

    broken = 0
    asked: tuple[str, ...] = ()

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).asked += (f"{self.path} {wanted}",)
        path = Path(self.translate_path(self.path))
        if type(self).broken > 0 and wanted:
            type(self).broken -= 1
            self.send_error(503)
            return
        if not wanted or not path.is_file():
            return super().do_GET()
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        data = path.read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(packed: Path) -> Iterator[str]:
    Ranges.broken, Ranges.asked = 0, ()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranges, directory=str(packed))) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.fixture
def memory(packed: Path, tmp_path: Path) -> str:
    system, url = fsspec.filesystem("memory"), f"memory:/{tmp_path}"
    for path in packed.iterdir():
        system.pipe_file(f"{url}/{path.name}", path.read_bytes())
    return url


def run(images: Source, start: int = 0, stop: int = 6, **more) -> list[Batch]:
    return list(batches(images, DATA, 6, 7, start, stop, **more))


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(a.indices, b.indices)
        and [each.reason for each in a.skipped] == [each.reason for each in b.skipped]
        and all(torch.equal(x.pixels, y.pixels) for x, y in zip(a.views, b.views, strict=True))
        for a, b in zip(ours, theirs, strict=True)
    )


# -- the same as the folder


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_sees_what_it_sees_on_the_folder(folder: Path, packed: Path, workers: int) -> None:
    ours, theirs = open_images(packed), open_images(folder)
    assert isinstance(ours, Shards) and ours.digest() == theirs.digest()
    expected = run(theirs)  # two epochs, in which both bad images are met
    assert len({each.reason for batch in expected for each in batch.skipped}) == 2
    assert same(run(ours, workers=workers), expected)
    assert same(run(ours, 3, workers=workers), expected[3:])


@pytest.mark.parametrize("kind", ["server", "memory"])
def test_a_url_gives_the_same(folder: Path, kind: str, request) -> None:
    url = request.getfixturevalue(kind)
    for data in (url, f"{url}/", f"{url}/shards.safetensors"):
        assert is_divided(data)
        assert list(open_images(data, "val").names) == list(open_images(folder, "val").names)
    ours, theirs = open_images(url), open_images(folder)
    expected = run(theirs)
    for count in (0, 2):
        assert same(run(ours, workers=count), expected)
    found = list(evaluation_batches(open_images(url, "val"), 16, 3))
    assert same(found, list(evaluation_batches(open_images(folder, "val"), 16, 3)))


def test_the_ranges_of_a_batch_are_fetched_together(memory: str, monkeypatch) -> None:
    images, calls, real = open_images(memory), [], MemoryFileSystem.cat_ranges

    def counted(self, paths, *rest, **more):
        calls.append(len(paths))
        return real(self, paths, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", counted)
    expected = [6 - ("empty file" in [each.reason for each in batch.skipped]) for batch in run(images, 0, 3)]
    assert [count for count in calls if count > 1] == expected  # an empty file needs no request, a replacement one


def test_parts_and_other_labels(folder: Path, packed: Path) -> None:
    ours, theirs = (evenly(open_images(data), 5) for data in (packed, folder))
    assert list(ours.names) == list(theirs.names) and ours.labels.tolist() == theirs.labels.tolist()
    assert [ours.raw([i]) for i in range(5)] == [[Path(theirs.file(i)).read_bytes()] for i in range(5)]
    assert relabelled(ours, ["x", "a", "b", "c", "d"]).labels.tolist() == [label + 1 for label in theirs.labels]
    assert pickle.loads(pickle.dumps(ours)).raw([4]) == ours.raw([4])


def test_many_shards_are_not_all_kept_open(packed: Path, monkeypatch) -> None:
    monkeypatch.setattr(shards, "_opened", functools.lru_cache(1)(shards._Open))
    images, before = open_images(packed), len(os.listdir("/proc/self/fd"))
    for index in range(len(images)):
        images.raw([index])
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_threads_share_an_open_shard_where_the_system_has_one_position(tmp_path: Path, monkeypatch) -> None:
    """As on Windows: two calls for one read, and any thread may come in between."""
    contents = bytes(range(256)) * 16
    (tmp_path / "shard").write_bytes(contents)
    seek = os.lseek

    def slowly(*arguments: int) -> None:
        seek(*arguments)
        time.sleep(1e-4)

    monkeypatch.delattr(os, "pread")
    monkeypatch.setattr(os, "lseek", slowly)
    shard = shards._Open(str(tmp_path / "shard"))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: shard.read(start, start + 100), range(0, 4000, 37)))
    assert found == [contents[start : start + 100] for start in range(0, 4000, 37)]


# -- damage


def test_a_shard_that_is_cut_or_missing_is_named_at_the_start(packed: Path) -> None:
    shard = packed / "train-000001.tar"
    whole = shard.read_bytes()
    os.truncate(shard, len(whole) - 1)
    with pytest.raises(
        UserError, match=rf"train-000001\.tar has {len(whole) - 1} bytes, not {len(whole)}; copy it again"
    ):
        open_images(packed)
    assert len(open_images(packed, "val")) == 4  # of which no shard is damaged
    shard.unlink()
    with pytest.raises(UserError, match=r"train-000001\.tar: no such file or directory; copy it again"):
        open_images(packed)


def test_a_shard_that_is_cut_or_missing_at_a_url(memory: str, packed: Path) -> None:
    system, shard = fsspec.filesystem("memory"), f"{memory}/train-000001.tar"
    system.pipe_file(shard, b"short")
    with pytest.raises(UserError, match=r"train-000001\.tar has 5 bytes, not"):
        open_images(memory)
    system.rm(shard)
    with pytest.raises(UserError, match=r"train-000001\.tar: no such file"):
        open_images(memory)
    with pytest.raises(UserError, match=r"^--data memory://nowhere/shards\.safetensors: no such file; check the"):
        open_images("memory://nowhere")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damage_while_a_run_reads_ends_it(packed: Path, workers: int, damage: str) -> None:
    images = open_images(packed)
    for shard in packed.glob("train-*.tar"):
        if damage == "cut":
            os.truncate(shard, 600)
        else:  # one bit of a picture, which most decoders would show
            index = next(i for i in range(len(images)) if images.path(i).startswith(f"{shard}#"))
            with open(shard, "r+b") as file:
                file.seek(int(images.layout.start[index]) + 90)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 1]))
    said = r"has \d+ bytes, not" if damage == "cut" else "is not what was packed"
    with pytest.raises(
        UserError, match=rf"train-\d+\.tar is damaged: ./.* at byte \d+ {said}.*; copy it again, or delete"
    ):
        run(images, 0, 3, workers=workers)


def test_a_picture_that_was_damaged_before_it_was_packed_is_skipped(packed: Path) -> None:
    images = open_images(packed)
    index = list(images.names).index("a/damaged.jpg")
    with pytest.raises(DecodeError, match=r"train-000001\.tar#a/damaged\.jpg: damaged"):
        images.read(index)


def test_a_server_that_fails_now_and_then_is_asked_again(server: str, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_S", 0.01)
    images = open_images(server)
    Ranges.broken = 2
    assert images.raw([3])[0] == Path(open_images(folder).file(3)).read_bytes()
    Ranges.broken = 1000
    with pytest.raises(UserError, match=r"^--data http://.*/train-00000\d\.tar: .*503.*; 3 tries; see whether"):
        images.raw([3])
    assert Ranges.broken == 1000 - remote.TRIES


def test_a_server_that_does_not_answer(memory: str, monkeypatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_S", 0.01)
    monkeypatch.setattr(remote, "TIMEOUT_S", 0.1)
    images = open_images(memory)
    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", lambda *_, **__: time.sleep(5))
    began = time.monotonic()
    with pytest.raises(UserError, match=r"^--data memory:.*train-00000\d\.tar: no answer in time; 3 tries; see"):
        images.raw([0, 1])
    assert time.monotonic() - began < 2


def test_a_worker_may_wait_for_all_tries() -> None:
    """Else a server that does not answer would show as a worker that is stuck."""
    assert workers.TIMEOUT_S > remote.TRIES * (remote.TIMEOUT_S + remote.PAUSE_S)


def test_a_server_without_ranges_is_an_error(packed: Path, monkeypatch) -> None:
    handler = functools.partial(QuietFiles, directory=str(packed))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        images = open_images(f"http://127.0.0.1:{serving.server_port}")
        with pytest.raises(UserError, match=r"has \d+ bytes, not \d+"):
            images.raw([0])
        serving.shutdown()


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_protocol_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"^--data nowhere://bucket/.*: Protocol not known: nowhere; allowed are s3://"):
        open_images("nowhere://bucket")


@pytest.mark.parametrize(("url", "package"), [("s3://bucket", "s3fs"), ("https://host/folder", "aiohttp")])
def test_a_package_that_is_not_there(url: str, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from lewel.data import images; images.open_images({url!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = done.stderr.splitlines()[-1]
    assert re.fullmatch(rf"lewel\.errors\.UserError: --data {url}/.*{package}.*; pip install 'lewel\[remote\]'", said)


def test_the_sample_of_the_contents_is_that_of_the_folder(folder: Path, packed: Path) -> None:
    assert sample.digest(open_images(packed)) == sample.digest(open_images(folder))
