"""Figures 1, 2 and 4 of the paper, redrawn from the tensors of a real method on a made scene.

    python -m lewel.visualize.figures --out docs/figures

The network is LEWEL_B's ResNet-18 as it is before its first step, the same on every machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from lewel import build, config, recipes
from lewel.data import augment, pillow
from lewel.data.scene_paint import paint
from lewel.model import maps
from lewel.model.branch import Branch
from lewel.model.target import MomentumTarget
from lewel.shapes import Embeddings
from lewel.terminal import say
from lewel.visualize import style
from lewel.visualize.diagram import TILE, arrow, box, column, line, lively, relative, stack

SIZE, GROUPS = 224, 4
SIGNED, FEATURES, MAPS = "RdBu_r", "viridis", "inferno"
LOSS: dict[str, Any] = {"va": "center", "weight": "bold", "linespacing": 1.3}


class Seen(NamedTuple):
    """One view on its way through one branch; tensors of that image alone."""

    picture: Image.Image
    features: Float[Tensor, "c h w"]
    heat: Float[Tensor, "d h w"]  # the global projector at every position
    maps: Float[Tensor, "m h w"]
    result: Embeddings
    compared: dict[str, Tensor]  # (1, n, d): what the objectives get, predicted by the online network

    @property
    def tokens(self) -> Float[Tensor, "1 p c"]:
        return self.result.features.tokens


class Material(NamedTuple):
    """All that the figures show."""

    scene: Image.Image
    views: tuple[augment.Parameters, augment.Parameters]
    online: Seen  # view 1
    target: Seen  # view 2
    losses: dict[str, float]  # both directions
    weights: dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the figures as PNG."""
    parser = argparse.ArgumentParser(description="Redraw Fig. 1, 2 and 4 of the paper from real tensors.")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"), help="folder to write to")
    out = parser.parse_args(arguments).out
    material = gather()
    for name, draw in (("fig1_where", where), ("fig2_pipeline", pipeline), ("fig4_groups", groups)):
        style.save(draw(material), out / f"{name}.png", dpi=144, colours=160)
        say(f"wrote {out / name}.png")


@torch.no_grad()
def gather(size: int = SIZE) -> Material:
    """Two views of a scene, one through the online and one through the target network."""
    recipe = recipes.get("lewel_b_tiny")
    recipe = replace(recipe, data=replace(recipe.data, image_size=size))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        method = build.terms(recipe).eval()
    scene = Image.fromarray(paint(np.random.default_rng(7), 0, size).pixels)
    plain = config.View(scale=(0.35, 0.8), jitter_probability=1.0, gray=0, blur=0)
    first, second = (augment.sample(plain, scene.size, size, 3, 0, 0, i) for i in range(2))
    views = [pillow.augmented(scene, one) for one in (first, second)]
    pixels = [_normalised(view, recipe.data) for view in views]
    _, out = method(*pixels)
    online = _seen(method.online, views[0], pixels[0], method.predictors)
    assert isinstance(method.target, MomentumTarget)
    target = _seen(method.target.branch, views[1], pixels[1], nn.ModuleDict())
    losses = {name: float(out[f"loss/{name}"]) for name in method.weights}
    return Material(scene, (first, second), online, target, losses, method.weights)


def _seen(branch: Branch, view: Image.Image, pixels: Tensor, predictors: nn.ModuleDict) -> Seen:
    result = branch(pixels)
    height, width = result.features.size
    heat = branch.projectors["global"](result.features.tokens)
    return Seen(
        view,
        result.features.tokens[0].T.unflatten(1, (height, width)),
        heat[0].T.unflatten(1, (height, width)),
        result.maps["aligned"][0].unflatten(1, (height, width)),
        result,
        {name: predictors[name](rows) if name in predictors else rows for name, rows in result.embeddings.items()},
    )


def _normalised(view: Image.Image, data: config.Data) -> Float[Tensor, "1 3 h w"]:
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (data.mean, data.std))
    return ((pillow.to_tensor(view).float() / 255 - mean) / std)[None]


# -- Fig. 1


def where(material: Material) -> Figure:
    """Fig. 1: global, dense and LEWEL's pooling differ in the maps alone."""
    seen = material.online
    p, d = seen.tokens.shape[1], len(seen.maps)
    sheet = style.Sheet(8.2, 5.2)
    _title(sheet, "Where a method looks: the maps that it pools with", f"One view, {p} positions; each map sums to 1.")
    for x, text in (
        (0.25, "view"),
        (1.75, "feature map F"),
        (3.25, "alignment maps"),
        (6.45, "pooled vectors, a row each"),
    ):
        sheet.text(x, 0.82, text, 8.5, style.MUTED)
    uniform, pixel = (kind(seen.result.features) for kind in (maps.Uniform(), maps.Pixel()))
    _way(sheet, 1.1, seen, uniform, 1, "Global: 1 map, uniform", "MoCo v2, BYOL: average pooling")
    _way(sheet, 2.5, seen, pixel, 1, f"Dense: {p} maps, one-hot", "one vector for each position")
    about = f"predicted by the projector; {GROUPS} groups, {d // GROUPS} vectors"
    _way(sheet, 3.9, seen, seen.maps.flatten(1)[None], GROUPS, f"LEWEL: {d} maps, learned", about)
    return sheet.figure


def _way(sheet: style.Sheet, y: float, seen: Seen, found: Tensor, groups: int, name: str, about: str) -> None:
    """View, feature map, maps, vectors: one row of Fig. 1."""
    middle = y + 0.5
    sheet.image(0.25, y, 1.0, 1.0, np.asarray(seen.picture))
    arrow(sheet, 1.32, middle, 1.67, middle)
    stack(sheet, 1.75, middle - 0.4, lively(seen.features), FEATURES)
    arrow(sheet, 2.75, middle, 3.15, middle)
    shown = found[0].unflatten(1, seen.maps.shape[1:])
    _tiles(sheet, 3.25, middle - TILE / 2, shown)
    sheet.text(3.25, middle + TILE / 2 + 0.07, name, 8.5, weight="bold")
    sheet.text(3.25, middle + TILE / 2 + 0.24, about, 8, style.MUTED)
    arrow(sheet, 6.0, middle, 6.35, middle)
    pooled = maps.aggregate(seen.tokens, found, groups)[0]
    height = max(0.06, min(1.0, len(pooled) * 1.0 / 49))
    sheet.image(6.45, middle - height / 2, 1.3, height, relative(pooled[:, :64]), cmap=FEATURES)
    sheet.text(7.82, middle, str(len(pooled)), 8.5, style.MUTED, va="center")


def _tiles(sheet: style.Sheet, x: float, y: float, shown: Float[Tensor, "m h w"]) -> None:
    """All maps where there is one, else three and their number."""
    if len(shown) == 1:  # the same everywhere: stretching would make it all dark
        sheet.image(x, y, TILE, TILE, np.full(shown.shape[1:], 0.5), cmap=MAPS, vmin=0, vmax=1)
        return
    one_hot = bool((shown.amax(dim=(1, 2)) == 1).all())
    chosen = shown[:: len(shown) // 3][:3] if one_hot else lively(shown)
    for i, one in enumerate(chosen):
        sheet.image(x + i * (TILE + 0.1), y, TILE, TILE, one.numpy(), cmap=MAPS)
    sheet.text(x + 3 * (TILE + 0.1), y + TILE / 2, f"... {len(shown)}", 8.5, style.MUTED, va="center")


# -- Fig. 2

LANES = 1.15  # between the global lane and the aligned one
UPPER, LOWER = 1.55, 4.6  # the online network's global lane, the target's aligned one
END = 9.95


def pipeline(material: Material) -> Figure:
    """Fig. 2: one direction of LEWEL_B, view 1 through the online network and view 2 through the target."""
    sheet = style.Sheet(11.3, 6.75)
    weights = " + ".join(f"{weight:g} {name}" for name, weight in material.weights.items())
    about = f"Tensors of an untrained ResNet-18, a few of their channels. Loss = {weights}, both directions added."
    _title(sheet, "One direction of LEWEL_B", about)
    scene = sheet.image(0.2, 3.2, 0.9, 0.9, np.asarray(material.scene))
    for one, colour in zip(material.views, (style.BLUE, style.ORANGE), strict=True):
        style.outline(scene, one.box(), colour)
    arrow(sheet, 0.7, 3.12, 1.38, UPPER + LANES / 2 + 0.35)
    arrow(sheet, 0.7, 4.18, 1.38, LOWER + LANES / 2 - 0.35)
    _network(sheet, material.online, UPPER, UPPER + LANES, style.BLUE, predicts=True)
    _network(sheet, material.target, LOWER + LANES, LOWER, style.ORANGE, predicts=False)
    sheet.text(1.45, 0.8, "online network \u03b8", 9.5, style.BLUE, weight="bold")
    about = "target network \u03be: moving average of \u03b8, no gradient"
    sheet.text(1.45, 6.45, about, 9.5, style.ORANGE, weight="bold")
    _bracket(sheet, UPPER, LOWER + LANES, END + 1.1)
    sheet.text(END + 1.02, UPPER - 0.3, f"global\n{material.losses['global']:.3f}", 9, ha="right", **LOSS)
    _bracket(sheet, UPPER + LANES, LOWER, END + 0.2)
    middle = (UPPER + LANES + LOWER) / 2
    sheet.text(END + 0.28, middle, f"aligned\n{material.losses['aligned']:.3f}", 9, **LOSS)
    return sheet.figure


def _network(sheet: style.Sheet, seen: Seen, whole: float, aligned: float, colour: str, predicts: bool) -> None:
    """One network; `whole` and `aligned` are the heights of its two lanes. The projector g serves both in one call."""
    middle, away = (whole + aligned) / 2, 1 if aligned > whole else -1
    view = sheet.image(1.45, middle - 0.45, 0.9, 0.9, np.asarray(seen.picture))
    style.outline(view, (0, 0, 1, 1), colour)
    arrow(sheet, 2.4, middle, 2.66, middle)
    stack(sheet, 2.72, middle - 0.4, lively(seen.features), FEATURES)
    sheet.text(3.12, middle - away * 0.58, "F", 9, ha="center", va="center", style="italic")
    arrow(sheet, 3.55, middle - away * 0.2, 3.88, whole)
    column(sheet, 3.95, whole, seen.features.mean(dim=(1, 2))[:40], FEATURES)
    sheet.text(4.02, whole - away * 0.52, "mean over positions", 8, style.MUTED, ha="center", va="center")
    arrow(sheet, 4.14, whole, 4.44, whole)
    arrow(sheet, 3.55, middle + away * 0.2, 4.44, aligned)
    box(sheet, 4.5, min(whole, aligned) - 0.4, 0.34, LANES + 0.8, "$g$")
    _aligned_lane(sheet, seen, aligned, away)
    foot = aligned + away * 0.72  # F's way around to the sum
    line(sheet, (3.12, middle + away * 0.45), (3.12, foot), (7.68, foot))
    arrow(sheet, 7.68, foot, 7.68, aligned + away * 0.26)
    for y, start, name in ((whole, 4.9, "$q$"), (aligned, 8.92, "$q_o$")):
        arrow(sheet, start, y, 9.0 if predicts else END - 0.46, y)
        if predicts:
            box(sheet, 9.04, y - 0.24, 0.32, 0.48, name, style.GREEN)
            arrow(sheet, 9.38, y, END - 0.46, y)
    column(sheet, END - 0.28, whole, seen.compared["global"][0, 0, :40], SIGNED)
    sheet.image(END - 0.4, aligned - 0.38, 0.4, 0.76, relative(seen.compared["aligned"][0, :, :20]), cmap=SIGNED)


def _aligned_lane(sheet: style.Sheet, seen: Seen, y: float, away: int) -> None:
    """Heat-maps, softmax, alignment maps, sum over positions, g_o."""
    arrow(sheet, 4.9, y, 5.12, y)
    stack(sheet, 5.18, y - 0.4, lively(seen.heat), SIGNED)
    arrow(sheet, 6.06, y, 6.4, y)
    sheet.text(6.23, y - away * 0.08, "softmax", 7, style.MUTED, ha="center", va="bottom" if away > 0 else "top")
    stack(sheet, 6.46, y - 0.4, lively(seen.maps), MAPS)
    for x, text in ((5.58, "heat-maps"), (6.86, "alignment maps")):
        sheet.text(x, y + away * 0.55, text, 8, style.MUTED, ha="center", va="center")
    arrow(sheet, 7.32, y, 7.5, y)
    box(sheet, 7.55, y - 0.2, 0.26, 0.4, "$\\Sigma$", style.MUTED)
    pooled = maps.aggregate(seen.tokens, seen.maps.flatten(1)[None], GROUPS)[0]
    sheet.image(7.98, y - 0.38, 0.4, 0.76, relative(pooled[:, :20]), cmap=FEATURES)
    box(sheet, 8.54, y - 0.24, 0.34, 0.48, "$g_o$")


def _bracket(sheet: style.Sheet, first: float, second: float, x: float) -> None:
    """From the embedding at one height to that at the other."""
    line(sheet, (END + 0.05, first), (x, first), (x, second), (END + 0.05, second), colour=style.INK)


# -- Fig. 4


def groups(material: Material) -> Figure:
    """Fig. 4: channel grouping. Each block of channels is pooled by its own block of maps."""
    seen = material.online
    c, n = len(seen.features), len(seen.maps) // GROUPS
    k = int(seen.maps.unflatten(0, (GROUPS, n)).flatten(2).std(dim=2).mean(dim=0).argmax())
    pooled = maps.aggregate(seen.tokens, seen.maps.flatten(1)[None], GROUPS)[0]
    sheet = style.Sheet(8.6, 5.9)
    about = f"{c} channels and {len(seen.maps)} maps in {GROUPS} groups: {n} aligned vectors $y_k$ of {c} channels"
    _title(sheet, "Channel grouping", f"{about}, here k = {k}.")
    for x, text in (
        (0.25, "channels of F"),
        (3.55, "map"),
        (5.2, f"the group's {c // GROUPS} channels of $y_{{{k}}}$"),
    ):
        sheet.text(x, 0.82, text, 8.5, style.MUTED, parse_math=True)
    for group, colour in enumerate(style.SERIES):
        y = 1.1 + group * 0.86
        channels = slice(group * c // GROUPS, (group + 1) * c // GROUPS)
        sheet.text(
            0.25, y + TILE / 2, f"{channels.start} to {channels.stop - 1}", 8.5, colour, va="center", weight="bold"
        )
        for i, one in enumerate(lively(seen.features[channels])):
            _framed(sheet, 1.25 + i * (TILE + 0.08), y, one, FEATURES, colour)
        sheet.text(3.33, y + TILE / 2, "\u00d7", 13, style.MUTED, ha="center", va="center")
        _framed(sheet, 3.55, y, seen.maps[group * n + k], MAPS, colour)
        sheet.text(4.2, y + TILE / 2, f"{group * n + k}", 8.5, colour, va="center", weight="bold")
        arrow(sheet, 4.6, y + TILE / 2, 5.1, y + TILE / 2)
        part = pooled[k, channels][None, :64]
        style.outline(sheet.image(5.2, y + 0.16, 2.9, 0.24, relative(part), cmap=FEATURES), (0, 0, 1, 1), colour, 1.2)
    _all_vectors(sheet, pooled, k)
    return sheet.figure


def _framed(sheet: style.Sheet, x: float, y: float, one: Float[Tensor, "h w"], colours: str, frame: str) -> None:
    style.outline(sheet.image(x, y, TILE, TILE, one.numpy(), cmap=colours), (0, 0, 1, 1), frame, 1.2)


def _all_vectors(sheet: style.Sheet, pooled: Float[Tensor, "n c"], k: int) -> None:
    """The n vectors as a matrix, without what they share; its columns in the groups' colours, row k marked."""
    n = len(pooled)
    x, y, width, height = 1.25, 4.72, 6.85, 0.8
    sheet.text(0.25, y + 0.12, f"$y_0$ to $y_{{{n - 1}}}$", 9, parse_math=True)
    sheet.text(0.25, y + 0.34, "less their\nmean", 8, style.MUTED, linespacing=1.3)
    apart = (pooled - pooled.mean(dim=0)) / pooled.std(dim=0).clamp_min(1e-12)
    sheet.image(x, y, width, height, apart[:, ::4].numpy(), cmap=SIGNED)
    row = y + (k + 0.5) * height / n
    arrow(sheet, x + width + 0.25, row, x + width + 0.05, row)
    for group, colour in enumerate(style.SERIES):
        left, foot = x + group * width / GROUPS, y + height + 0.08
        line(sheet, (left + 0.03, foot), (left + width / GROUPS - 0.03, foot), colour=colour, width=3)


def _title(sheet: style.Sheet, title: str, about: str) -> None:
    sheet.text(0.2, 0.15, title, 12, weight="bold")
    sheet.text(0.2, 0.42, about, 8.5, style.MUTED, parse_math=True)


if __name__ == "__main__":
    main()
