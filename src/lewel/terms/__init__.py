"""The parts of a method as data: one frozen dataclass a kind, which checks its values and builds its module.

    Method      directions and terms, a target, an encoder: a row of docs/equation.md
    Maps        Uniform, Pixel, Grid, Random, Learned, Coupled
    Head        MLP
    Objective   Cosine, Queue, InBatch
    Pairing     Index, Match, Overlap
    Target      Momentum, Online, Detached

A kind of one's own is a subclass in any file; docs/extending.md shows the contracts. Nothing here imports torch before
something is built.
"""

from __future__ import annotations

from lewel.config import Direction
from lewel.terms.heads import MLP, Head
from lewel.terms.maps import Coupled, Grid, Learned, Maps, Pixel, Random, Uniform
from lewel.terms.method import BOTH_WAYS, ONE_WAY, Method, Term
from lewel.terms.objectives import Cosine, InBatch, Objective, Queue
from lewel.terms.pairings import Index, Match, Overlap, Pairing
from lewel.terms.targets import Detached, Momentum, Online, Target

__all__ = [
    "BOTH_WAYS",
    "MLP",
    "ONE_WAY",
    "Cosine",
    "Coupled",
    "Detached",
    "Direction",
    "Grid",
    "Head",
    "InBatch",
    "Index",
    "Learned",
    "Maps",
    "Match",
    "Method",
    "Momentum",
    "Objective",
    "Online",
    "Overlap",
    "Pairing",
    "Pixel",
    "Queue",
    "Random",
    "Target",
    "Term",
    "Uniform",
]
