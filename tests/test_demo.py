"""`lewel demo` end to end, with few scenes: what it writes and prints, that it is not repeated, and its verdicts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from lewel import demo, recipes
from lewel.console import Console
from lewel.data import scenes
from lewel.demo import findings, page, picture, pointing
from lewel.engine.precision import choose
from lewel.errors import UserError
from lewel.evaluate import linear_fast
from lewel.evaluate.intervals import Interval
from lewel.interop import runs

UP, NONE, DOWN = Interval(9.0, 5.0, 13.0), Interval(1.0, -2.0, 4.0), Interval(-9.0, -13.0, -5.0)
PEAKS = pointing.Peaks(63.2, 50.1, UP)
POINTING = pointing.Pointing(PEAKS, pointing.Peaks(45.0, 46.0, NONE), 36.0, (0, 1), 500, 8)
FOUND = findings.Findings(
    recipes.get("lewel_m_demo"),
    "LEWEL_M",
    "fp32",
    500,
    10.0,
    (findings.Score("kNN", 23.4, 32.4, UP), findings.Score("linear-fast", 30.0, 39.0, UP)),
    POINTING,
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TRAIN", 64)  # one step of the recipe's batch an epoch
        patch.setattr(demo, "VAL", 20)
        patch.setattr(linear_fast, "MOST_STEPS", 5)
        demo.demo(out, "lewel_m", seed=0)
        yield out


def test_it_leaves_images_a_run_maps_and_pages(out) -> None:
    run = out / "lewel_m"
    assert len(list((out / "images" / "train").rglob("*.jpg"))) == 64
    assert (run / "maps.png").stat().st_size > 10_000
    shown = (run / "demo.html").read_text(encoding="utf-8")
    for text in ("kNN", "linear-fast", "95 % interval", "data:image/png", "lewel pretrain lewel_m_folder"):
        assert text in shown
    assert "kNN top-1" in (run / "report.html").read_text(encoding="utf-8")


def test_a_finished_demo_is_not_trained_again(out, capsys) -> None:
    rows = (out / "lewel_m" / "metrics.jsonl").read_text()
    weights = (out / "lewel_m" / "encoder.safetensors").read_bytes()
    demo.demo(out, "lewel_m", seed=0)
    assert (out / "lewel_m" / "metrics.jsonl").read_text() == rows
    assert (out / "lewel_m" / "encoder.safetensors").read_bytes() == weights
    last = max(json.loads(line)["step"] for line in rows.splitlines())
    assert last == recipes.get("lewel_m_demo").epochs
    printed = capsys.readouterr().out
    assert "untrained" in printed and "pretrained" in printed and "demo.html" in printed and "minutes" in printed


def test_the_change_is_the_runs_own(out) -> None:
    """The accuracy after pretraining is the last one that the run itself measured, and that before the first."""
    rows = [json.loads(line) for line in (out / "lewel_m" / "metrics.jsonl").read_text().splitlines()]
    knn = [row["knn/top1"] for row in rows if "knn/top1" in row]
    found = findings.measure(runs.load(out / "lewel_m"), out / "images", choose("fp32", torch.device("cpu")))
    score = found.scores[0]
    assert (score.before, score.after) == pytest.approx((knn[0], knn[-1]))
    assert score.change.mean == pytest.approx(score.after - score.before)


def test_pointing_is_that_of_evaluate_maps(out) -> None:
    loaded = runs.load(out / "lewel_m")
    found = pointing.measure(loaded, out / "images", torch.device("cpu"))
    measured = pointing.looking(loaded, torch.device("cpu")).measure(
        pointing.scenery(out / "images"), Console(quiet=True)
    )
    for kind, peaks in (("trained", found.trained), ("initial", found.untrained)):
        assert peaks.own == pytest.approx(measured.values[kind]["pointing_chosen"].mean(), abs=1e-4)
    # the scene before the first one is the last one here, the first one itself there
    others = measured.values["other"]["pointing"]
    assert len(others) == found.images == 20 and found.trained.above.mean == pytest.approx(
        found.trained.own - found.trained.other
    )
    assert found.maps == measured.maps


def test_an_unknown_method_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="--method lewel_x: allowed are moco_v2, byol, lewel_m, lewel_b"):
        demo.demo(tmp_path / "demo", "lewel_x", seed=0)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("change", "above", "start", "middle"),
    [
        (
            UP,
            UP,
            "Without a single label, LEWEL_M raised kNN from 23.4 to 32.4 %",
            "finds the objects: it peaks on one 63 % of the time, another scene's map 50 %.",
        ),
        (UP, NONE, "Without a single label", "does not find the objects: it peaks on one 63 %"),
        (
            NONE,
            UP,
            "No clear gain: LEWEL_M took kNN from 23.4 to 32.4 %",
            "its map finds the objects: it peaks on one 63 %",
        ),
        (DOWN, UP, "LEWEL_M made the encoder worse", "its map finds the objects"),
    ],
)
def test_the_sentence_follows_the_intervals(change, above, start, middle) -> None:
    scores = tuple(score._replace(change=change) for score in FOUND.scores)
    told = findings.sentence(
        replace(FOUND, scores=scores, pointing=POINTING._replace(trained=PEAKS._replace(above=above)))
    )
    assert told.startswith(start) and middle in told and ". " not in told and told.endswith(".")


def test_one_score_alone_is_no_gain() -> None:
    scores = (FOUND.scores[0], FOUND.scores[1]._replace(change=NONE))
    assert findings.sentence(replace(FOUND, scores=scores, pointing=None)) == (
        "No clear gain: LEWEL_M took kNN from 23.4 to 32.4 %."
    )


def test_tables_have_intervals_and_the_control() -> None:
    scores, points = page.tables(FOUND)
    assert scores.rows[0] == ("kNN", "23.4", "32.4", "+9.0 (5.0\xa0to\xa013.0)", "10.0")
    assert points.rows[1] == ("pretrained", "63.2", "50.1", "+9.0 (5.0\xa0to\xa013.0)", "36.0")
    assert len(page.tables(replace(FOUND, pointing=None))) == 1


@pytest.mark.parametrize("method", demo.METHODS)
def test_the_next_commands_name_recipes_that_exist(method: str) -> None:
    found = replace(FOUND, recipe=recipes.get(f"{method}_demo"), pointing=None)
    text = " ".join(f"{command.line} {command.about}" for command in page.commands(found))
    named = {word.strip(".,") for word in text.split() if word.startswith(method)}
    assert named == {f"{method}_folder", f"{method}_tiny"} and named <= set(recipes.names())


def test_the_picture_shows_a_class_a_column_and_multiples_of_the_uniform_weight() -> None:
    numbers = picture.drawn(500, seed=3)
    assert len({scenes.label(number) for number in numbers}) == picture.COLUMNS == len(numbers)
    assert numbers == picture.drawn(500, seed=3) != picture.drawn(500, seed=4)
    assert torch.allclose(picture.relative(torch.full((2, 4, 4), 1 / 16)), torch.ones(2, 4, 4))
