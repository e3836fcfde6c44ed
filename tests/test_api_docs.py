"""docs/api.md and the notebook: every block of code runs, and a notebook shows progress and pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import lewel
from lewel.data import scenes

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src"), "IPYTHONDIR": "ipython"}
PARAMETERS = (
    'OUT, TRAIN, VAL = Path("out"), 40, 20\n'
    'NUMBERS = {"encoder": "test_resnet", "batch_size": 16, "epochs": 2, "hidden": 32, "dim": 16, "queue": 16, '
    '"warmup_epochs": 0, "image_size": 64, "workers": 0, "evaluate": "none"}'
)


def test_every_public_function_is_in_the_page() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    api = [name for name in lewel.__all__ if getattr(getattr(lewel, name), "__module__", "") == "lewel.api"]
    assert len(api) == 7 and all(f"| `lewel.{name}(" in page for name in api)


def test_the_pages_code_runs(tmp_path: Path) -> None:
    scenes.make(tmp_path / "photos", train=40, val=20, size=64)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert len(blocks) >= 8 and done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells of the notebook, executed at test size, with their outputs."""
    notebook: Any = nbformat.read(ROOT / "examples/notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = PARAMETERS
    folder = tmp_path_factory.mktemp("notebook")
    client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}})
    client.execute(env=ENVIRONMENT)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(cells: list[Any], of: str) -> list[Any]:
    return next(cell.outputs for cell in cells if of in cell.source)


def test_a_notebook_shows_progress_in_one_line_that_is_replaced(cells) -> None:
    texts = [each["data"].get("text/plain", "") for each in outputs(cells, "lewel.pretrain(") if "data" in each]
    lines = [text for text in texts if text.startswith("step ")]
    assert len(lines) == 1 and lines[0].startswith("step 4/4 " + "█" * 20 + " loss ")


def test_a_notebook_shows_pictures(cells) -> None:
    for of in ("plt.plot(", "lewel.maps("):
        assert [each for each in outputs(cells, of) if "image/png" in each.get("data", {})], of


def test_a_notebook_shows_the_evaluation_and_no_warnings(cells) -> None:
    text = "".join(each.get("text", "") for each in outputs(cells, "lewel.evaluate("))
    assert re.search(r"run: top-1 \d+\.\d %\nrandom-run: top-1 \d+\.\d %", text)
    everything = [str(each) for cell in cells for each in cell.outputs]
    ours = "".join(each for each in everything if "TqdmWarning" not in each)  # of tqdm, which timm's downloads use
    assert "ipywidgets" not in ours and "Warning" not in ours
