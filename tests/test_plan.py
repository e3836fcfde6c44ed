"""The plan: what follows from what, what is refused, and text that reads back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from lewel import recipes
from lewel.config import Recipe
from lewel.errors import UserError
from lewel.plan import Overrides, resolve
from lewel.terms import MLP, Direction, Head, Learned, Momentum, Random

IMAGENET = 1_281_167


def planned(name: str, images: int = IMAGENET, world: int = 1, accumulate: int = 1, **numbers):
    return resolve(recipes.get(name), Overrides(**numbers), images, world, accumulate)


def refused(match: str, name: str, images: int = IMAGENET, world: int = 1, accumulate: int = 1, **numbers) -> None:
    with pytest.raises(UserError, match=match):
        planned(name, images, world, accumulate, **numbers)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_has_a_plan_that_is_its_own_plan(name: str) -> None:
    images = {"in100": 126_689, "cifar10": 50_000}.get(name.rsplit("_", 1)[-1], IMAGENET)
    plan = planned(name, images)
    assert plan.total_steps == plan.recipe.epochs * (images // plan.recipe.optimizer.batch_size)
    assert resolve(plan.recipe, Overrides(), images).recipe == plan.recipe
    if plan.recipe.queue_share == recipes.get(name).queue_share:
        assert plan.recipe == recipes.get(name)


def test_published_run_has_the_steps_of_the_published_log() -> None:
    plan = planned("lewel_b_in1k_100ep", world=8)
    assert (plan.steps_per_epoch, plan.total_steps, plan.micro_batch, plan.bn_group) == (1251, 125_100, 128, 128)


def test_batch_scales_rate_and_momentum() -> None:
    plan = planned("lewel_b_in1k_100ep", batch_size=512)
    assert plan.recipe.optimizer.lr == pytest.approx(1.8)
    # after two half batches the target has kept what it keeps of one whole batch
    assert plan.recipe.method.target.momentum**2 == pytest.approx(0.98)
    assert any("3.6 -> 1.8" in note for note in plan.notes)
    assert any("0.98 -> 0.98" in note for note in plan.notes)


def test_given_rate_and_momentum_stand() -> None:
    plan = planned("lewel_b_in1k_100ep", batch_size=512, lr=1.5, momentum=0.97)
    assert (plan.recipe.optimizer.lr, plan.recipe.method.target.momentum) == (1.5, 0.97)
    assert not any("->" in note for note in plan.notes)


@pytest.mark.parametrize(("images", "queue"), [(10_000, 384), (3_000, 128), (130, 128)])
def test_folder_queue_follows_the_images(images: int, queue: int) -> None:
    plan = planned("lewel_m_folder", images)
    assert plan.recipe.method.terms[0].objective.queue == plan.negatives["global"] == queue
    assert any(f"queue: {queue} keys" in note for note in plan.notes)


def test_folder_queue_can_be_given() -> None:
    plan = planned("moco_v2_folder", 10_000, queue=1280)
    assert plan.negatives == {"global": 1280}
    assert plan.recipe.queue_share is None


def test_in_batch_negatives_are_the_other_images_of_a_forward() -> None:
    # d = 128 maps, h = 4: 32 embeddings of each of the other images
    assert planned("lewel_m_in1k_100ep").negatives["aligned"] == 255 * 32
    plan = planned("lewel_m_in1k_100ep", world=2, accumulate=4, groups=8, dim=256)
    assert plan.negatives["aligned"] == 63 * 32
    assert (plan.micro_batch, plan.bn_group) == (32, 32)
    assert any("4 micro-batches of 64 images" in note for note in plan.notes)


def test_shuffle_of_one_group_is_noted() -> None:
    assert any("ShuffleBN" in note for note in planned("moco_v2_in1k_100ep").notes)
    assert not any("ShuffleBN" in note for note in planned("moco_v2_in1k_100ep", bn_groups=8).notes)
    assert planned("moco_v2_in1k_100ep", bn_groups=8).bn_group == 32


def out(head: Head | str | None) -> int:
    assert isinstance(head, Head)
    return head.out


def test_dim_is_the_number_of_maps_and_the_aligned_size_follows() -> None:
    whole, aligned = planned("lewel_b_in100", images=126_689, dim=64).recipe.method.terms
    assert {out(whole.projector), out(whole.predictor), out(aligned.projector), out(aligned.predictor)} == {64}
    whole, aligned = planned("lewel_b_in100", images=126_689, dim=64, aligned_dim=256).recipe.method.terms
    assert (out(whole.projector), out(aligned.projector), out(aligned.predictor)) == (64, 256, 256)
    whole, aligned = planned("lewel_m_in100", images=126_689, aligned_dim=512).recipe.method.terms
    assert (out(whole.projector), out(aligned.projector)) == (128, 512)


@pytest.mark.parametrize("row", ["aligned_only", "separate_head", "random_maps", "no_extra_head"])
def test_dim_reaches_the_maps_of_every_ablation(row: str) -> None:
    recipe = planned(f"lewel_m_{row}_in100", 126_689, dim=64, groups=2, hidden=96).recipe
    aligned = recipe.method.terms[-1]
    assert aligned.maps.groups == 2
    assert planned(f"lewel_m_{row}_in100", 126_689, dim=64, groups=2).negatives["aligned"] == 255 * 32
    heads = [t.projector for t in recipe.method.terms if isinstance(t.projector, Head)]
    heads += [aligned.maps.head] if isinstance(aligned.maps, Learned) else []
    assert {(head.hidden, head.out) for head in heads} == {((96,), 64)}
    assert isinstance(aligned.maps, Random) is (row == "random_maps")
    assert aligned.maps.count(None, recipe.method.dims) == 64


def test_wide_moco_is_a_flag() -> None:
    assert out(planned("moco_v2_in100", 126_689, dim=512).recipe.method.terms[0].projector) == 512


def test_beta_and_temperature() -> None:
    terms = planned("lewel_m_in100", 126_689, beta=0.7, temperature=0.1).recipe.method.terms
    assert [term.weight for term in terms] == pytest.approx([0.3, 0.7])
    assert [term.objective.temperature for term in terms] == [0.1, 0.1]


def test_augmentation_flags_reach_every_view() -> None:
    flags = Overrides(
        crop_min=0.4, flip=0.0, vertical_flip=0.5, rotation=90.0, jitter=0.5, gray=0.0, blur=0.25, solarize=0.0
    )
    recipe = resolve(recipes.get("lewel_b_folder"), flags, 10_000).recipe
    for view in recipe.data.views:
        assert view.scale == (0.4, 1.0)
        assert view.jitter == pytest.approx((0.2, 0.2, 0.1, 0.05))
        assert (view.flip, view.vertical_flip, view.rotation) == (0.0, 0.5, 90.0)
        assert (view.gray, view.blur, view.solarize) == (0.0, 0.25, 0.0)


def test_the_other_flags() -> None:
    plan = planned(
        "byol_folder",
        10_000,
        epochs=7,
        warmup_epochs=1,
        decay_per="step",
        encoder="resnet18",
        stem="small",
        image_size=96,
    )
    recipe = plan.recipe
    assert (recipe.epochs, recipe.optimizer.warmup_epochs, recipe.optimizer.decay_per) == (7, 1, "step")
    assert (recipe.method.encoder.name, recipe.method.encoder.stem, recipe.data.image_size) == ("resnet18", "small", 96)
    assert planned("byol_folder", 10_000, weight_decay=0.0).recipe.optimizer.weight_decay == 0.0


NO_EFFECT = [
    ("byol_in1k_100ep", {"queue": 4096}, "moco_v2 and lewel_m have it"),
    ("lewel_b_in1k_100ep", {"temperature": 0.1}, "moco_v2 and lewel_m have it"),
    ("moco_v2_in1k_100ep", {"groups": 4}, "lewel_m and lewel_b have it"),
    ("byol_in1k_100ep", {"aligned_dim": 64}, "lewel_m and lewel_b have it"),
    ("lewel_m_no_extra_head_in100", {"aligned_dim": 64}, "no effect"),
    ("lewel_m_aligned_only_in100", {"beta": 0.3}, "lewel_m and lewel_b have it"),
]


@pytest.mark.parametrize(("name", "numbers", "message"), NO_EFFECT)
def test_flag_without_effect_is_refused(name: str, numbers: dict, message: str) -> None:
    (flag,) = numbers
    refused("--" + flag.replace("_", "-") + " .*" + message, name, **numbers)


@pytest.mark.parametrize(
    "numbers",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"weight_decay": -1e-4},
        {"momentum": 1.0},
        {"flip": 1.5},
        {"crop_min": 0.0},
        {"rotation": 200.0},
        {"jitter": 3.0},
        {"beta": -0.1},
        {"groups": 0},
        {"temperature": 0.0},
    ],
)
def test_number_out_of_range_is_refused(numbers: dict) -> None:
    (flag,) = numbers
    refused(rf"--{flag.replace('_', '-')} .*: must be", "lewel_m_in1k_100ep", **numbers)


def test_what_does_not_fit_is_refused() -> None:
    refused("100 images are fewer than a batch of 128: .*--batch-size", "lewel_b_folder", images=100)
    refused("larger than the data set of 50000 images.*--queue 49920", "moco_v2_in1k_100ep", images=50_000)
    refused("larger than the data set", "moco_v2_folder", images=10_000, queue=12_800)
    refused("384 does not divide the queue of 65536.*--queue.*65280", "moco_v2_in1k_100ep", batch_size=384)
    refused("12 groups do not divide the 128 maps.*--groups", "lewel_m_in1k_100ep", groups=12)
    refused(r"3 equal parts .*--batch-size, say to 1023", "lewel_b_in1k_100ep", world=3)
    refused("--accumulate 0", "lewel_b_in1k_100ep", accumulate=0)
    refused("--bn-groups 6: must be 1 .* 4 processes", "lewel_b_in1k_100ep", world=4, bn_groups=6)
    refused("3 groups of BN statistics do not divide the 1024", "lewel_b_in1k_100ep", bn_groups=3)
    refused("batch norm needs 2 images", "byol_folder", images=1000, batch_size=1)
    refused("batch norm needs 2 images", "byol_folder", images=1000, batch_size=8, world=2, accumulate=4)
    too_long = {"epochs": 10, "warmup_epochs": 10}
    refused("warm-up of 10 epochs leaves nothing of 10: --warmup-epochs 9", "byol_folder", images=1000, **too_long)


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (10, 0), (11, 10), (20, 10)])
def test_fewer_epochs_than_the_warm_up_shorten_it_with_a_note(epochs: int, warmup: int) -> None:
    """byol_folder: 200 epochs, 10 of them warm-up."""
    shorter = planned("byol_folder", 10_000, epochs=epochs)
    assert shorter.recipe.optimizer.warmup_epochs == warmup
    notes = [note for note in shorter.notes if "warm-up" in note]
    told = [f"--epochs {epochs} of the recipe's 200: warm-up 10 -> {warmup} epochs (--warmup-epochs)"]
    assert notes == (told if warmup < 10 else [])


def with_terms(recipe: Recipe, *terms) -> Recipe:
    return replace(recipe, method=replace(recipe.method, terms=terms))


def test_terms_of_a_users_recipe_must_fit_together() -> None:
    recipe = recipes.get("lewel_b_tiny")
    whole, aligned = recipe.method.terms
    wrong = {
        "has no terms": [],
        "two terms are named 'global'": [whole, whole],
        "names 'global', but the terms before it": [aligned, whole],
        "names 'g'": [whole, replace(aligned, projector="g")],
    }
    for message, terms in wrong.items():
        with pytest.raises(UserError, match=message):
            with_terms(recipe, *terms)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(0), "MLP: out 0: must be 1 or more"),
        (lambda: MLP(8, hidden=(16, 0)), r"MLP: hidden \(16, 0\): must be a tuple, each 1 or more"),
        (lambda: Random(temperature=0.0), "Random: temperature 0.0: must be more than 0"),
        (lambda: Momentum(1.0), "Momentum: momentum 1.0: must be 0 to less than 1"),
        (lambda: Direction(0, -1), "Direction: other -1: must be 0 or more"),
    ],
)
def test_a_wrong_value_is_refused_where_it_is_written(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_a_value_of_a_wrong_type_is_refused_where_it_is_written() -> None:
    """In a process of its own: these tests check types, and would find them first."""
    wrong = {
        "MLP(8, bias='some')": "MLP: bias 'some': must be one of all, last, none",
        "Random(dim='8')": "Random: dim '8': must be a whole number",
        "Queue(queue=True)": "Queue: queue True: must be a whole number",
        "Learned(head=8)": "Learned: head 8: must be a Head",
        "MLP(8, hidden=16)": "MLP: hidden 16: must be a tuple",
    }
    code = "from lewel.terms import *\nfor text in sys.argv[1:]:\n try: eval(text)\n except UserError as e: print(e)"
    code = f"import sys\nfrom lewel import UserError\n{code}"
    run = subprocess.run([sys.executable, "-c", code, *wrong], capture_output=True, text=True)
    assert run.stdout.splitlines() == list(wrong.values()), run.stderr


def test_a_wrong_field_is_a_type_error_where_it_is_written() -> None:
    for make in (lambda: Random(count=8), lambda: Learned(groups=2), lambda: MLP(8, width=3)):
        with pytest.raises(TypeError):
            make()
