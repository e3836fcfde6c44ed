"""Views show the face where the points are, and each change as often as it should be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from lewel.evaluate.dense.landmarks.geometry import mirrored
from lewel.evaluate.dense.landmarks.views import (
    BLUR,
    GAMMA,
    LARGEST,
    ChangedView,
    PlainView,
    Worsening,
    draw_change,
    draw_worsening,
    worse,
)
from lewel.evaluate.dense.tasks import Landmarks
from lewel.evaluate.dense.truth.points import Face

TASK = Landmarks(lr=1e-3, batch_size=8, iterations=10, weight_decay=0)
N = 2000


def dots(seed: int, k: int = 68, side: int = 200) -> Face:
    """Each point is a white square of 5 x 5 pixels on black, alone in its part of the image."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(100)[:k]
    centres = np.stack([places % 10, places // 10], axis=1) * 20 + 10 + rng.integers(-3, 4, (k, 2))
    pixels = np.zeros((side, side, 3), np.uint8)
    for x, y in centres:
        pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
    return Face(Image.fromarray(pixels), centres + 0.5)


def light_at(pixels: torch.Tensor, xy: torch.Tensor, reach: int = 4) -> np.ndarray:
    """The centre of the light around a point."""
    x, y = (int(value) for value in xy)
    left, top = max(x - reach, 0), max(y - reach, 0)
    part = pixels[0, top : y + reach + 1, left : x + reach + 1].double().numpy()
    columns, rows = np.arange(part.shape[1]) + left + 0.5, np.arange(part.shape[0]) + top + 0.5
    return np.array([(part.sum(0) * columns).sum(), (part.sum(1) * rows).sum()]) / part.sum()


def test_dots_are_where_the_targets_say() -> None:
    """Turned, scaled, moved and mirrored; nothing else is done to these faces."""
    task = replace(TASK, gray=0, gamma=0, blur=0, occlusion=0, margin=1.6)
    for seed in range(8):
        face = dots(seed)
        pixels, target = ChangedView(task, 200)(face, np.random.default_rng(seed))
        inside = ((target.xy > 8) & (target.xy < 192)).all(dim=1)
        found = np.stack([light_at(pixels, xy) for xy in target.xy[inside]])
        assert inside.sum() > 30 and np.abs(found - target.xy[inside].numpy()).max() < 0.5


def test_mirrored_faces_have_mirrored_names() -> None:
    """The left eye's corner, 45, of the mirrored face is at the mirrored place of 36."""
    task = replace(TASK, rotation=0, scale=0, shift=0, flip=1)
    face = dots(0)
    plain = PlainView(task, 100)(face, np.random.default_rng(0)).target.xy
    flipped = ChangedView(task, 100)(face, np.random.default_rng(0)).target.xy
    pairs = mirrored(68)
    assert pairs is not None
    assert torch.allclose(flipped[45], torch.stack([100 - plain[36, 0], plain[36, 1]]), atol=1e-4)
    assert torch.allclose(flipped[:, 0], 100 - plain[pairs, 0], atol=1e-4)
    assert torch.allclose(flipped[:, 1], plain[pairs, 1], atol=1e-4)


def test_faces_of_other_points_are_never_mirrored() -> None:
    task = replace(TASK, rotation=0, scale=0, shift=0, flip=1)
    face = dots(0, k=5)
    found = [view(task, 100)(face, np.random.default_rng(0)).target.xy for view in (ChangedView, PlainView)]
    assert torch.equal(*found)


def test_a_view_is_a_function_of_its_generator() -> None:
    first, same, other = (ChangedView(TASK, 64)(dots(0), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.pixels, same.pixels) and torch.equal(first.target.xy, same.target.xy)
    assert first.pixels.shape == (3, 64, 64) and not torch.equal(first.target.xy, other.target.xy)
    tests = [PlainView(TASK, 64)(dots(0), np.random.default_rng(seed)).pixels for seed in (0, 1)]
    assert torch.equal(*tests)


def test_each_change_is_as_often_and_as_large_as_it_should_be() -> None:
    rng = np.random.default_rng(0)
    changes = [draw_change(TASK, True, rng) for _ in range(N)]
    turns = np.array([change.rotation for change in changes])
    assert np.abs(turns).max() <= LARGEST * TASK.rotation and abs(turns.std() / TASK.rotation - 0.96) < 0.05
    assert abs(np.mean([change.scale for change in changes]) - 1) < 0.01
    how = [draw_worsening(TASK, rng) for _ in range(N)]
    shares = {
        TASK.flip: [change.flip for change in changes],
        TASK.gray: [each.gray for each in how],
        TASK.blur: [each.blur > 0 for each in how],
        TASK.occlusion: [each.occlusion is not None for each in how],
    }
    for share, found in (*shares.items(), (TASK.gamma, [each.gamma != 1 for each in how])):
        assert abs(np.mean(found) - share) < 4 * math.sqrt(share * (1 - share) / N)
    assert all(GAMMA[0] <= each.gamma <= GAMMA[1] and each.blur <= BLUR for each in how)


def test_what_is_done_to_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    image, nothing = Image.fromarray(pixels), Worsening(False, 1.0, 0.0, None)
    assert np.array_equal(np.asarray(worse(image, nothing)), pixels)
    gray = np.asarray(worse(image, nothing._replace(gray=True)))
    assert (gray == gray[..., :1]).all()
    darker = np.asarray(worse(image, nothing._replace(gamma=2.0)))
    assert np.abs(darker - 255 * (pixels / 255.0) ** 2).max() <= 0.5
    assert np.asarray(worse(image, nothing._replace(blur=0.01))).std() < 0.5 * pixels.std()
    covered = np.asarray(worse(image, nothing._replace(occlusion=((0.2, 0.3, 0.5, 0.6), (1, 2, 3)))))
    assert (covered[30:60, 20:50] == (1, 2, 3)).all() and np.array_equal(np.asarray(image), pixels)
    assert np.array_equal(covered[:30], pixels[:30]) and np.array_equal(covered[:, 51:], pixels[:, 51:])


def test_hidden_points_stay_hidden() -> None:
    """Also where the face is mirrored: 36 is 45 then. The square is that of the others."""
    face = dots(0)
    others = face.points.copy()
    others[36] = np.nan
    flipped = ChangedView(replace(TASK, flip=1), 64)(Face(face.image, others), np.random.default_rng(0))
    assert torch.isnan(flipped.target.xy).any(dim=1).nonzero().flatten().tolist() == [45]
    plain = PlainView(TASK, 64)(Face(face.image, others), np.random.default_rng(0)).target.xy
    same = PlainView(TASK, 64)(Face(face.image, np.delete(face.points, 36, axis=0)), np.random.default_rng(0)).target.xy
    assert torch.equal(torch.cat([plain[:36], plain[37:]]), same)
