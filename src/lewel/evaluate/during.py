"""What a run measures of its own encoder while it trains: kNN and linear-fast, on features that are made once.

The same protocols, code and encoder as afterwards, in eval mode; no random numbers and no state of the training.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lewel import config
from lewel.data.images import Source, evenly, relabelled
from lewel.engine.precision import Precision
from lewel.errors import UserError, nearest
from lewel.evaluate import knn, linear_fast
from lewel.evaluate.changes import get_protocol
from lewel.evaluate.classification import Outcome
from lewel.evaluate.features import labelled_features
from lewel.evaluate.tasks import Knn
from lewel.model.encoder import Encoder, Pooled
from lewel.shapes import Skip

TITLES = {"knn": "kNN", "linear-fast": "linear-fast"}  # every evaluation there is, and what people call it
KNN = "knn-k20-t0.07"  # the protocol that `knn` stands for
DEFAULT, NOTHING = "knn", "none"

MOST_KEYS, MOST_QUERIES = 50_000, 10_000  # one process encodes them while the others wait: a minute or two on a GPU
# linear-fast takes of these keys as many as keep a pass over them at LINEAR_WORK products (keys * features * classes),
# half a minute in all on 2 CPU cores, but LINEAR_KEYS at least: two minutes there for 1000 classes and 2048 features
LINEAR_WORK, LINEAR_KEYS = 4e9, 10_000


class Measured(NamedTuple):
    """The result of an evaluation: its name, each image of val, and in words what it was measured with."""

    name: str
    outcome: Outcome
    how: str

    @property
    def top1(self) -> float:
        """In per cent."""
        return self.outcome.top(1)


class _Rows(NamedTuple):
    keys: Float[Tensor, "keys c"]
    key_labels: Int[Tensor, " keys"]
    queries: Float[Tensor, "queries c"]
    query_labels: Int[Tensor, " queries"]
    query_images: Int[Tensor, " queries"]
    classes: int


def asked(text: str | None) -> tuple[str, ...]:
    """The names in `--evaluate NAME,NAME`, each once; DEFAULT's for None. Raises UserError for an unknown name."""
    names = tuple(dict.fromkeys(name.strip() for name in (DEFAULT if text is None else text).split(",")))
    if names == (NOTHING,):
        return ()
    for name in names:
        if name not in TITLES:
            allowed = f"{', '.join(TITLES)}, several with commas between, or {NOTHING} alone"
            meant = nearest(name, TITLES) if name != NOTHING else ""
            raise UserError(f"--evaluate {text}: allowed are {allowed}{meant}")
    return names


def few(keys: Source, queries: Source) -> tuple[Source, Source]:
    """At most MOST_KEYS and MOST_QUERIES of the images, evenly."""
    return evenly(keys, MOST_KEYS), evenly(queries, MOST_QUERIES)


def measure(
    names: Iterable[str],
    encoder: Encoder,
    keys: Source,
    queries: Source,
    data: config.Data,
    precision: Precision,
    workers: int = 0,
    skipped: list[Skip] | None = None,
) -> list[Measured]:
    """Each evaluation of `queries`, the val split, by `keys`, the train split: both labelled, one central crop each.

    skipped: takes the images that could not be read; they neither vote nor count.
    Classes are matched by name. Raises UserError for a class without keys, and as the evaluations do.
    """
    classes, features = keys.classes or [], Pooled(encoder)
    (key_rows, key_labels, _), (rows, labels, images) = (
        labelled_features(features, part, data, precision, workers, skipped)
        for part in (keys, relabelled(queries, classes))
    )
    found = _Rows(key_rows, key_labels, rows, labels, images, len(classes))
    return [{"knn": _knn, "linear-fast": _linear_fast}[name](found) for name in names]


def _knn(rows: _Rows) -> Measured:
    task = get_protocol(KNN).task_as(Knn)
    votes = knn.votes(rows.keys, rows.key_labels, rows.queries, task.k, task.temperature)
    outcome = knn.classified(votes, rows.query_labels, rows.query_images, rows.classes)
    return Measured("knn", outcome, f"k = {task.k}, T = {task.temperature:g}, {_counts(len(rows.keys), rows)}")


def _linear_fast(rows: _Rows) -> Measured:
    most = max(LINEAR_KEYS, int(LINEAR_WORK / (rows.keys.shape[1] * rows.classes)))
    taken = torch.linspace(0, len(rows.keys) - 1, min(most, len(rows.keys))).round().long().to(rows.keys.device)
    head = linear_fast.fit(rows.keys[taken], rows.key_labels[taken], rows.classes)
    outcome = Outcome.in_parts(head.logits, rows.queries, rows.query_labels, rows.query_images, rows.classes)
    return Measured("linear-fast", outcome, f"decay {head.decay:.2g}, {_counts(len(taken), rows)}")


def _counts(keys: int, rows: _Rows) -> str:
    return f"{keys} keys of train, {len(rows.queries)} queries of val"
