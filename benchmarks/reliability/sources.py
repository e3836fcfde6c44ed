"""What the campaigns train on: images as a folder, its index and its shards; faces with points; a trained encoder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from started import must_end, start

SMALL = (
    "--encoder", "test_resnet", "--image-size", 48, "--batch-size", 16, "--hidden", 16, "--dim", 8,
    "--precision", "fp32", "--device", "cpu", "--log-every", 1,
)  # fmt: skip
MAKING_S = 3600.0


def make(work: Path, train: int = 32, val: int = 16) -> dict[str, Path]:
    """The paths by name; made where they are not there yet."""
    from lewel.data import scenes

    folder = work / "scenes"
    with contextlib.redirect_stdout(None):
        scenes.make(folder, train=train, val=val, size=48)
    found = {"folder": folder, "index": work / "photos.safetensors", "shards": work / "shards"}
    if not found["index"].exists():
        _lewel(work, "data", "index", folder, "--out", found["index"])
    if not (found["shards"] / "shards.safetensors").exists():
        _lewel(work, "data", "pack", found["index"], "--out", found["shards"], "--shard-size", "4e4")
    found |= {"faces": faces(work, folder), "trained": trained(work, folder)}
    return found


def faces(work: Path, images: Path) -> Path:
    """Five made points on some of the images, in the form of 300W."""
    out = work / "faces"
    for split, part, count in (("train", "train", 24), ("val", "test", 8)):
        (out / part).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(sorted((images / split).rglob("*.jpg"))[:count]):
            (out / part / f"{number}.jpg").write_bytes(image.read_bytes())
            points = "\n".join(f"{8 + 3 * i + number % 7}.5 {6 + 5 * i}.25" for i in range(5))
            (out / part / f"{number}.pts").write_text(f"version: 1\nn_points: 5\n{{\n{points}\n}}\n")
    return out


def trained(work: Path, images: Path) -> Path:
    """A finished run, whose encoder `lewel evaluate` measures."""
    run = work / "trained"
    if not (run / "encoder.safetensors").exists():
        _lewel(
            work, "pretrain", "lewel_m_tiny", "--data", images, "--out", run, *SMALL, "--epochs", 2,
            "--workers", 0, "--evaluate", "none", "--save-every", 2,
        )  # fmt: skip
    return run


def _lewel(work: Path, *words: object) -> None:
    must_end(start(words, work / "made.log", work / "tmp"), f"lewel {' '.join(map(str, words))}", MAKING_S)
