"""A method of one's own, in a file of one's own: Barlow Twins (Zbontar et al., 2021).

    lewel pretrain examples/own_method.py:barlow_twins --data images --out barlow

The method is a frozen dataclass with a `build`, whose module is called as `loss, out = module(view1, view2)`; what is
trained is its `encoder`. The fields named as flags are (encoder, hidden, dim) can be changed by them. Nothing else is
needed: checkpoints, resuming, the record, health, evaluations, the report and exports are those of every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import lewel
from lewel import config
from lewel.recipes import views


@dataclass(frozen=True)
class BarlowTwins:
    """hidden, dim: widths of the projector's 3 layers.  decorrelation: weight of what is off the diagonal."""

    encoder: config.Encoder
    hidden: int = 2048
    dim: int = 2048
    decorrelation: float = 0.0051

    def build(self, recipe: lewel.Recipe) -> nn.Module:
        return Module(self)


class Module(nn.Module):
    def __init__(self, spec: BarlowTwins):
        super().__init__()
        self.decorrelation = spec.decorrelation
        self.encoder = lewel.Encoder.from_config(spec.encoder)
        width = self.encoder.backbone.num_features
        self.projector = nn.Sequential(
            *(nn.Linear(width, spec.hidden, bias=False), nn.BatchNorm1d(spec.hidden), nn.ReLU()),
            *(nn.Linear(spec.hidden, spec.hidden, bias=False), nn.BatchNorm1d(spec.hidden), nn.ReLU()),
            nn.Linear(spec.hidden, spec.dim, bias=False),
        )
        self.norm = nn.BatchNorm1d(spec.dim, affine=False)

    def forward(self, *given: lewel.View) -> tuple[Tensor, dict[str, Any]]:
        pooled = [self.encoder(view.pixels).mean(dim=(2, 3)) for view in given]
        one, two = (self.projector(rows) for rows in pooled)
        correlations = self.norm(one).T @ self.norm(two) / len(one)  # of several processes, each over its own images
        wanted = torch.eye(len(correlations), device=one.device)
        weights = torch.where(wanted > 0, 1.0, self.decorrelation)
        loss = (weights * (correlations - wanted).square()).sum()
        unit = functional.normalize(one.detach(), dim=1)
        return loss, {"loss/twins": loss.detach(), "embeddings": {"twins": unit[:, None]}, "pooled": pooled[0].detach()}


def barlow_twins() -> lewel.Recipe:
    """Barlow Twins for 2 CPU cores and images of 64 px."""
    method = BarlowTwins(config.Encoder("resnet18", zero_init_last=True), hidden=512, dim=512)
    data = config.Data(64, views.gentle(views.small(views.asymmetric(), 64)))
    optimizer = config.Optimizer("sgd", 0.003, 64, 1e-4, exclude="bias_and_bn", warmup_epochs=1, decay_per="step")
    return lewel.Recipe("barlow_twins", method, data, optimizer, epochs=5, note="an example")
