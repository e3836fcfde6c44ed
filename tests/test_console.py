"""What reaches the terminal: strings are text, never markup, and every part of the package prints in one place."""

from __future__ import annotations

import ast
import io
import logging
import warnings

import pytest

from command import lewel
from lewel.console import Console, Table, byte_bar, count_bar, warnings_on
from test_layers import MODULES

NAMES = ("p[/b]", "photos [old]", "[red]", "a\x1b[31m", "a\nb", "a\u202eb", ":smile:", "[link=x]y")
SHOWN = ("p[/b]", "photos [old]", "[red]", "a\\x1b[31m", "a\\nb", "a\\u202eb", ":smile:", "[link=x]y")


@pytest.fixture
def screen() -> Console:
    """A terminal of 60 columns."""
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=60)


def written(console: Console) -> str:
    return console.file.getvalue()


def test_a_string_is_a_line(screen) -> None:
    screen.print(*NAMES, sep="\n")
    assert written(screen) == "".join(f"{name}\n" for name in SHOWN)


def test_a_long_line_is_not_wrapped(screen) -> None:
    screen.print("x" * 100)
    assert written(screen) == "x" * 100 + "\n"


def test_cells_titles_and_heads_of_tables(screen) -> None:
    table = Table(NAMES[0], NAMES[3], title=NAMES[5], box=None)
    for name in NAMES:
        table.add_row(name, name)
    screen.print(table)
    rows = [line.split() for line in written(screen).splitlines()]
    assert rows[0] == [SHOWN[5]] and rows[1] == [SHOWN[0], SHOWN[3]]
    assert rows[2:] == [[*shown.split(), *shown.split()] for shown in SHOWN]


@pytest.mark.parametrize("name", NAMES)
def test_bars_spinners_and_warnings(screen, name) -> None:
    shown = SHOWN[NAMES.index(name)]
    with count_bar(screen) as bar:
        bar.add_task(name, total=3, completed=2)
    with screen.status(name):
        pass
    with byte_bar(screen) as bar:
        bar.add_task(name, total=3)
    screen.warn(name)
    text = written(screen)
    assert text.count(shown) >= 3 and f"warning: {shown}\n" in text and "2/3" in text
    assert "\x1b[31m" not in text and "\u202e" not in text


def test_escapes_in_what_is_drawn_otherwise(screen) -> None:
    """rich wraps the streams while a bar is shown; what others write then comes as a drawing."""
    with count_bar(screen) as bar:
        bar.add_task("", total=1)
        print("somebody else's \x1b]0;title\x07 \u202e")
    assert "\x1b]0" not in written(screen) and "\u202e" not in written(screen)


def test_those_who_listen_get_plain_lines(screen) -> None:
    heard: list[tuple[str, str]] = []
    table = Table("a", "b", box=None, pad_edge=False)
    table.add_row("1", "[x]")
    screen.print("before")
    with screen.heard_by(lambda level, text: heard.append((level, text))):
        screen.print("one", "two")
        screen.print(table)
        screen.warn("three")
        with count_bar(screen) as bar:
            bar.add_task("not this", total=1)
    screen.print("after")
    assert heard == [("INFO", "one two"), ("INFO", "a  b"), ("INFO", "1  [x]"), ("WARNING", "three")]


def test_warnings_of_logging_and_warnings_are_shown_once_on_the_inner_console() -> None:
    outer, inner = Console(file=io.StringIO()), Console(file=io.StringIO())
    log = logging.getLogger("somebody.else")
    with warnings_on(outer):
        with warnings_on(inner):
            log.warning("name %s", "\x1b[2J")
            warnings.warn("[old]", UserWarning, stacklevel=1)
            log.info("not this")
        log.error("last")
    log.warning("to nobody here")
    assert written(inner) == "warning: name \\x1b[2J\nwarning: [old]\n"
    assert written(outer) == "warning: last\n"


def test_the_bar_of_an_ascii_terminal_is_ascii() -> None:
    held = io.BytesIO()
    console = Console(file=io.TextIOWrapper(held, "ascii", newline="\n"), force_terminal=True, width=60)
    with count_bar(console) as bar:
        bar.add_task("", total=2, completed=1)
    assert b"1/2" in held.getvalue() and b"\\u" not in held.getvalue()


@pytest.mark.parametrize(("name", "shown"), [*zip(NAMES, SHOWN, strict=True)])
def test_the_command_line_shows_what_it_was_given(name, shown, capsys) -> None:
    assert lewel("data", "index", name, "--out", "x.safetensors") == 2
    assert f"lewel: {shown}: no such folder" in capsys.readouterr().err
    assert lewel("recipes", name) == 2
    assert lewel("recipes", "x", name) == 2  # told by tyro
    said = capsys.readouterr().err
    assert shown in said and "\x1b[31m" not in said and "\u202e" not in said


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def writes_to_the_terminal(tree: ast.AST) -> list[int]:
    """Lines with a call of print, or of sys.stdout's or sys.stderr's methods."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input"):
            found.append(node.lineno)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr", "os.write"):
            found.append(node.lineno)
    return found


def test_only_two_modules_write_to_the_terminal() -> None:
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    assert [name for name, tree in trees.items() if "rich" in imported(tree)] == ["lewel.console"]
    assert [name for name, tree in trees.items() if writes_to_the_terminal(tree)] == ["lewel.terminal"]


def test_the_rule_itself() -> None:
    tree = ast.parse("import sys\nfrom rich.text import Text\nprint(1)\nsys.stderr.write('x')\nconsole.print(2)\n")
    assert imported(tree) == {"sys", "rich"} and writes_to_the_terminal(tree) == [3, 4]
