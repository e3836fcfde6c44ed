"""The page of an evaluation: what it says is what was measured, and nothing in it becomes markup."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lewel.evaluate import breakdown, confusion, page, predictions
from lewel.evaluate.dense import gallery
from lewel.evaluate.results import Result, Run

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\udce9"
SAFE = EVIL.replace("\udce9", "\\xe9")
COUNTS = [[3, 1, 0], [2, 2, 4], [0, 0, 0]]


class Tags(HTMLParser):
    """The tags of a page with their attributes, its text, and the text of its tables' cells, row by row."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data.strip()

    def of(self, tag: str, kind: str) -> list[dict[str, str | None]]:
        """The attributes of tags of a class."""
        return [found for name, found in self.tags if name == tag and kind in (found.get("class") or "").split()]

    def row(self, first: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == first)


VERSIONS = {"lewel": "0.1.0", "torch": "2.15.0"}


def a_result(label: str = "mine", protocol: str = "knn-k20-t0.07", seeds: int = 1, **metrics: Any) -> Result:
    facts = {
        "name": protocol,
        "source": "a paper",
        "lr": 0.4,
        "weight_decay": 0.0,
        "image_size": 64,
        "digest": f"p-{protocol}",
    }
    weights = {"source": f"runs/{label}", "architecture": "resnet18", "stem": "small", "digest": "w", "notes": ["MIT"]}
    data = {
        "data": "/data/birds",
        "classes": 3,
        "train": {"images": 5000, "digest": "t"},
        "val": {"images": 12, "digest": "v"},
    }
    std = {name: 0.25 for name, value in metrics.items() if isinstance(value, float)} if seeds > 1 else {}
    runs = tuple(
        Run(seed, f"digest-{seed}", data, metrics, 30.0, "fp32", "cpu", [], VERSIONS, 12, {}) for seed in range(seeds)
    )
    return Result(label, facts, weights, metrics, std, runs)


def of_classes(counts: list[list[int]] = COUNTS, names: str = "abc", **metrics: Any) -> dict[str, Any]:
    per = {
        n: 100 * row[i] / sum(row) if sum(row) else None for i, (n, row) in enumerate(zip(names, counts, strict=True))
    }
    return metrics | {"per_class": per}


def predict(directory: Path, counts: Any, seed: int = 0) -> None:
    """predictions.npz of a seed that took so many images of a class, the row, for another, the column."""
    labels, predicted = (np.repeat(axis.ravel(), np.ravel(counts)) for axis in np.indices(np.shape(counts)))
    (directory / f"seed-{seed}").mkdir(parents=True, exist_ok=True)
    predictions.write(directory / f"seed-{seed}", {"labels": labels, "predicted": predicted})


def counted(counts: np.ndarray) -> confusion.Counts:
    labels, predicted = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
    return confusion.Counts.of(labels, predicted, len(counts))


def written(out: Path, *found: Result) -> Tags:
    for result in found:
        directory = out / result.label if len(found) > 1 else out
        directory.mkdir(parents=True, exist_ok=True)
        if "per_class" in result.metrics:
            predict(directory, COUNTS)
    files = page.write(out, found)
    assert all(path.is_file() for path in files) and files[0] == out / "page.html"
    return Tags((out / "page.html").read_text(encoding="utf-8"))


def record(directory: Path, name: str, values: list[float | None]) -> None:
    directory.mkdir(parents=True)
    rows = [{"step": step, "epoch": step / 2, "loss": 4 / step, "lr": 0.1} for step in range(1, 2 * len(values) + 1)]
    rows += [{"step": 2 * epoch, "epoch": float(epoch), name: value} for epoch, value in enumerate(values, 1)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_table(tmp_path: Path) -> None:
    first = a_result("random", seeds=3, top1=20.0, top5=71.0, best_of_grid_top1=21.0)
    read = written(tmp_path, first, a_result("mine", seeds=3, top1=47.123, best_of_grid_top1=47.5))
    assert read.row("random")[4:] == ["20.00 ± 0.25", "71.00 ± 0.25", "21.00 ± 0.25", "3", "90 s"]
    assert read.row("mine")[1:-1] == [
        "resnet18, small stem",
        "knn-k20-t0.07",
        "64",
        "47.12 ± 0.25",
        "",
        "47.50 ± 0.25",
        "3",
    ]
    for words in ("knn-k20-t0.07 on birds", "5,000 images of train, 12 images of val, 3 classes", "digest-2", "MIT"):
        assert words in read.text
    assert "best of grid on val" + page.NOTES["best_of_grid_top1"] in read.row("weights")


def test_intervals_and_the_best(tmp_path: Path) -> None:
    """Under each number its interval; bold is what `comparison` says is best, and nothing else."""
    first = replace(a_result("a", top1=40.0), intervals={"top1": (31.26, 48.74)}, best=("top1",))
    second = replace(a_result("b", top1=20.0, top5=90.0), intervals={"top1": (12.0, 28.0)})
    read = written(tmp_path / "two", first, second)
    assert read.row("a")[4] == "40.00[31.3, 48.7]" and read.row("b")[4:6] == ["20.00[12.0, 28.0]", "90.00"]
    assert len(read.of("span", "best")) == 1
    assert "Bold: best, as the interval of its difference to every other row" in read.text
    assert "top-5: without an interval, so no best is marked." in read.text
    read = written(tmp_path / "none", a_result("a", top1=40.0), a_result("b", top1=20.0))
    assert not read.of("span", "best") and "In brackets" not in read.text


def test_what_guessing_gives(tmp_path: Path) -> None:
    """Of three classes with 4, 8 and 0 images: chance 1/3; always the second 8/12."""
    read = written(tmp_path, a_result(**of_classes(top1=5 / 12, top5=100.0, mean_per_class=50.0)))
    assert read.row("chance, 3 classes")[1:4] == ["33.33", "100.00", "33.33"]
    assert read.row("always the most frequent classes")[1:4] == ["66.67", "100.00", "33.33"]


def test_what_guessing_gives_for_attributes(tmp_path: Path) -> None:
    """One attribute is there in 1 of 4 images, the other in all: 75 and 100 % by a constant answer."""
    targets = np.array([[0, 1], [1, 1], [0, 1], [0, 1]], bool)
    (tmp_path / "seed-0").mkdir()
    np.savez(tmp_path / "seed-0" / "predictions.npz", targets=targets, predicted=targets)
    read = written(tmp_path, a_result(mean_accuracy=90.0, per_attribute={"hat": 85.0, "smile": 95.0}))
    assert read.row("always each attribute's more frequent value")[1] == "87.50"
    assert [row[0] for row in read.rows if row[0] in ("hat", "smile")] == ["smile", "hat"]
    assert not [tag for tag, _ in read.tags if tag in ("img", "svg")]


def test_a_line_for_each_seed(tmp_path: Path) -> None:
    for label in "abc":
        for seed in range(3):
            record(tmp_path / label / f"seed-{seed}", "top1", [1.0, None, 3.0] if label == "a" else [1.0, 2.0, 3.0])
    read = written(tmp_path, *(a_result(label, seeds=3, top1=3.0) for label in "abcd"))
    assert len([tag for tag, _ in read.tags if tag == "svg"]) == 2
    lines = read.of("path", "line")
    assert len(lines) == 2 * 3 + 3 * 3  # a's top-1 are single points, d has left no record
    assert {(each["class"] or "").split()[1] for each in lines} == {"c0", "c1", "c2"}


def test_curves_of_the_loss_are_averaged(tmp_path: Path) -> None:
    """200 rows of noise around 2 in 50 points, each the mean of its four."""
    directory = tmp_path / "seed-0"
    directory.mkdir(parents=True)
    rows = [{"step": s, "epoch": s / 10, "loss": 2.0 + (-1) ** s} for s in range(1, 201)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (line,) = written(tmp_path, a_result(top1=3.0)).of("path", "line")
    points = [tuple(map(float, point.split())) for point in (line["d"] or "")[1:].split("L")]
    assert len(points) == 50 and len({y for _, y in points}) == 1


def test_the_grid(tmp_path: Path) -> None:
    cells = [{"lr": lr, "weight_decay": wd, "top1": 10 * lr + wd} for lr in (0.4, 0.1, 1.6) for wd in (0.0, 0.5)]
    result = a_result(top1=4.0, grid=cells)
    found = breakdown.grid(result)
    assert found is not None and found.decays == ("0", "0.5") and found.edge == "largest"
    assert [(rate, [cell.top1 for cell in row if cell]) for rate, row in found.rows] == [
        ("0.1", [1.0, 1.5]),
        ("0.4", [4.0, 4.5]),
        ("1.6", [16.0, 16.5]),
    ]
    assert [cell.own for _, row in found.rows for cell in row if cell] == [False, False, True, False, False, False]
    assert found.rows[2][1][1] == breakdown.Cell(16.5, 1.0, False)
    read = written(tmp_path, result)
    assert len(read.of("td", "own")) == 1 and read.row("0.4") == ["0.4", "4.00", "4.50"]


def test_a_grid_with_holes_and_runaways(tmp_path: Path) -> None:
    cells = [{"lr": 0.4, "weight_decay": 0.0, "top1": None}, {"lr": 0.8, "weight_decay": 0.1, "top1": 2.0}]
    read = written(tmp_path, a_result(top1=4.0, grid=cells))
    assert read.row("0.4") == ["0.4", "not finite", ""] and read.row("0.8") == ["0.8", "", "2.00"]


@pytest.mark.parametrize(("count", "shown"), [(5, [5]), (40, [20, 20]), (99, [50, 49]), (101, [50, 50])])
def test_classes_are_sorted_and_not_too_many(count: int, shown: list[int]) -> None:
    values: dict[str, float | None] = {f"c{i}": float((7 * i) % count) for i in range(count)}
    found = breakdown.parts([a_result("a", per_class=values | {"empty": None}), a_result("b", top1=1.0)])
    assert found is not None and found.of == count and found.without == ("empty",)
    assert [len(column) for _, column in found.columns] == shown
    listed = [part.values for _, column in found.columns for part in column]
    known = [first for first, _ in listed if first is not None]
    assert known == sorted(known, reverse=True) and len(known) == len(listed)
    assert known[0] == max(value for value in values.values() if value is not None)


def test_classes_without_a_number_are_named(tmp_path: Path) -> None:
    read = written(tmp_path, a_result("a", per_class={"full": 50.0, "void": None, "hollow": None}))
    assert "Without a number, 2: void, hollow." in read.text
    assert breakdown.parts([a_result("a", per_class={"void": None})]) is None


def test_the_most_frequent_mistakes() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 90, (6, 6))
    names = "uvwxyz"
    expected = sorted(
        ((int(counts[i, j]), names[i], names[j]) for i in range(6) for j in range(6) if i != j),
        key=lambda each: -each[0],
    )[:10]
    found = confusion.most_frequent(counted(2 * counts), names, seeds=2)
    assert [(each.images, each.true, each.predicted) for each in found] == expected
    assert found[0].share == pytest.approx(100 * expected[0][0] / counts[names.index(expected[0][1])].sum())


def test_no_mistakes_and_classes_without_images() -> None:
    assert confusion.most_frequent(counted(np.diag([2, 3, 0])), "abc") == []
    assert [each.share for each in confusion.most_frequent(counted(np.array(COUNTS)), "abc")] == [50, 25, 25]


def test_20_000_classes_need_no_square_of_them(tmp_path: Path) -> None:
    """Each of 20,000 images is of a class of its own, and every 50th one is taken for class 7."""
    labels = np.arange(20_000)
    predicted = np.where(labels % 50 == 3, 7, labels)
    directory = tmp_path / "seed-0"
    directory.mkdir()
    predictions.write(directory, {"images": labels, "labels": labels, "predicted": predicted, "rank": 0 * labels})
    names = {f"class {number}": 100.0 for number in labels.tolist()}
    tracemalloc.start()
    files = page.write(tmp_path, [a_result(top1=98.0, per_class=names)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert files == [tmp_path / "page.html"] and peak < 60e6  # their square has 3.2 GB
    read = Tags(files[0].read_text(encoding="utf-8"))
    assert "No picture of more than 1,000 classes." in read.text
    assert ["class 3", "class 7", "1", "100 %"] in read.rows
    assert read.row("chance, 20,000 classes")[1] == "0.01" and files[0].stat().st_size < 300_000


def test_the_matrix_is_that_of_the_predictions_of_all_seeds(tmp_path: Path) -> None:
    result, other = a_result(seeds=2, **of_classes()), np.arange(9).reshape(3, 3)
    predict(tmp_path, COUNTS, 0)
    assert confusion.counts(result, tmp_path) is None  # the second's are not there
    predict(tmp_path, other, 1)
    counts = confusion.counts(result, tmp_path)
    assert counts is not None and np.array_equal(counts.matrix(), COUNTS + other)
    assert counts.of_classes().tolist() == (COUNTS + other).sum(axis=1).tolist()
    assert confusion.counts(a_result(top1=1.0), tmp_path) is None


def test_the_picture_shows_shares_of_the_rows() -> None:
    axes = confusion.figure(np.array(COUNTS), "abc", "title").axes[0]
    shown = axes.images[0].get_array()
    assert isinstance(shown, np.ma.MaskedArray)
    np.testing.assert_allclose(shown[:2], [[75, 25, 0], [25, 25, 50]])
    assert shown.mask[2].all() and not shown.mask[:2].any()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]


@pytest.mark.parametrize(("classes", "named"), [(2, True), (60, True), (61, False), (1000, False)])
def test_names_stand_where_there_is_room(classes: int, named: bool) -> None:
    names = [f"class {number} with a very long name" for number in range(classes)]
    figure = confusion.figure(np.eye(classes, dtype=np.int64), names, "title " * 30)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert any(label.startswith("class 0") for label in labels) is named
    assert max(figure.get_size_inches()) < 12


def test_pictures_lie_by_their_weights(tmp_path: Path) -> None:
    written(tmp_path / "one", a_result(**of_classes(top1=1.0)))
    read = written(tmp_path / "two", a_result("a", **of_classes(top1=1.0)), a_result("b", **of_classes(top1=1.0)))
    for path in ("one/confusion.png", "two/a/confusion.png", "two/b/confusion.png"):
        with Image.open(tmp_path / path) as picture:
            assert min(picture.size) > 300
    assert len([tag for tag, _ in read.tags if tag == "img"]) == 2
    assert not (tmp_path / "two" / "confusion.png").exists()


def test_skipped_images_are_named(tmp_path: Path) -> None:
    result = a_result(top1=1.0)
    skipped = [{"path": f"val/{number}.jpg", "reason": "truncated"} for number in range(12)]
    run = Run(**{**vars(result.runs[0]), "skipped": skipped})
    read = written(tmp_path, Result(**{**vars(result), "runs": (run,)}))
    assert "mine: 12 images of train left out: they could not be read." in read.text and "the first 10" in read.text
    assert "val/9.jpg" in read.text and "val/10.jpg" not in read.text


@pytest.mark.filterwarnings("error")
def test_nothing_becomes_markup_or_asks_the_network(tmp_path: Path) -> None:
    names = (EVIL, "$x^2$ 日本", "c")
    metrics = of_classes(COUNTS, names, top1=40.0, **{EVIL: 3.0})  # pyright: ignore[reportArgumentType]
    result = a_result(protocol=EVIL, **metrics)
    data = {"data": f"/{EVIL}", EVIL: EVIL, "train": {"digest": EVIL, EVIL: EVIL}}
    run = Run(0, EVIL, data, metrics, 1.0, EVIL, EVIL, [{"path": EVIL, "reason": EVIL}], {EVIL: EVIL}, 1, {})
    weights = {"architecture": EVIL, "stem": EVIL, "digest": EVIL, "notes": [EVIL], EVIL: [EVIL]}
    read = written(tmp_path, Result(EVIL, result.protocol | {EVIL: EVIL, "source": EVIL}, weights, metrics, {}, (run,)))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in read.tags}
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    for _, attributes in read.tags:
        assert not {"src", "href"} & set(attributes) or (attributes["src"] or "").startswith("data:image/png;base64,")
    assert read.text.count(SAFE) >= 15


def test_a_fit_that_did_not_end_is_told(tmp_path: Path) -> None:
    chosen = {"decay": 0.01, "converged": True}
    assert "stopped" not in written(tmp_path, a_result(top1=1.0, chosen=chosen)).text
    read = written(tmp_path, a_result(top1=1.0, chosen=chosen | {"converged": False}))
    assert "mine: the regression was stopped before its end" in read.text
    assert read.row("chosen.decay") == ["chosen.decay", "0.01"]


def test_the_least_that_there_can_be(tmp_path: Path) -> None:
    run = Run(0, "w", {}, {"top1": 50.0}, 4000.0, "fp32", "cpu", [], VERSIONS, 4, {})
    read = written(tmp_path, Result("x", {"name": "p", "digest": "p"}, {"digest": "w"}, {"top1": 50.0}, {}, (run,)))
    assert read.row("x") == ["x", "", "p", "", "50.00", "1", "67 min"]


def pictures(directory: Path, names: list[str], seed: int = 0) -> None:
    red, blue = (Image.new("RGB", (40, 20), colour) for colour in ("red", "blue"))
    gallery.write(directory / f"seed-{seed}", [gallery.Case(name, "F1 0.00", red, blue) for name in names])


def shown(read: Tags) -> list[str | None]:
    """The texts of the JPEGs."""
    return [
        each["alt"] for tag, each in read.tags if tag == "img" and (each["src"] or "").startswith("data:image/jpeg")
    ]


def test_predictions_to_look_at(tmp_path: Path) -> None:
    """Of the first seed of each of the weights, in order, all but the first twelve folded away."""
    names = [f"{number}.jpg" for number in range(15)]
    pictures(tmp_path / "a", names, seed=4)
    pictures(tmp_path / "a", ["other.jpg"], seed=5)
    pictures(tmp_path / "c", [EVIL], seed=4)
    found = [a_result(label, AP=3.0, seeds=2) for label in "abc"]
    found = [replace(each, runs=tuple(replace(run, seed=run.seed + 4) for run in each.runs)) for each in found]
    read = written(tmp_path, *found)
    words = [f"Truth and prediction of {name}: F1 0.00" for name in (*names, SAFE)]
    assert shown(read) == words
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    folded = text[text.index("3 more") : text.index("</details>", text.index("3 more"))]
    assert folded.count("<img") == 3 and text.count("worst first") == 1
    assert "b, seed 4" not in read.text and "a, seed 4" in read.text and "c, seed 4" in read.text


def test_no_pictures_no_section(tmp_path: Path) -> None:
    read = written(tmp_path, a_result(top1=3.0))
    assert not shown(read) and "worst first" not in read.text
