"""report.html: one page that says how a run went, from what lies in its directory. It needs no network to be read."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lewel.engine import files, status
from lewel.evaluate.during import TITLES
from lewel.loggers import jsonl
from lewel.visualize import template
from lewel.visualize.chart import Chart, chart, number

Row = Mapping[str, Any]

PICTURES = {  # files of the run directory that the page shows, with their titles
    "maps.png": "Where it looks",
    "views.png": "What it is shown",
}


class Measure(NamedTuple):
    """A chart of the page: the metrics' names, or the prefix of names that end in a term's; and what it means."""

    title: str
    names: tuple[str, ...]
    about: str


MEASURES = (
    Measure("Loss", ("loss",), "weighted sum of the terms"),
    Measure("Loss of each term", ("loss/",), "before its weight"),
    Measure("kNN top-1", ("knn/",), "per cent, k = 20; keys from train, queries from val"),
    Measure("linear-fast top-1", ("linear-fast/",), "per cent, a linear layer fitted on features of train; on val"),
    Measure("Embedding spread", ("spread/",), "1: spread over the sphere; 0: one point, collapsed"),
    Measure("RankMe", ("rankme",), "effective number of dimensions of the pooled features"),
    Measure("Map entropy", ("entropy/",), "share of the uniform map's; 1: global average pooling"),
    Measure("Maps that differ", ("differ/",), "share of the maps that look elsewhere in another image"),
    Measure("Target distance", ("target_distance",), "|target - online| / |online|, over all weights"),
    Measure("Gradient norm", ("gradient_norm",), "before the optimizer's step"),
    Measure("Learning rate", ("lr",), "warm-up, then cosine"),
    Measure("Images per second", ("images_per_s",), "data loading included"),
    Measure("Data wait", ("data_wait",), "share of the time; near 0 is good"),
)


class Tile(NamedTuple):
    """A number at the top of the page."""

    label: str
    value: str
    note: str


class Setting(NamedTuple):
    name: str
    value: str


def write(run: Path, summary: Mapping[str, str] | None = None) -> Path:
    """Write run/report.html from metrics.jsonl, config.yaml and the pictures there; what is missing is left out.

    summary: further rows for the table at the top, name to text.
    """
    path = run / "report.html"
    files.replace(path, page(run, summary or {}).encode("utf-8", "backslashreplace"))
    return path


def page(run: Path, summary: Mapping[str, str]) -> str:
    """The page as text. All text from files is escaped: names of folders and classes may hold anything."""
    rows = jsonl.read(run / jsonl.NAME)
    settings, comments = read_config(run / "config.yaml")
    trained = [row for row in rows if "loss" in row]
    judged = [str(row["verdict"]) for row in rows if row.get("verdict")]
    state = status.read(run)
    return template.render(
        Path(__file__).with_name("report.html.j2"),
        title=str(settings.get("name") or run.name),
        directory=str(run),
        verdict=judged[-1] if judged else "no steps recorded",
        ended="" if state is None else str(state),
        tiles=tiles(trained, rows, state),
        results=[*results(rows), *((name, text) for name, text in summary.items())],
        charts=charts(rows),
        pictures=[(title, embedded(run / name)) for name, title in PICTURES.items() if (run / name).is_file()],
        comments=comments,
        sections=sections(settings),
    )


def charts(rows: Sequence[Row]) -> list[Chart]:
    """All charts for which there are numbers."""
    drawn = (chart(m.title, m.about, series(rows, m.names)) for m in MEASURES)
    return [one for one in drawn if one is not None]


def series(rows: Sequence[Row], names: Iterable[str]) -> dict[str, list[tuple[float, float | None]]]:
    """(step, value) of each metric; a name that ends in "/" stands for all that begin with it."""
    keys = dict.fromkeys(key for row in rows for key in row)
    wanted = [k for k in keys if any(k == name or (name.endswith("/") and k.startswith(name)) for name in names)]
    return {_short(key): [(row["step"], row[key]) for row in rows if key in row and "step" in row] for key in wanted}


def tiles(trained: Sequence[Row], rows: Sequence[Row], state: status.Status | None = None) -> list[Tile]:
    """Steps, loss, evaluations and speed, as far as they are known."""
    found = []
    if trained:
        first, last = trained[0], trained[-1]
        found.append(_steps(last["step"]) if state is None else _steps(state.step, state.total_steps))
        found.append(Tile("Loss", _text(last["loss"]), f"from {_text(first['loss'])}"))
    for name, title in TITLES.items():
        tests = [row[f"{name}/top1"] for row in rows if row.get(f"{name}/top1") is not None]
        if tests:
            note = f"{tests[-1] - tests[0]:+.1f} points since {tests[0]:.1f} %" if len(tests) > 1 else ""
            found.append(Tile(f"{title} top-1", f"{tests[-1]:.1f} %", note))
    speeds = sorted(row["images_per_s"] for row in trained if row.get("images_per_s"))
    if speeds:
        found.append(Tile("Images per second", number(round(speeds[len(speeds) // 2], 1)), "median"))
    return found


def _steps(step: int, total: int | None = None) -> Tile:
    return Tile("Steps", number(step), "" if total is None else f"of {number(total)}")


def results(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Evaluations, first and last: "13.1, then 19.4 (+6.3)"."""
    found = []
    for key in dict.fromkeys(key for row in rows for key in row if key.split("/")[0] in TITLES):
        values = [row[key] for row in rows if isinstance(row.get(key), int | float)]
        task, _, measure = key.partition("/")
        name = f"{TITLES[task]} {measure.replace('top1', 'top-1')}"
        if len(values) > 1:
            found.append((name, f"{values[0]:.2f} before, {values[-1]:.2f} after ({values[-1] - values[0]:+.2f})"))
        elif values:
            found.append((name, f"{values[0]:.2f}"))
    return found


def read_config(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The recipe's settings and the comments at the top of a config.yaml; empty where it is missing or damaged."""
    if not path.is_file():
        return {}, []
    text = path.read_text(encoding="utf-8", errors="replace")
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    try:
        settings = yaml.safe_load(text)
    except Exception:  # of a value that is not its tag's, any
        settings = None
    found = settings if isinstance(settings, dict) else {}
    return {name: value for name, value in found.items() if name != "format"}, comments


def sections(settings: Mapping[str, Any]) -> list[tuple[str, list[Setting]]]:
    """The settings by their first name: {"method": {"encoder": {"name": "x"}}} -> method: encoder.name x."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, dict | list)}
    nested = {name: value for name, value in settings.items() if name not in plain}
    groups = [("recipe", plain)] if plain else []
    return [(name, [Setting(*pair) for pair in flat(value)]) for name, value in [*groups, *nested.items()]]


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Dotted names and texts; lists of plain values stay together."""
    if isinstance(value, dict) and value:
        dot = f"{prefix}." if prefix else ""
        return [pair for name, part in value.items() for pair in flat(part, f"{dot}{name}")]
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        return [pair for i, part in enumerate(value) for pair in flat(part, f"{prefix}[{i}]")]
    if isinstance(value, list):
        return [(prefix, ", ".join(map(_plain, value)))]
    return [(prefix, _plain(value))]


def embedded(path: Path) -> str:
    """A PNG or JPEG as a data URL."""
    kind = "png" if path.suffix == ".png" else "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _short(key: str) -> str:
    return key.split("/", 1)[-1]


def _text(value: object) -> str:
    return number(value) if isinstance(value, int | float) and math.isfinite(value) else "not finite"
