"""Records of a run: text files that grow by lines. One that cannot be written never ends the run."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from lewel.errors import reason
from lewel.reading import is_other

log = logging.getLogger(__name__)


class Lines:
    """A text file that grows by lines.

    If it cannot be written, one warning says so and the run goes on; later lines are tried again, as a disk may get
    room.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.failed = False

    def add(self, *lines: str) -> bool:
        """Append lines. False where they could not be written."""
        text = "".join(f"{line}\n" for line in lines)
        try:
            _append(self.path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self.fail(error)
            return False
        return True

    def fail(self, error: OSError) -> None:
        """Say, once, why the file cannot be written."""
        if not self.failed:
            self.failed = True  # before the warning, which may go to this very file
            log.warning("%s not written (%s); the run goes on without it", self.path, reason(error))


def _append(path: Path, text: bytes) -> None:
    """Append; behind a line that a crash or a full disk has cut, on a new line."""
    if is_other(path):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))  # a pipe would wait for a reader
    with open(path, "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            text = text if file.read() == b"\n" else b"\n" + text
        file.write(text)
