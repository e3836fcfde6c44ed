"""Recipes: the published numbers, written here a second time from the tables, and the ways to name one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from lewel import recipes
from lewel.config import Recipe
from lewel.errors import UserError
from lewel.recipes import folder, in1k, in100, small, tiny
from lewel.terms import BOTH_WAYS, MLP, ONE_WAY, Coupled, InBatch, Learned, Random

ALL = recipes.names()
METHODS = ("moco_v2", "byol", "lewel_m", "lewel_b")
OTHERS = {"simsiam_in1k_100ep", "simsiam_tiny", "densecl_in1k_200ep", "densecl_tiny"}


@pytest.mark.parametrize("name", ALL)
def test_recipe_is_named_and_documented(name: str) -> None:
    recipe = recipes.get(name)
    assert recipe.name == name
    assert getattr(recipes, name)() == recipe
    facts = recipes.facts(name)
    assert set(facts) == {"Paper", "Command", "Cost", "Expected", "Measured"}
    assert f" pretrain {name} " in facts["Command"]
    assert recipe.note


@pytest.mark.parametrize("module", [in1k, in100, small, tiny, folder])
def test_all_lists_every_recipe_of_its_module(module) -> None:
    own = {n for n, f in vars(module).items() if getattr(f, "__module__", "") == module.__name__ and n.islower()}
    assert {n for n in own if not n.startswith("_")} == set(module.__all__)


def test_every_method_has_every_setting() -> None:
    expected = {f"{m}_{s}" for m in METHODS for s in ("in100", "cifar10", "px64", "tiny", "demo", "folder")}
    expected |= {f"{m}_in1k_{e}ep" for m in METHODS for e in (100, 200)} | {"lewel_b_in1k_400ep"}
    ablations = {name for name in ALL if name not in expected | OTHERS}
    assert expected | OTHERS <= set(ALL)
    twins = {name.removesuffix("_in100") for name in ablations if name.endswith("_in100")}
    assert len(twins) == 5
    assert twins == {name.removesuffix("_tiny") for name in ablations if name.endswith("_tiny")}


# name, epochs, batch, rate, weight decay, first momentum, warm-up
PUBLISHED = [
    ("moco_v2_in1k_200ep", 200, 256, 0.03, 1e-4, 0.999, 0),
    ("lewel_m_in1k_100ep", 100, 256, 0.06, 1e-4, 0.999, 0),
    ("byol_in1k_100ep", 100, 1024, 3.6, 1e-6, 0.98, 10),
    ("lewel_b_in1k_100ep", 100, 1024, 3.6, 1e-6, 0.98, 10),
    ("lewel_b_in1k_200ep", 200, 1024, 3.6, 1.5e-6, 0.98, 10),
    ("lewel_b_in1k_400ep", 400, 4096, 7.2, 1e-6, 0.996, 10),
    ("lewel_m_in100", 240, 256, 0.12, 1e-4, 0.999, 0),
    ("lewel_b_in100", 240, 512, 3.6, 1e-6, 0.98, 10),
]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row[0])
def test_published_numbers(row: tuple) -> None:
    recipe = recipes.get(row[0])
    o = recipe.optimizer
    momentum = recipe.method.target.momentum
    assert row[1:] == (recipe.epochs, o.batch_size, o.lr, o.weight_decay, momentum, o.warmup_epochs)
    assert recipe.data.image_size == 224
    assert recipe.data.views[0].scale == (0.2, 1.0)


def test_lewel_b_is_byol_and_one_aligned_term() -> None:
    recipe = recipes.get("lewel_b_in1k_100ep")
    whole, aligned = recipe.method.terms
    assert whole.projector == aligned.projector == whole.predictor == aligned.predictor == MLP(256, (4096,))
    assert aligned.maps == Coupled(4, whole.name)
    assert (whole.weight, aligned.weight, recipe.method.directions) == (0.5, 0.5, BOTH_WAYS)
    (byol,) = recipes.get("byol_in1k_100ep").method.terms
    assert replace(byol, weight=0.5, predictor=whole.predictor) == whole
    assert byol.predictor is not None and byol.predictor.init == "normal"
    view1, view2 = recipe.data.views
    assert (view1.blur, view2.blur, view1.solarize, view2.solarize) == (1.0, 0.1, 0.0, 0.2)


def test_syncbn_target_takes_statistics_from_the_whole_batch() -> None:
    method = recipes.get("lewel_b_in1k_400ep").method
    assert (method.bn_groups, method.target.batchnorm) == (1, "batch")
    assert recipes.get("lewel_b_in1k_200ep").method.target.batchnorm == "running"


def test_moco_rows_differ_in_the_head_and_the_aligned_term() -> None:
    moco, lewel = (recipes.get(f"{m}_in1k_100ep").method for m in ("moco_v2", "lewel_m"))
    assert moco.target == lewel.target
    assert moco.target.shuffle and moco.target.update == "before" and moco.directions == ONE_WAY
    assert moco.terms[0].projector == MLP(128, (2048,), norm=False, bias="all", init="linear")
    assert lewel.terms[0].projector == lewel.terms[1].projector == MLP(128, (2048,))
    assert (lewel.terms[0].objective.queue, lewel.terms[1].objective) == (65536, InBatch(0.2))
    assert recipes.get("lewel_m_in1k_100ep").optimizer.exclude == "nothing"


@pytest.mark.parametrize("setting", ["in100", "tiny"])
def test_ablations_change_one_cell(setting: str) -> None:
    full = recipes.get(f"lewel_m_{setting}").method.terms
    terms = {n: recipes.get(f"lewel_m_{n}_{setting}").method.terms for n in ("aligned_only", "separate_head")}
    (only,) = terms["aligned_only"]
    assert (only.weight, only.maps) == (1.0, Learned(4, head=full[0].projector))
    separate = terms["separate_head"]
    assert separate[0] == full[0] and separate[1] == replace(only, weight=0.5)
    random = recipes.get(f"lewel_m_random_maps_{setting}").method.terms[1]
    assert isinstance(full[0].projector, MLP)
    assert random.maps == Random(4, full[0].projector.out)
    shared = recipes.get(f"lewel_m_no_extra_head_{setting}").method.terms
    assert shared == (full[0], replace(full[1], projector="global"))
    moco = recipes.get(f"moco_v2_{setting}").method.terms[0]
    extra = recipes.get(f"moco_v2_extra_head_{setting}").method.terms
    assert extra == (replace(moco, weight=0.5), replace(moco, name="extra", weight=0.5))


def test_small_images_are_not_blurred_at_32_px() -> None:
    for method in METHODS:
        views = recipes.get(f"{method}_cifar10").data.views
        assert [(view.blur, view.scale) for view in views] == [(0.0, (0.08, 1.0))] * 2
    sigma = recipes.get("lewel_b_px64").data.views[0].blur_sigma
    assert sigma[0] < sigma[1] < 2.0


def test_table_has_a_line_for_each() -> None:
    rows = recipes.describe()
    assert [row.name for row in rows] == ALL
    row = next(row for row in rows if row.name == "lewel_b_in1k_400ep")
    assert row[1:6] == ("lewel_b", "in1k", 400, 4096, 224)
    assert row.paper.startswith("Table 1")


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean lewel_b_cifar10"):
        recipes.get("lewelb_cifar10")
    with pytest.raises(UserError, match="lewel recipes"):
        recipes.get("zzz")


SOURCE = """
from __future__ import annotations
from dataclasses import dataclass, replace
from lewel import recipes

@dataclass
class Mine:
    epochs: int = 3

def short():
    return replace(recipes.lewel_b_tiny(), name="short", epochs=Mine().epochs)

def wrong():
    return 3

def broken():
    raise KeyError("x")

number = 7
"""


def test_recipe_of_a_file(tmp_path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    recipe = recipes.get(f"{path}:short")
    assert isinstance(recipe, Recipe) and (recipe.name, recipe.epochs) == ("short", 3)


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (":absent", "defines no function 'absent'"),
        (":number", "defines no function"),
        (":wrong", "returned int"),
        (":broken", "failed: KeyError"),
        ("", "no function in it"),
    ],
)
def test_file_that_gives_no_recipe(tmp_path, suffix: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    with pytest.raises(UserError, match=message):
        recipes.get(f"{path}{suffix}")


def test_file_that_is_missing_or_broken(tmp_path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        recipes.get(f"{tmp_path / 'none.py'}:f")
    (tmp_path / "bad.py").write_text("def f(:")
    with pytest.raises(UserError, match="SyntaxError"):
        recipes.get(f"{tmp_path / 'bad.py'}:f")


def test_importing_recipes_and_plan_loads_nothing_heavy() -> None:
    code = "import sys, json, lewel.recipes, lewel.plan; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"torch", "numpy", "yaml", "PIL"} & set(loaded)
