"""The figures of docs/equation.md show what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lewel.visualize import figures, style
from lewel.visualize.diagram import lively

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("fig1_where", "fig2_pipeline", "fig4_groups")


@pytest.fixture(scope="module")
def material() -> figures.Material:
    return figures.gather(size=96)


def test_the_losses_are_of_what_is_shown(material: figures.Material) -> None:
    """One direction by hand from the embeddings shown; the sum of both directions is no smaller."""
    for name, both in material.losses.items():
        a, b = material.online.compared[name], material.target.compared[name]
        one = 2 - 2 * torch.cosine_similarity(a, b, dim=2).mean()
        assert 0 < one <= both + 1e-5


def test_the_maps_are_made_of_the_heat_maps(material: figures.Material) -> None:
    heat = material.online.heat
    expected = (heat / heat.norm(dim=0)).flatten(1).softmax(dim=1)
    torch.testing.assert_close(material.online.maps.flatten(1), expected)


def test_gathering_is_repeatable_and_leaves_the_random_numbers(material: figures.Material) -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    again = figures.gather(size=96)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(again.online.maps, material.online.maps) and again.losses == material.losses


@pytest.mark.parametrize("draw", [figures.where, figures.pipeline, figures.groups])
def test_each_figure_draws(draw, material: figures.Material) -> None:
    assert style.png(draw(material), dpi=30).startswith(b"\x89PNG")


def test_lively_prefers_what_varies() -> None:
    stack = torch.ones(4, 3, 3)
    stack[2, 0, 0] = 5
    stack[1, 0, 0] = 2
    assert torch.equal(lively(stack, 2), stack[[2, 1]])


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_show_them(name: str) -> None:
    assert f"figures/{name}.png" in (DOCS / "equation.md").read_text()
    assert (DOCS / "figures" / f"{name}.png").stat().st_size < 150_000


def test_the_documents_names_exist() -> None:
    """Files and classes of the table of parts; "X, in A.b" is the class X, kept as b of A elsewhere."""
    root = Path(figures.__file__).parents[1]
    text = (DOCS / "equation.md").read_text()
    rows = [
        row.split("|")
        for row in text.split("## Parts")[1].split("##")[0].splitlines()
        if row.startswith("|") and ".py`" in row
    ]
    assert len(rows) >= 10
    for row in rows:
        sources = "".join((root / file).read_text() for file in re.findall("`(.+?)`", row[3]))
        for name in re.findall("`(.+?)`", row[4].split(", in")[0]):
            assert re.search(rf"(class|def) {name.split('.')[-1]}\b", sources), (row[3], name)
