"""linear-fast: softmax regression on cached features, fitted to its minimum; a number in a minute.

Not the paper's linear protocol: one central crop an image, no schedule, so the number is about the features alone.

On features standardised by the mean and deviation of train, it is the minimum of

    mean cross-entropy + decay / 2 * |weight|^2          (the bias is free)

which is scikit-learn's LogisticRegression with C = 1 / (decay * images), or twice that for two classes, which share one
weight vector there. The decay is chosen from a grid by the accuracy on a fifth of train, drawn by the seed, the
same share of every class; then the head is fitted on all of train.

L-BFGS meets a problem that is nearly round: the standardised features are turned to the axes of their covariance, which
changes neither term, and each axis is scaled by the curvature that the loss has along it where the weights are 0,
spread / classes + decay. On correlated features that is two to four times fewer steps, and a lower end.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lewel.console import Console
from lewel.engine.progress import Progress
from lewel.errors import UserError
from lewel.evaluate import predictions, split
from lewel.evaluate.classification import Outcome, mean_in_parts
from lewel.evaluate.job import Job, Values

log = logging.getLogger(__name__)

GRID = tuple(10.0 ** (-i / 2) for i in range(-2, 9))  # of decays: 10 to 0.0001, two a decade
HELD_OUT = 0.2  # of train, to choose the decay
MOST_STEPS, HISTORY = 500, 20
MEMORY = 2**31  # bytes of L-BFGS's history; larger heads have a shorter one, of SHORTEST steps at least
SHORTEST = 3
CHUNK = 4096  # rows that are standardised and turned at the same time
LONG = 4e8  # keys * features * classes, some seconds on 2 cores: from there on progress is shown
GRADIENT, CHANGE = 1e-6, 1e-9  # the end: its largest entry, in the round problem; of the loss, in one step


def evaluate(job: Job) -> Values:
    """Top-1 and top-5 of val, fitted on train; and how the decay was chosen."""
    (keys, of_keys), (rows, of_rows) = job.features(job.data.train), job.features(job.data.val)
    key_labels, labels = job.data.train.labels_of(of_keys), job.data.val.labels_of(of_rows)
    fitted = fit(keys, key_labels, len(job.data.train.names), job.seed, console=job.console)
    outcome = Outcome.in_parts(fitted.logits, rows, labels, of_rows, len(job.data.train.names))
    predictions.write(job.directory, outcome.arrays())
    yield from outcome.values(job.data.val.names)
    yield "chosen", {"decay": fitted.decay, "converged": fitted.converged}
    yield "decays", [tried._asdict() for tried in fitted.tried]


class Tried(NamedTuple):
    """A decay of the grid. accuracy: in per cent, on the part of train held out.

    steps: of L-BFGS, from the minimum of the decay before.   converged: False where it stopped at MOST_STEPS.
    """

    decay: float
    accuracy: float
    steps: int
    converged: bool


@dataclass(frozen=True)
class Fitted:
    """A linear layer on features as they come: the standardisation is in its weights.

    A class without keys has weight 0 and bias -inf: it is never predicted.
    tried: the grid that the decay was chosen from, strongest first; empty where it was given.
    """

    weight: Float[Tensor, "classes c"]
    bias: Float[Tensor, " classes"]
    decay: float
    steps: int
    converged: bool
    tried: tuple[Tried, ...] = ()

    def logits(self, rows: Float[Tensor, "n c"]) -> Float[Tensor, "n classes"]:
        return functional.linear(rows, self.weight, self.bias)


def fit(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    classes: int,
    seed: int = 0,
    decays: Sequence[float] = GRID,
    console: Console | None = None,
) -> Fitted:
    """Choose the decay on a part of the keys, then fit on all of them.

    The grid goes from the strongest decay to the weakest, each from the minimum of the one before; of equal accuracies
    the stronger decay is taken. Uses no random numbers but the seed's. Logs a warning where a minimum was not reached.
    console: where a fit that takes long says what it fits, and how far it is.
    Raises UserError for features that are not finite, one class only, no class of two images, or a decay of 0 or less.
    """
    out = torch.from_numpy(split.held_out(key_labels.cpu().numpy(), None, HELD_OUT, seed)).to(keys.device)
    if not out.any():
        raise UserError("linear-fast chooses its decay on a part of train: --data needs a class of two images or more")
    problem = _Problem.of(keys, key_labels, out.byte().argsort(stable=True))  # so both parts are views
    kept = len(out) - int(out.sum())
    part = replace(problem, rows=problem.rows[:kept], labels=problem.labels[:kept])
    rows, labels = problem.rows[kept:], problem.labels[kept:]
    tried, head, best = list[Tried](), None, None
    with _Watch.of(problem, len(decays) + 1, console) as watch:
        for decay in sorted(decays, reverse=True):
            head = part.minimum(decay, head, watch)
            images = torch.arange(len(labels))
            accuracy = Outcome.in_parts(head.logits, rows, labels, images, len(problem.present)).top(1)
            tried.append(Tried(decay, accuracy, head.steps, head.converged))
            if best is None or accuracy > best[0].accuracy:
                best = tried[-1], head
        assert best is not None
        chosen = problem.minimum(best[0].decay, best[1], watch)
    return problem.unfolded(chosen, best[0].decay, classes, tuple(tried))


def fit_at(keys: Float[Tensor, "keys c"], key_labels: Int[Tensor, " keys"], classes: int, decay: float) -> Fitted:
    """Fit on all the keys with this decay. Logs and raises as `fit`, which needs two images of a class besides."""
    problem = _Problem.of(keys, key_labels)
    return problem.unfolded(problem.minimum(decay), decay, classes)


class _Watch:
    """Shows which decay a long fit is at, and how often it has had the loss; says nothing of a short one."""

    def __init__(self, fits: int, console: Console | None) -> None:
        self.progress = Progress(fits, console=console, unit="decay") if console is not None else None
        self.fits, self.losses = 0, 0

    @classmethod
    def of(cls, problem: _Problem, fits: int, console: Console | None) -> _Watch:
        (images, features), classes = problem.rows.shape, len(problem.present)
        if console is None or images * features * classes < LONG:
            return cls(fits, None)
        told = f"linear-fast: {images} images, {features} features, {classes} classes; {fits - 1} decays, then the best"
        console.print(told)
        return cls(fits, console)

    def __enter__(self) -> _Watch:
        if self.progress is not None:
            self.progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress is not None:
            self.progress.__exit__()

    def loss(self, decay: float) -> None:
        self.losses += 1
        if self.progress is not None:
            self.progress.show({"step": self.fits, "verdict": f"decay {decay:.2g}, step {self.losses}"})

    def end(self) -> None:
        self.fits, self.losses = self.fits + 1, 0
        if self.progress is not None:
            self.progress.advance(self.fits)


class _Head(NamedTuple):
    weight: Float[Tensor, "present c"]
    bias: Float[Tensor, " present"]
    steps: int
    converged: bool

    def logits(self, rows: Float[Tensor, "n c"]) -> Float[Tensor, "n present"]:
        return functional.linear(rows, self.weight, self.bias)


@dataclass(frozen=True)
class _Problem:
    """Standardised rows on the axes of their covariance, and the numbers of their classes among those present."""

    rows: Float[Tensor, "n c"]
    labels: Int[Tensor, " n"]
    present: Int[Tensor, " present"]  # their class numbers
    mean: Float[Tensor, " c"]
    std: Float[Tensor, " c"]
    axes: Float[Tensor, "c c"]
    spread: Float[Tensor, " c"]  # variance along each axis

    @classmethod
    def of(
        cls, keys: Float[Tensor, "keys c"], key_labels: Int[Tensor, " keys"], order: Int[Tensor, " keys"] | None = None
    ) -> _Problem:
        """With the keys in that order. Takes memory for one copy of them: all but the rows is in parts."""
        keys = keys.detach().float()
        _check_rows(keys)
        present, labels = key_labels.unique(return_inverse=True)
        if len(present) < 2:
            raise UserError(f"linear-fast needs two classes or more in --data; all {len(keys)} images are of one")
        order = torch.arange(len(keys), device=keys.device) if order is None else order
        mean, std = keys.mean(dim=0), keys.std(dim=0, correction=0)
        constant = std <= 1e-6 * (std.max() + mean.abs())  # a deviation that is rounding; as in StandardScaler
        std = std.masked_fill(constant, 1)
        rows, covariance = torch.empty_like(keys), keys.new_zeros(keys.shape[1], keys.shape[1])
        parts = rows.split(CHUNK)
        for part, chosen in zip(parts, order.split(CHUNK), strict=True):
            part.copy_(keys[chosen].sub_(mean).div_(std))
            covariance.addmm_(part.T, part)
        spread, axes = torch.linalg.eigh(covariance.div_(len(rows)).cpu())  # Apple's GPU has none
        axes, spread = axes.to(rows.device), spread.clamp(min=0).to(rows.device)
        for part in parts:
            part.copy_(part @ axes)
        return cls(rows, labels[order], present, mean, std, axes, spread)

    def minimum(self, decay: float, start: _Head | None = None, watch: _Watch | None = None) -> _Head:
        """The head of least loss, from `start` or from 0."""
        if not decay > 0:
            raise UserError(f"a decay of {decay:g}: must be above 0, or the weights have no minimum")
        scale = (self.spread + decay * len(self.present)).rsqrt()
        weight, bias = self.rows.new_zeros(len(self.present), len(scale)), self.rows.new_zeros(len(self.present))
        if start is not None:
            weight, bias = start.weight / scale, start.bias.clone()
        for free in (weight, bias):
            free.requires_grad_()
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=MOST_STEPS, max_eval=2 * MOST_STEPS, tolerance_grad=GRADIENT,
            tolerance_change=CHANGE, history_size=_history(weight), line_search_fn="strong_wolfe",
        )  # fmt: skip

        def loss() -> Tensor:
            optimizer.zero_grad()
            scaled = weight * scale

            def mean(rows: Tensor, labels: Tensor) -> Tensor:
                return functional.cross_entropy(functional.linear(rows, scaled, bias), labels)

            found = mean_in_parts(mean, self.rows, self.labels, len(self.present))
            found = found + decay / 2 * scaled.square().sum()
            found.backward()
            if watch is not None:
                watch.loss(decay)
            return found

        with torch.enable_grad():
            optimizer.step(loss)
        state = optimizer.state[weight]
        converged = state["n_iter"] < MOST_STEPS and state["func_evals"] < 2 * MOST_STEPS
        if not converged:
            log.warning("linear-fast stopped after %d steps at decay %g, not at the minimum", state["n_iter"], decay)
        if watch is not None:
            watch.end()
        return _Head(weight.detach() * scale, bias.detach(), state["n_iter"], converged)

    def unfolded(self, head: _Head, decay: float, classes: int, tried: tuple[Tried, ...] = ()) -> Fitted:
        """The head on features as they come, with a row for every class."""
        on_features = head.weight @ self.axes.T / self.std
        weight = on_features.new_zeros(classes, len(self.std))
        bias = on_features.new_full((classes,), -torch.inf)
        weight[self.present] = on_features
        bias[self.present] = head.bias - on_features @ self.mean
        return Fitted(weight, bias, decay, head.steps, head.converged, tried)


def _history(weight: Tensor) -> int:
    """Steps that L-BFGS remembers: each is two of the weight's size."""
    return min(max(MEMORY // (2 * weight.nbytes), SHORTEST), HISTORY)


def _check_rows(rows: Float[Tensor, "n c"]) -> None:
    bad = len(rows) - sum(int(part.isfinite().all(dim=1).sum()) for part in rows.split(CHUNK))
    if bad:
        raise UserError(
            f"the features of {bad} of {len(rows)} images are not finite; try --precision fp32, or other weights"
        )
