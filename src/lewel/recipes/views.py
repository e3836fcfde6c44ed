"""The two augmentations of the paper (MoCo v2's and BYOL's), and what they become for small images."""

from __future__ import annotations

from dataclasses import replace

from lewel.config import View

Views = tuple[View, View]

SMALL_SCALE = (0.08, 1.0)
PUBLISHED_SIZE = 224


def symmetric() -> Views:
    """MoCo v2, LEWEL_M: both views from the same distribution (the defaults of `config.View`)."""
    return View(), View()


def asymmetric() -> Views:
    """BYOL, LEWEL_B: view 1 is always blurred, view 2 rarely, and solarised one time in five; crops from 0.2."""
    jitter = (0.4, 0.4, 0.2, 0.1)
    return View(jitter=jitter, blur=1.0), View(jitter=jitter, blur=0.1, solarize=0.2)


def small(views: Views, image_size: int) -> Views:
    """The same views for images of 32-96 px, our choice after common practice on CIFAR-10 and Tiny-ImageNet.

    Crops start at 0.08 of the area. At 32 px nothing is blurred: there is no fine texture left to hide. Above, the
    blur's largest sigma shrinks with the image, so that it hides the same share of it as 2 px do at 224.
    """
    view1, view2 = views
    if image_size <= 32:
        return replace(view1, scale=SMALL_SCALE, blur=0.0), replace(view2, scale=SMALL_SCALE, blur=0.0)
    sigma = (0.1, round(2.0 * image_size / PUBLISHED_SIZE, 2))
    return replace(view1, scale=SMALL_SCALE, blur_sigma=sigma), replace(view2, scale=SMALL_SCALE, blur_sigma=sigma)


def gentle(views: Views) -> Views:
    """Weaker views for a few epochs on a CPU: crops from 0.3 of the area, half the colour jitter, no solarisation.

    Invariance to colour costs a short run more than it gives: kNN falls below the untrained encoder's before it rises.
    """
    view1, view2 = (
        replace(view, scale=(0.3, 1.0), jitter=tuple(strength / 2 for strength in view.jitter), solarize=0.0)
        for view in views
    )
    return view1, view2


def wide(views: Views) -> Views:
    """Crops from 0.3 of the area, full colour jitter, no solarisation: for scenes, whose colours say nothing."""
    view1, view2 = (replace(view, scale=(0.3, 1.0), solarize=0.0) for view in views)
    return view1, view2
