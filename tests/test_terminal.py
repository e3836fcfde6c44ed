"""Text from strangers and streams that fail: what `lewel.terminal` makes of them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import lewel.errors
from lewel.terminal import Unbreakable, complain, printable, say

SOURCE = str(Path(lewel.errors.__file__).parents[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photos [old]", "photos [old]"),
        ("猫/הכלב/naïve.jpg", "猫/הכלב/naïve.jpg"),
        ("e\u0301", "e\u0301"),
        ("a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("gpj.\u202efdp", "gpj.\\u202efdp"),
        ("\u2066x\u2069\u200b\ufeff", "\\u2066x\\u2069\\u200b\\ufeff"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg"),
        ("\udcc3\udca9", "é"),  # a UTF-8 name that an ASCII file system's Python read
        ("half \ud800", "half \\ud800"),
        (Path("a\x1b"), "a\\x1b"),
    ],
)
def test_printable(text, expected) -> None:
    assert printable(text) == expected
    assert printable(expected) == expected and printable(expected).isprintable()


def test_what_is_kept() -> None:
    assert printable("a\n\tb", keep="\n") == "a\n\\tb"


class Broken(io.StringIO):
    """Raises when it is written to, or flushed."""

    def __init__(self, error: Exception, when: str) -> None:
        super().__init__()
        self.error, self.when = error, when

    def write(self, text: str, /) -> int:
        if self.when == "write":
            raise self.error
        return super().write(text)

    def flush(self) -> None:
        if self.when == "flush":
            raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left"), ValueError("closed")]
)
@pytest.mark.parametrize("when", ["write", "flush"])
def test_a_stream_that_fails_is_no_error(error, when) -> None:
    stream = Unbreakable(Broken(error, when))
    assert stream.write("text\n") == 5
    stream.flush()


def test_characters_outside_the_encoding_are_escaped() -> None:
    held = io.BytesIO()
    stream = Unbreakable(io.TextIOWrapper(held, "cp1252", newline="\n"))
    stream.write("naïve 猫…\n")
    stream.flush()
    assert held.getvalue().decode("cp1252") == "naïve \\u732b…\n"


def test_what_could_not_be_written_is_dropped_and_the_next_line_is_written(tmp_path: Path) -> None:
    """The disk is full at first, and has room again later."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    full, good = os.open("/dev/full", os.O_WRONLY), os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    with open(full, "w") as file:
        stream = Unbreakable(file)
        stream.write("lost\n")
        stream.flush()
        os.dup2(good, full)
        stream.write("kept\n")
        stream.flush()
    os.close(good)
    assert (tmp_path / "out").read_text() == "kept\n"


def test_each_line_is_one_line(capsys) -> None:
    say("a\nb", "c")
    complain("d\x1be")
    assert capsys.readouterr() == ("a\\nb\nc\n", "d\\x1be\n")


def run(code: str, shell: str) -> subprocess.CompletedProcess[str]:
    """Python code in a process whose streams a shell line has redirected."""
    environment = os.environ | {"PYTHONPATH": SOURCE, "CODE": textwrap.dedent(code), "PYTHON": sys.executable}
    return subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, text=True, check=False)


WHOLE = """
    import sys
    from lewel.terminal import say, complain, unbreakable
    with unbreakable():
        for number in range(3000):
            say("a line of text that fills the buffers of pipes")
            print("and one of somebody else", file=sys.stderr)
        complain("the end")
"""


@pytest.mark.parametrize(
    "redirected",
    ['2>&1 | head -1; exit "${PIPESTATUS[0]}"', ">/dev/full 2>&1", ">&-", ">&- 2>&-", "<&- >&- 2>&-"],
)
def test_no_stream_decides_the_exit_code(redirected) -> None:
    assert run(WHOLE, f'"$PYTHON" -c "$CODE" {redirected}').returncode == 0


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = f"""
        import os
        from lewel.terminal import unbreakable
        with unbreakable():
            file = open({str(tmp_path / "checkpoint")!r}, "wb")
            os.write(2, b"a warning of C++ code")
            file.close()
    """
    assert run(code, '"$PYTHON" -c "$CODE" 2>&-').returncode == 0
    assert (tmp_path / "checkpoint").read_bytes() == b""


def test_a_traceback_shows_names_as_escapes() -> None:
    code = r"""
        from lewel.terminal import unbreakable
        with unbreakable():
            raise RuntimeError("\x1b]0;title\x07")
    """
    ended = run(code, '"$PYTHON" -c "$CODE"')
    assert ended.returncode == 1
    assert ended.stderr.endswith("RuntimeError: \\x1b]0;title\\x07\n") and len(ended.stderr.splitlines()) > 2
