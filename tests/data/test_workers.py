"""Workers that are killed, stopped or stuck: noticed, named, replaced, the same batches; and no process is left."""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import inspect
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lewel import config, parallel
from lewel.data import serving, workers
from lewel.data.loader import batches, evaluation_batches
from lewel.data.workers import default_workers, work
from lewel.errors import UserError
from lewel.shapes import Batch

DATA = config.Data(16, (config.View(), config.View()))
LARGE = config.Data(160, (config.View(), config.View()))  # a batch of 8 is 1.2 MB: more than a socket holds
CPU = torch.device("cpu")
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@dataclass(frozen=True)
class Trouble:
    """64 images; reading number 40 does something to the worker, the first `times` times (counted in `folder`)."""

    what: str
    folder: Path
    times: int = 1
    labels = None
    classes = None
    notes = ()
    unlabelled = "a test's"

    def __len__(self) -> int:
        return 64

    def path(self, index: int) -> str:
        return f"image {index}"

    def read(self, index: int) -> Image.Image:
        if index == 40 and self.what and len(list(self.folder.iterdir())) < self.times:
            (self.folder / str(os.getpid())).touch()
            self._trouble()
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8))

    def rgbx(self, index: int) -> np.ndarray:
        return np.array(self.read(index).convert("RGBX"))

    def _trouble(self) -> None:
        if self.what == "bug":
            raise RuntimeError("an error of the program")
        if self.what == "odd bug":
            raise OddError(1, 2)
        if self.what == "busy":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes in one call of C code
        if self.what == "hang":
            time.sleep(1000)
        if self.what == "exit":
            os._exit(3)
        faulthandler.disable()  # pytest's would print its stack
        os.kill(os.getpid(), getattr(signal, self.what))


class OddError(Exception):
    """An exception that no other process can rebuild."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


@pytest.fixture(autouse=True)
def no_process_and_no_thread_is_left() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()
    assert "lewel-receiver" not in [thread.name for thread in threading.enumerate()]


def stream(images: Trouble, stop: int = 16, data: config.Data = DATA, workers: int = 2, **more) -> Iterator[Batch]:
    return batches(images, data, 8, 0, 0, stop, workers=workers, geometry=True, **more)


def all_equal(ones: list[Batch], others: list[Batch]) -> bool:
    pairs = [
        (a, b) for one, other in zip(ones, others, strict=True) for a, b in zip(one.views, other.views, strict=True)
    ]
    return all(a.pixels.equal(b.pixels) and a.geometry.equal(b.geometry) for a, b in pairs)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [re.sub(r"data worker \d+", "data worker N", r.message) for r in caplog.records if r.levelno >= 30]


# -- replaced

REPLACED = {
    "SIGKILL": r"was killed by signal 9 \(Killed\)",
    "SIGSEGV": r"was killed by signal 11 \(Segmentation fault\)",
    "SIGBUS": r"was killed by signal 7 \(Bus error\)",
    "SIGSTOP": "did nothing for 0.5 s",
    "hang": "did nothing for 0.5 s",
    "exit": "ended with exit code 3",
}


@linux
@pytest.mark.parametrize("what", REPLACED)
def test_another_worker_gives_the_same_batches(what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start = time.monotonic()
    assert all_equal(
        list(stream(Trouble(what, tmp_path), timeout_s=0.5)), list(stream(Trouble("", tmp_path), workers=0))
    )
    assert time.monotonic() - start < 60
    expected = rf"data worker N {REPLACED[what]} while reading image 40; another one does its work again"
    assert len(warnings(caplog)) == 1 and re.fullmatch(expected, warnings(caplog)[0])


def test_evaluation_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = list(evaluation_batches(Trouble("SIGKILL", tmp_path), 16, 8, 1))
    whole = list(evaluation_batches(Trouble("", tmp_path), 16, 8))
    assert all(a.views[0].pixels.equal(b.views[0].pixels) for a, b in zip(found, whole, strict=True))
    assert len(warnings(caplog)) == 1


@linux
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_an_end_in_the_middle_of_an_answer(name: str, tmp_path: Path, monkeypatch, caplog) -> None:
    receive, struck = workers._Process.receive, []

    def late(self: workers._Process) -> serving.Answer:
        if not struck:
            struck.append(time.sleep(0.3))  # a socket holds the answer's beginning
            os.kill(self.process.pid or 0, getattr(signal, name))
        return receive(self)

    whole = list(stream(Trouble("", tmp_path), stop=6, data=LARGE, workers=0))
    monkeypatch.setattr(workers._Process, "receive", late)
    assert all_equal(list(stream(Trouble("", tmp_path), stop=6, data=LARGE, timeout_s=0.5)), whole)
    assert len(warnings(caplog)) == 1


@linux
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_all_workers_at_once_while_nothing_is_asked_for(name: str, tmp_path: Path, caplog) -> None:
    source, found = stream(Trouble("", tmp_path), timeout_s=0.5), []
    for batch in source:
        found.append(batch)
        if len(found) in (3, 10):
            time.sleep(0.3)
            for worker in multiprocessing.active_children():
                os.kill(worker.pid or 0, getattr(signal, name))
    assert all_equal(found, list(stream(Trouble("", tmp_path), workers=0)))
    assert len(warnings(caplog)) == 4


def test_nothing_is_raised_outside_the_loader(tmp_path: Path) -> None:
    """A worker may die in the middle of a training step; the step does not hear of it."""
    source = stream(Trouble("", tmp_path), workers=1)
    next(source)
    multiprocessing.active_children()[0].kill()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        torch.ones(3).sum()
    assert len(list(source)) == 15


@pytest.mark.slow
@linux
def test_a_stop_of_the_whole_group_is_no_time_without_answers(tmp_path: Path) -> None:
    """Ctrl-Z, and fg after longer than the time-out."""
    code = f"""
import logging, sys, time, torch
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_workers import Trouble, stream
logging.basicConfig()
for number, batch in enumerate(stream(Trouble("", Path({str(tmp_path)!r})), stop=40, timeout_s=1)):
    print(number, flush=True)
    time.sleep(0.02)
"""
    process = started(code, process_group=0)
    assert process.stdout is not None
    while process.stdout.readline() != "5\n":
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGCONT)
    said, errors = process.communicate(timeout=60)
    assert said.endswith("39\n") and errors == "" and process.returncode == 0


@pytest.mark.slow
@linux
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_other_ways_to_start_a_process(method: str, tmp_path: Path) -> None:
    (tmp_path / "count").mkdir()
    file = tmp_path / "run.py"
    file.write_text(f"""
import logging, multiprocessing, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_workers import Trouble, all_equal, stream
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    logging.basicConfig()
    folder = Path({str(tmp_path / "count")!r})
    whole = list(stream(Trouble("", folder), workers=0))
    assert all_equal(list(stream(Trouble("SIGKILL", folder), workers=1)), whole)
""")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(".* was killed by signal 9 .*\n", done.stderr)


# -- given up


@linux
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("SIGKILL", r"killed by signal 9 \(Killed\) while reading image 40, the last of 3 in a row; .*fewer --workers"),
        ("SIGSEGV", r"\(Segmentation fault\) while reading image 40, the last of 3 in a row; try without this image"),
        ("hang", r"did nothing for 0.3 s while reading image 40, the last of 3 in a row; see whether the disk"),
    ],
)
def test_again_and_again(what: str, expected: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        list(stream(Trouble(what, tmp_path, times=9), timeout_s=0.3))
    assert len(list(tmp_path.iterdir())) == workers.TRIES and len(warnings(caplog)) == workers.TRIES - 1
    assert "\n" not in str(caught.value)


@linux
def test_an_image_that_takes_too_long_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By CPU time, in the middle of C code; the other images of its batch are as they would be, and no try is lost."""
    monkeypatch.setenv("LEWEL_IMAGE_SECONDS", "0.1")
    found = list(stream(Trouble("busy", tmp_path, times=9)))
    wanted = list(stream(Trouble("", tmp_path)))
    assert len(list(tmp_path.iterdir())) == len(warnings(caplog)) <= 2  # one of each worker's, at most
    reason = "takes more than 0.2 s of CPU time to decode, 2 x LEWEL_IMAGE_SECONDS"
    assert [skip for batch in found for skip in batch.skipped] == [("image 40", reason)] * 2  # epochs
    for ours, theirs in zip(found, wanted, strict=True):
        same = ours.indices == theirs.indices
        assert 40 not in ours.indices and same.sum() >= len(same) - 1
        assert (ours.views[0].pixels[same] == theirs.views[0].pixels[same]).all()


def test_other_processes_wait_longer_than_the_tries_take() -> None:
    default = inspect.signature(parallel.start).parameters["timeout_s"].default
    assert default > workers.TRIES * (workers.TIMEOUT_S + 30)


def test_no_process_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.Process, "start", refused)
    with pytest.raises(UserError, match=r"no data worker can be started \(Resource temporarily unavailable\)"):
        next(stream(Trouble("", tmp_path)))


def test_errors_of_the_program_stay_errors_of_the_program(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="an error of the program") as caught:
        list(stream(Trouble("bug", tmp_path)))
    assert "_trouble" in caught.value.__notes__[0]  # where it was raised
    with pytest.raises(RuntimeError, match=r"(?s)_trouble.*OddError: 1 2"):
        list(stream(Trouble("odd bug", tmp_path, times=2)))


def test_what_came_before_an_error_is_had_first(tmp_path: Path) -> None:
    """Order 2 ends in an error long before its turn."""
    source = work(Numbers(error=2), [(0, [number]) for number in range(9)], 1, CPU)
    assert next(source).indices.tolist() == [0]
    time.sleep(0.3)
    assert next(source).indices.tolist() == [1]
    with pytest.raises(RuntimeError, match="order 2"):
        next(source)


# -- ahead


@dataclass
class Numbers(serving.Views):
    """Answers that are their orders, of 4 MB each."""

    images: Trouble = Trouble("", Path())
    error: int = -1

    def __getitem__(self, order: serving.Order) -> serving.Drawn:
        if order[1][0] == self.error:
            raise RuntimeError(f"order {order[1][0]}")
        pixels = torch.zeros(1, 1, 1024, 1024, 4, dtype=torch.uint8)
        return serving.Drawn(pixels, (), None, torch.tensor(order[1]), [])


class Asked:
    """Orders without an end, and how many were taken."""

    count = 0

    def __iter__(self) -> Iterator[serving.Order]:
        while True:
            self.count += 1
            yield 0, [self.count - 1]


@pytest.mark.parametrize("count", [1, 3])
def test_the_answers_ahead_are_received_before_they_are_asked_for(count: int, monkeypatch) -> None:
    """So many and no more; then taking them is no work."""
    received: list[int] = []
    receive = workers._Process.receive

    def counted(self: workers._Process) -> serving.Answer:
        answer = receive(self)
        received.append(threading.get_ident())
        return answer

    monkeypatch.setattr(workers._Process, "receive", counted)
    orders = Asked()
    source = work(Numbers(), orders, count, CPU)
    for turn in range(3):
        assert next(source).indices.tolist() == [turn]
        wait_until(lambda turn=turn: len(received) == turn + 1 + workers.AHEAD * count)
    time.sleep(0.2)
    assert len(received) == orders.count == 3 + workers.AHEAD * count
    assert set(received).isdisjoint({threading.get_ident()})
    source.close()


def test_a_slow_consumer_is_no_stuck_worker(caplog: pytest.LogCaptureFixture) -> None:
    source = work(Numbers(), [(0, [number]) for number in range(7)], 2, CPU, timeout_s=0.2)
    for turn, drawn in enumerate(source):
        assert drawn.indices.tolist() == [turn]
        if turn < 2:
            time.sleep(1)
    assert turn == 6 and not warnings(caplog)


def test_an_error_of_the_orders_is_raised() -> None:
    def orders() -> Iterator[serving.Order]:
        yield 0, [0]
        raise RuntimeError("no more")

    source = work(Numbers(), orders(), 1, CPU)
    with pytest.raises(RuntimeError, match="no more"):
        list(source)


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


# -- in order


@linux
def test_nothing_lies_in_shared_memory(tmp_path: Path) -> None:
    """Containers keep /dev/shm small. Only the page that says which image is read is shared; a batch is 1.2 MB."""
    before = shared_kb()
    for _ in stream(Trouble("", tmp_path), data=LARGE, stop=4):
        assert shared_kb() - before <= 64


def shared_kb() -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssShmem"].split()[0])


@dataclass
class Collections(serving.Views):
    """Answers how many kB of its own a worker has more after a collection."""

    images: Trouble = Trouble("", Path())
    collects: bool = True

    def __getitem__(self, order: serving.Order) -> serving.Drawn:
        before = private_kb()
        if self.collects:
            gc.collect()
        pixels = torch.zeros(1, 1, 1, 1, 4, dtype=torch.uint8)
        return serving.Drawn(pixels, (), None, torch.tensor([private_kb() - before]), [])


@linux
@pytest.mark.parametrize("where", ["worker", "parent"])
def test_collections_copy_no_pages(where: str) -> None:
    """Of 400,000 lists, 32 MB, which the parent made before the workers."""
    lists = [[number] for number in range(400_000)]
    source = work(Collections(collects=where == "worker"), [(0, [0])] * 9, 1, CPU)
    grown = [next(source).indices.item()]
    before = private_kb()
    if where == "parent":
        gc.collect()
        grown.append(private_kb() - before)
    source.close()
    assert max(grown) < 8000 and len(lists) == 400_000


def test_the_collector_sees_everything_again_once_no_pool_runs() -> None:
    before = gc.get_freeze_count()
    one, two = (work(Numbers(), [(0, [0])] * 9, 1, CPU) for _ in range(2))
    next(one), next(two), one.close()
    assert gc.get_freeze_count() > before
    two.close()
    assert gc.get_freeze_count() == before
    gc.freeze()
    try:
        three = work(Numbers(), [(0, [0])] * 9, 1, CPU)
        next(three), three.close()
        assert gc.get_freeze_count() > before  # the program's own
    finally:
        gc.unfreeze()


def private_kb() -> int:
    lines = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == "Private_Dirty:")


def test_workers_leave_signals_to_the_parent(tmp_path: Path) -> None:
    source = stream(Trouble("", tmp_path), workers=1)
    next(source)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(worker.pid or 0, number)
    time.sleep(0.2)
    assert worker.is_alive()
    source.close()  # type: ignore[attr-defined]


def test_the_same_workers_serve_all_epochs(tmp_path: Path) -> None:
    seen = set()
    for _ in stream(Trouble("", tmp_path), stop=24):
        seen |= {child.pid for child in multiprocessing.active_children()}
    assert len(seen) == 2


def started(code: str, **more) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, **more)


@linux
@pytest.mark.parametrize("end", ["kill", "exit"])
def test_workers_end_with_the_main_process(end: str, tmp_path: Path) -> None:
    """Killed, or at its end with a loader still open in a variable; two streams, so that forks know of each other."""
    code = f"""
import multiprocessing, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_workers import LARGE, Trouble, stream
sources = [stream(Trouble("", Path({str(tmp_path)!r})), data=LARGE) for _ in range(2)]
for source in sources:
    next(source)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
time.sleep({100 if end == "kill" else 0})
"""
    process = started(code)
    assert process.stdout is not None
    children = [int(word) for word in process.stdout.readline().split()]
    assert len(children) == 4
    if end == "kill":
        process.kill()
    _, errors = process.communicate(timeout=30)  # the pipes close with the last worker
    assert errors == ""
    until = time.monotonic() + 5
    while any(map(alive, children)):
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("device", "mine", "all_cores", "processes", "expected"),
    [("cpu", 8, 8, 1, 1), ("cuda", 8, 8, 1, 8), ("cuda", 64, 64, 2, 16), ("cuda", 8, 8, 4, 2), ("cuda", 8, 64, 4, 8),
     ("cuda", 2, 2, 4, 1)],
)  # fmt: skip
def test_default_workers(
    device: str, mine: int, all_cores: int, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One beside a CPU that trains; a share of a machine's cores, or all of the cores that are this process's own."""
    monkeypatch.setattr(parallel, "cores", lambda: mine)
    monkeypatch.setattr(parallel, "processes_here", lambda: processes)
    monkeypatch.setattr(os, "cpu_count", lambda: all_cores)
    assert default_workers(torch.device(device)) == expected
