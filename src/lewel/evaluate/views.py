"""Views of images for training a classifier, by the crops and flips of pretraining, without its colours."""

from __future__ import annotations

from lewel import config

CROPS = config.View(scale=(0.08, 1.0), jitter_probability=0.0, gray=0.0, blur=0.0)  # and flips
