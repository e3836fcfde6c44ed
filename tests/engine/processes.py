"""Runs of `toy.py` in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import lewel.errors

TOY = Path(__file__).with_name("toy.py")
SOURCE = Path(lewel.errors.__file__).parents[1]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{SOURCE}{os.pathsep}{TOY.parent}"}


def start(*arguments: object, world: int = 1, code: str = "") -> list[subprocess.Popen[str]]:
    """Start toy.py with arguments, or some code, in `world` processes that find each other."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    started = []
    for rank in range(world):
        environment = dict(ENVIRONMENT)
        if world > 1:
            names = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "MASTER_PORT": port}
            environment |= {"MASTER_ADDR": "127.0.0.1"} | {name: str(value) for name, value in names.items()}
        command = [sys.executable, *(["-c", textwrap.dedent(code)] if code else [str(TOY)]), *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    return started


def finish(started: list[subprocess.Popen[str]], timeout: float = 240.0) -> list[tuple[int, str, str]]:
    """(return code, stdout, stderr) of each."""
    try:
        outputs = [process.communicate(timeout=timeout) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, out, err) for process, (out, err) in zip(started, outputs, strict=True)]
