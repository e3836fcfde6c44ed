"""The examples do what the package does, and run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import lewel
from lewel.bench.one_file import packaged
from lewel.config import Encoder
from lewel.data import scenes
from lewel.engine.optim import make_optimizer
from lewel.engine.schedule import warmup_cosine
from lewel.evaluate.dense.truth import coco, voc
from lewel.evaluate.dense.truth.masks import open_segmentation
from lewel.evaluate.dense.truth.points import open_landmarks
from lewel.recipes import lewel_b_in1k_100ep, lewel_b_tiny, methods, moco_v2_tiny
from lewel.shapes import Batch, View

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folder(path: Path, count: int) -> Path:
    noise = np.random.RandomState(0)
    path.mkdir()
    for number in range(count):
        Image.fromarray(noise.randint(0, 255, (40, 48, 3), dtype=np.uint8)).save(path / f"{number}.png")
    return path


# -- lewel_in_one_file.py --------------------------------------------------------------------------------------------


def assert_close(mine: Tensor | None, theirs: Tensor | None, name: str) -> None:
    assert mine is not None and theirs is not None, name
    difference = (mine - theirs).abs().max().item()
    assert difference <= 1e-10 * max(1.0, theirs.abs().max().item()), f"{name}: {difference}"


def test_one_file_trains_as_the_package_does() -> None:
    """Loss, gradients, and the whole state after two LARS steps, in float64, from equal weights and statistics."""
    one = example("lewel_in_one_file")
    torch.manual_seed(0)
    mine = one.LEWEL("resnet18", hidden=48, dim=16, groups=4, beta=0.3, momentum=0.9)
    for name, buffer in mine.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    for parameter in mine.target.parameters():  # a target that has moved away
        parameter.add_(0.1 * parameter.std(correction=0) * torch.randn_like(parameter))
    mine = mine.double().train()

    recipe = lewel_b_in1k_100ep()
    method = methods.lewel_b(Encoder("resnet18"), hidden=48, dim=16, aligned_dim=16, groups=4, beta=0.3, momentum=0.9)
    optimizer_spec = replace(recipe.optimizer, lr=0.5, weight_decay=1e-3)
    recipe = replace(recipe, method=method, data=replace(recipe.data, image_size=64), optimizer=optimizer_spec)
    ours = lewel.build.method(recipe).double().train()
    ours.load_state_dict(
        {packaged(name): tensor for name, tensor in mine.state_dict().items()} | {"pending": ours.pending}
    )

    my_optimizer = one.LARS([p for p in mine.parameters() if p.requires_grad], lr=0.5, weight_decay=1e-3)
    our_optimizer = make_optimizer(ours, recipe.optimizer)
    parameters = dict(ours.named_parameters())
    for step in range(2):
        views = torch.randn(2, 4, 3, 64, 64, dtype=torch.float64)
        loss = mine(*views)
        ours.before_step(step, 10)
        our_loss, out = ours(*views)
        assert_close(loss, our_loss, f"loss at step {step}")
        for optimizer, value in ((my_optimizer, loss), (our_optimizer, our_loss)):
            optimizer.zero_grad()
            value.backward()
        for name, parameter in mine.named_parameters():
            if parameter.requires_grad:
                assert_close(parameter.grad, parameters[packaged(name)].grad, f"gradient of {name} at step {step}")
        for optimizer, rate in ((my_optimizer, 0.5 - 0.3 * step), (our_optimizer, 0.5 - 0.3 * step)):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        mine.move_target(step, 10)
        ours.after_step(out)
    state = ours.state_dict()
    for name, tensor in mine.state_dict().items():
        assert_close(tensor, state[packaged(name)], f"{name} after two steps")


def test_one_file_has_the_published_schedule_and_views() -> None:
    one = example("lewel_in_one_file")
    spec = lewel_b_in1k_100ep().optimizer
    rate = warmup_cosine(3.6, 100, 7, warmup_epochs=spec.warmup_epochs)
    for step in range(700):
        assert one.learning_rate(step, 3.6, 7, 100, 10) == pytest.approx(rate(step), rel=1e-12)
    for number, view in enumerate(lewel_b_in1k_100ep().data.views):
        two = one.TwoViews(Path("nowhere"), 224)
        crop, flip, jitter, gray, blur, solarize, *_ = (two.first, two.second)[number].transforms
        assert (crop.scale, flip.p, jitter.p, gray.p) == (view.scale, view.flip, view.jitter_probability, view.gray)
        assert (blur.p, solarize.p, solarize.threshold) == (view.blur, view.solarize, 128)
        colours = jitter.transforms[0]
        for (low, high), strength in zip(
            (colours.brightness, colours.saturation), (view.jitter[0], view.jitter[2]), strict=True
        ):
            assert (high - low) / 2 == pytest.approx(strength)


def test_one_file_runs_from_the_command_line(tmp_path: Path) -> None:
    images = folder(tmp_path / "images", 9)
    sizes = (
        "--arch resnet18 --image-size 32 --batch-size 4 --epochs 2 --warmup-epochs 1 --hidden 32 --dim 16 --workers 0"
    )
    out = tmp_path / "encoder.pt"
    command = [sys.executable, str(EXAMPLES / "lewel_in_one_file.py"), str(images), *sizes.split(), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout
    model = torchvision.models.resnet18()
    model.fc = nn.Identity()
    model.load_state_dict(torch.load(out, weights_only=True))


def test_one_file_needs_nothing_of_the_package() -> None:
    assert not re.search(r"^\s*(from|import) lewel", (EXAMPLES / "lewel_in_one_file.py").read_text(), re.MULTILINE)


# -- lightning.py ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pytest.param(lewel_b_tiny, marks=pytest.mark.slow), moco_v2_tiny])
def test_lightning_takes_the_steps_of_the_plain_loop(make, tmp_path: Path) -> None:
    lightning = pytest.importorskip(
        "lightning", reason="the example wraps the method for Lightning, which is not installed"
    )
    recipe = (
        make()
    )  # SGD for both: LARS returns the closure's loss, a tensor, as a float, and the tests' checker objects
    recipe = replace(recipe, epochs=2, optimizer=replace(recipe.optimizer, kind="sgd", lr=0.05, warmup_epochs=0))
    torch.manual_seed(0)
    data = [
        Batch((View(torch.randn(8, 3, 64, 64)), View(torch.randn(8, 3, 64, 64))), torch.arange(8), []) for _ in "ab"
    ]
    module = example("lightning").Pretraining(recipe, epoch_steps=1)
    start = {name: tensor.clone() for name, tensor in module.method.state_dict().items()}
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=None))

    plain = lewel.build.method(recipe).train()
    plain.load_state_dict(start)
    spec = recipe.optimizer
    optimizer = make_optimizer(plain, spec)
    rate = warmup_cosine(spec.lr, 2, 1, warmup_epochs=spec.warmup_epochs, decay_per=spec.decay_per)
    for step, batch in enumerate(data):
        plain.before_step(step, 2)
        loss, out = plain(*batch.views)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        plain.after_step(out)
    moved = 0
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(module.method.state_dict()[name], tensor, msg=name)
        moved += not torch.equal(tensor, start[name])
    assert moved > len(start) / 2


@pytest.mark.slow
def test_lightning_runs_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="the example wraps the method for Lightning, which is not installed")
    images = folder(tmp_path / "images", 9)
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom lewel.recipes import lewel_b_tiny\n\n"
        "def short():\n    whole = lewel_b_tiny()\n"
        "    return replace(whole, epochs=1, optimizer=replace(whole.optimizer, batch_size=8))\n"
    )
    command = [sys.executable, str(EXAMPLES / "lightning.py"), "mine.py:short", str(images)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert lewel.load_encoder(tmp_path / "encoder.safetensors").name == "resnet18"


# -- eight_images.py -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.make(tmp_path_factory.mktemp("objects") / "scenes", train=60, val=2, size=64)


@pytest.mark.parametrize("form", ["voc", "coco"])
def test_eight_images_with_large_objects_are_train_and_val(form: str, objects: Path, tmp_path: Path) -> None:
    eight = example("eight_images")
    if form == "coco":
        eight.coco(objects, tmp_path)
        train, val = (coco.open_objects(tmp_path, part) for part in ("train", "val"))
    else:
        eight.voc(objects / scenes.VOC, tmp_path)  # the year itself; the masks come from the folder above it
        train, val = (voc.open_objects(voc.detection_parts(tmp_path, part)) for part in ("train", "val"))
    assert train.digest == val.digest and len(train) == 8 and not [*train.warnings()]
    for each in train.images:
        assert 1 <= len(each) <= 3
        sides = each.boxes[:, 2:] - each.boxes[:, :2]
        assert (sides.prod(axis=1) > 0.05 * each.size[0] * each.size[1]).all()  # VOC's numbers are whole pixels
        assert each.image().size == each.size


def test_eight_masks_and_eight_faces(objects: Path, tmp_path: Path) -> None:
    eight = example("eight_images")
    eight.segmentation(objects / "VOCdevkit", tmp_path / "masks")
    train, val = (open_segmentation(tmp_path / "masks", part) for part in ("train", "val"))
    assert train.digest == val.digest and len(train) == 8
    shares = train.counts[:, :-1] / train.counts.sum(axis=1, keepdims=True)
    assert ((shares == 0) | (shares >= 0.06)).all()
    for number in range(9):
        points = tmp_path / "all" / "train" / f"{number % 2}" / f"a[{number // 2}].pts"
        points.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(points.with_suffix(".jpg"))
        points.write_text(f"version: 1\nn_points: 2\n{{\n{10 + number} 10\n30 30\n}}\n")
    eight.faces(tmp_path / "all", tmp_path / "faces")
    train, val = (open_landmarks(tmp_path / "faces", part) for part in ("train", "val"))
    assert len(train) == len(val) == 8 and np.array_equal(train.points, val.points)


def test_eight_images_says_where_there_are_fewer(tmp_path: Path) -> None:
    made = scenes.make(tmp_path / "scenes", train=4, val=1, size=64)
    command = [sys.executable, str(EXAMPLES / "eight_images.py"), "coco", str(made), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "images of train have points, or 1 to 3 objects of 6% or more each" in done.stderr
    assert not (tmp_path / "out").exists()


# -- slurm -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Slurm's scripts are for bash")
@pytest.mark.parametrize("script", ["slurm_one_node.sh", "slurm_nodes.sh"])
@pytest.mark.parametrize(("code", "requeued"), [(0, False), (75, True), (2, False)])
def test_slurm_requeues_a_run_that_was_stopped(script: str, code: int, requeued: bool, tmp_path: Path) -> None:
    """With stand-ins for srun and scontrol that say how they were called."""
    for name, body in {"srun": f'echo "srun $@"; exit {code}', "scontrol": 'echo "scontrol $@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DATA": "/data/a folder"}
    environment |= {"SLURM_JOB_ID": "42", "SLURM_CPUS_PER_TASK": "12"}
    done = subprocess.run(["bash", str(EXAMPLES / script)], capture_output=True, text=True, env=environment, timeout=30)
    assert ("scontrol requeue 42" in done.stdout) is requeued
    assert done.returncode == (0 if requeued else code)
    recipe = re.search(r"lewel pretrain (\S+) --data /data/a folder --out runs/\1", done.stdout)
    assert recipe and recipe[1] in lewel.recipes.names()


# -- the package's own face ------------------------------------------------------------------------------------------


def test_importing_lewel_imports_no_torch_and_every_public_name_is_there() -> None:
    code = (
        "import sys, lewel; assert 'torch' not in sys.modules; lewel.recipes.lewel_b_tiny(); lewel.config.Encoder();"
        "assert 'torch' not in sys.modules; assert set(lewel.__all__) <= set(dir(lewel)); "
        "[getattr(lewel, name) for name in lewel.__all__]; assert 'torch' in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = lewel.nonsense
