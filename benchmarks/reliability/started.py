"""Processes of `lewel`, started, watched and ended. Linux only: sessions are read from /proc.

A cold start is `python -m lewel`. A warm one is a fork of this process, which has imported everything already, and runs
the same `main()`: imports take most of a short run's life, and nothing is written meanwhile.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

SOURCE = Path(__file__).parents[2] / "src"
LONGEST_S = 900.0  # at most, for a command


class Started:
    """One process of lewel, the leader of a session of its own; what it prints goes to the file `log`."""

    def __init__(self, arguments: Sequence[object], log: Path, temporary: Path, warm: bool, rank: dict[str, str]):
        self.log, self.began = log, time.monotonic()
        words = [str(word) for word in arguments]
        variables = {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), **rank}
        self.pid = _fork(words, log, variables) if warm else _spawn(words, log, variables)
        self._status: int | None = None

    def status(self) -> int | None:
        """Exit code, minus the signal that killed it, or None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def wait(self, seconds: float) -> int:
        """Its exit code. Raises TimeoutError, after it was killed."""
        end = time.monotonic() + seconds
        while self.status() is None:
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"still running after {seconds:g} s; see {self.log}")
            time.sleep(0.005)
        return self._status if self._status is not None else 0

    def send(self, number: int, to_group: bool = False) -> None:
        if self.status() is None:
            with suppress(ProcessLookupError):  # it has just ended
                (os.killpg if to_group else os.kill)(self.pid, number)

    def others(self) -> list[int]:
        """Processes of its session beside it, such as data workers."""
        return [pid for pid in _pids() if pid != self.pid and _session(pid) == self.pid]


def start(
    arguments: Sequence[object], log: Path, temporary: Path, warm: bool = True, processes: int = 1
) -> list[Started]:
    """The command, in so many processes that find each other. Output is appended to `log`, each rank's to its own."""
    temporary.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        return [Started(arguments, log, temporary, warm, {})]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        Started(
            arguments, log.with_suffix(f".{rank}.log"), temporary, warm,
            common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]  # fmt: skip


def must_end(processes: Sequence[Started], what: str, seconds: float = LONGEST_S) -> None:
    """Wait for them. Raises SystemExit where one does not end with 0: without it nothing can be compared."""
    if any(each.wait(seconds) for each in processes):
        raise SystemExit(f"{what} failed; see {processes[0].log}")


def preload() -> None:
    """Import what lewel's commands use, so that warm starts need not."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(SOURCE))
    import lewel.evaluate.evaluation
    import lewel.pretrain  # noqa: F401


def _fork(words: list[str], log: Path, variables: dict[str, str]) -> int:
    pid = os.fork()
    if pid == 0:
        _be_lewel(words, log, variables)
    return pid


def _be_lewel(words: list[str], log: Path, variables: dict[str, str]) -> NoReturn:
    """In the forked process: what the interpreter does around `main()`."""
    code = 1
    try:
        os.setsid()
        with open(log, "ab", buffering=0) as file, open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(variables)
        os.environ.pop("COLUMNS", None)
        sys.argv = ["lewel", *words]
        from lewel import cli

        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _spawn(words: list[str], log: Path, variables: dict[str, str]) -> int:
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "lewel", *words],
            env=os.environ | {"PYTHONPATH": str(SOURCE)} | variables,
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    process.returncode = 0  # `Started` waits for it
    return process.pid


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session(pid: int) -> int | None:
    """The session of a process; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[3])
