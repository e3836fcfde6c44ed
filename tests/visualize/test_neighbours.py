"""The neighbours' page of a real run: what it shows, that it stands alone, and that names cannot become markup."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from lewel import config
from lewel.config import Options
from lewel.console import Console
from lewel.data import scenes
from lewel.errors import UserError
from lewel.evaluate.subject import digest, open_subject
from lewel.interop import runs
from lewel.plan import Overrides
from lewel.pretrain import pretrain
from lewel.visualize.commands import save_neighbours
from pages import Tags

EVIL = "<b onclick=alert(1)>&'"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=40, val=20, size=64)


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of MoCo v2, whose recipe starts the blocks' last batch norms at 0."""
    path = tmp_path_factory.mktemp("runs") / "moco"
    numbers = Overrides(encoder="test_resnet", batch_size=16, epochs=1, hidden=32, dim=16)
    given = Options(data=str(photos), run=str(path), seed=7, device="cpu", workers=0, evaluate="none")
    pretrain("moco_v2_tiny", given, numbers, Console(file=io.StringIO()))
    return path


def options(weights: object, images: Path) -> config.Extraction:
    return config.Extraction(str(weights), str(images), device="cpu", precision="fp32", workers=0)


def test_the_page_of_a_run(run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_neighbours(options(run, photos), tmp_path / "page.html", 6, 4, 7, 1000)
    page = Tags((tmp_path / "page.html").read_text(encoding="utf-8"))
    for words in ("Random", "untrained, seed 8", "Initial", "as the run began: untrained, seed 7", "Trained", str(run)):
        assert words in page.text
    assert "This run began from random weights" in page.text and "40 images of train" in page.text
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 6 * (1 + 3 * 4)
    framed = [image["class"] for image in images]
    assert framed.count("query") == 6 and set(framed) == {"query", "same", "other"}
    assert page.text.count(f"of {6 * 4}; by chance 10.0 %") == 3
    for image in images:
        assert image["src"] and image["src"].startswith("data:image/jpeg;base64,")
        assert Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1]))).size == (64, 64)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "neighbours of the same class: random " in capsys.readouterr().out


def test_the_initial_weights_are_those_the_run_began_with(run: Path) -> None:
    began = runs.beginning(run)
    assert began == runs.Beginning(f"random:{run}", 7)
    expected = runs.load(run).initial.online.encoder.backbone.state_dict()
    assert open_subject(began.source, 7).digest == digest(expected)
    assert runs.beginning(run / "checkpoints") is None


@pytest.mark.skipif(sys.platform == "win32", reason="such names are no names there")
def test_no_name_becomes_markup_and_no_label_no_share(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / EVIL
    folder.mkdir()
    for number in range(9):
        Image.new("RGB", (48, 40), (25 * number, 99, 0)).save(folder / f"{EVIL}{number}.png")
    save_neighbours(options(run / "encoder.safetensors", folder), tmp_path / "page.html", 3, 20, 0, 1000)
    page = Tags((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert EVIL in page.text and "The images have no labels" in page.text
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3 * (1 + 2 * 8)  # all others; no initial weights, of which the file says nothing
    assert {image.get("class") for image in images} == {"query", None}


@pytest.mark.parametrize(
    ("out", "numbers", "message"),
    [
        ("page.png", (6, 4), r"ends in \.html"),
        ("none/page.html", (6, 4), "does not exist"),
        ("page.html", (0, 4), "--queries 0: must be 1 or more"),
        ("page.html", (6, 0), "--nearest 0: must be 1 or more"),
    ],
)
def test_what_cannot_be_is_said_first(
    out: str, numbers: tuple[int, int], message: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        save_neighbours(options("nowhere", photos), tmp_path / out, *numbers, 0, 1000)
