"""What others would run for the same work: the one-file version, and lightly's BYOL and MoCo.

Each starts from the package's own weights, so that its first loss says whether it does the same.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from lewel import config, terms
from lewel.bench import one_file, work
from lewel.bench.apart import Built, Maker
from lewel.bench.package import Setup, folds, ready_views, untrained
from lewel.errors import UserError
from lewel.model.method import Method
from lewel.terms import MLP, Cosine, Coupled, Momentum, Queue, Uniform

LR = 1e-3


@runtime_checkable
class Peer(Protocol):
    """loss: in the paper's scale. step: all of one, the target's update included."""

    @property
    def network(self) -> nn.Module: ...
    def loss(self, views: tuple[Tensor, ...]) -> Tensor: ...
    def step(self, loss: Tensor) -> None: ...


@dataclass(frozen=True)
class Yardstick:
    """name: for the table. recipe: what the package is given, so that the work is the same."""

    name: str
    make: Maker
    recipe: config.Recipe


def yardstick(recipe: config.Recipe) -> Yardstick | None:
    """Who else does this recipe's work; None where nobody does (LEWEL_M, the ablations, the small stem)."""
    if is_lewel_b(recipe):
        return Yardstick("one file", one_file_contender, recipe)
    if recipe.method.encoder.stem != "imagenet" or not importlib.util.find_spec("lightly"):
        return None
    if _terms(recipe) == [(Uniform, Queue)]:
        return Yardstick("lightly MoCo", lightly_moco, recipe)
    if _terms(recipe) == [(Uniform, Cosine)]:
        method = _method(recipe)
        target = replace(cast(Momentum, method.target), batchnorm="batch")  # lightly has no other
        return Yardstick("lightly BYOL", lightly_byol, replace(recipe, method=replace(method, target=target)))
    return None


def check(mine: dict[str, Any], theirs: dict[str, Any], name: str, tolerance: float) -> None:
    """Raises UserError where the first losses are further apart than `tolerance` of them, or the FLOPs than 1 %."""
    for what, allowed in (("loss", tolerance), ("flops", 0.01)):
        a, b = float(mine[what]), float(theirs[what])
        if abs(a - b) > allowed * abs(b):
            raise UserError(f"{name} does other work: its {what} is {a:.6g}, that of the first {b:.6g}; not compared")


def is_lewel_b(recipe: config.Recipe) -> bool:
    """Whether it is what the one-file version does."""
    if recipe.method.encoder.stem != "imagenet" or not folds(recipe):
        return False
    return _terms(recipe) == [(Uniform, Cosine), (Coupled, Cosine)]


def _terms(recipe: config.Recipe) -> list[tuple[type, type]]:
    """Of each term the kinds of its maps and of its objective."""
    found = recipe.method.terms if isinstance(recipe.method, terms.Method) else ()
    return [(type(term.maps), type(term.objective)) for term in found]


def one_file_contender(setup: Setup) -> Built:
    """`apart.Maker` of `examples/lewel_in_one_file.py`."""
    return _built(setup, OneFile(setup.recipe))


def lightly_byol(setup: Setup) -> Built:
    """`apart.Maker` of BYOL as lightly's documentation puts it together."""
    return _built(setup, _LightlyByol(setup.recipe))


def lightly_moco(setup: Setup) -> Built:
    """`apart.Maker` of MoCo v2 as lightly's documentation puts it together."""
    return _built(setup, _LightlyMoco(setup.recipe))


def _built(setup: Setup, peer: Peer) -> Built:
    """Plain eager fp32; or with autocast and channels-last memory, where the setup has another precision."""
    torch.set_num_threads(setup.threads)
    device, fast = torch.device(setup.device), setup.precision != "fp32"
    peer.network.to(device).train()
    views = ready_views(setup.recipe, device)
    if fast:
        peer.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # a real overload
    else:
        views = tuple(view.contiguous() for view in views)

    def loss() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            return peer.loss(views)

    def unit() -> None:
        for _ in range(setup.steps):
            peer.step(loss())
        work.finish(device)

    facts: dict[str, Any] = {}
    if setup.machine is not None:
        with torch.no_grad():
            first = float(loss())
        facts = {"loss": first, **vars(work.count(lambda: peer.step(loss()), setup.machine))}
    for _ in range(2):
        unit()
    if setup.machine is not None and device.type == "cuda":
        facts["launches"], facts["waits"] = (n / setup.steps for n in work.launches(unit))
    return Built(unit, setup.images, facts)


class OneFile:
    """The one-file version's network, with the package's first weights, and its own optimizer and step."""

    def __init__(self, recipe: config.Recipe) -> None:
        self.file = one_file.load()
        ours = untrained(recipe)
        shape = _shape(recipe)
        self.network = self.file.LEWEL(recipe.method.encoder.name, shape.hidden, shape.dim, shape.groups, shape.beta)
        state = ours.state_dict()
        self.network.load_state_dict({name: state[one_file.packaged(name)] for name in self.network.state_dict()})
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = _optimizer(recipe, trained, self.file.LARS)

    def loss(self, views: tuple[Tensor, ...]) -> Tensor:
        return self.network(*views)

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.network.move_target(0, 100)


class _Lightly:
    """One of lightly's methods: what its documentation's examples have in common.

    ours: the package's method that it starts from, and takes the encoder of. head: lightly's projector.
    momentum: of the target, which moves before the step. others: what the network has beside both branches.
    """

    def __init__(
        self, recipe: config.Recipe, ours: Method, head: type[nn.Module], momentum: float, *others: nn.Module
    ) -> None:
        from lightly.models.utils import deactivate_requires_grad, update_momentum  # pyright: ignore[reportMissingImports]  # an extra
        from lightly.utils.lars import LARS  # pyright: ignore[reportMissingImports]  # an extra

        encoder, shape = ours.online.encoder, _shape(recipe)
        projector = head(encoder.backbone.num_features, shape.hidden, shape.dim)
        _copy_head(projector, ours.online.projectors["global"])
        self.online = nn.Sequential(_Pooled(encoder), projector)
        self.target = copy.deepcopy(self.online)
        deactivate_requires_grad(self.target)
        self.momentum, self.update = momentum, update_momentum
        self.network = nn.ModuleList([self.online, self.target, *others])
        self.optimizer = _optimizer(recipe, [p for p in self.network.parameters() if p.requires_grad], LARS)

    def step(self, loss: Tensor) -> None:
        self.update(self.online, self.target, m=self.momentum)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class _LightlyByol(_Lightly):
    def __init__(self, recipe: config.Recipe) -> None:
        from lightly.loss import NegativeCosineSimilarity  # pyright: ignore[reportMissingImports]  # an extra
        from lightly.models.modules import heads  # pyright: ignore[reportMissingImports]  # an extra

        ours, dim, predictor = untrained(recipe), _shape(recipe).dim, _method(recipe).terms[0].predictor
        assert isinstance(predictor, MLP)
        self.predictor = heads.BYOLPredictionHead(dim, predictor.hidden[0], dim)
        _copy_head(self.predictor, ours.predictors["global"])
        self.criterion = NegativeCosineSimilarity()
        super().__init__(recipe, ours, heads.BYOLProjectionHead, 0.99, self.predictor)

    def loss(self, views: tuple[Tensor, ...]) -> Tensor:
        (p0, p1) = (self.predictor(self.online(view)) for view in views)
        with torch.no_grad():
            z0, z1 = (self.target(view) for view in views)
        apart = 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))
        return 4 + 4 * apart  # of lightly's -cos, the mean of both directions, the sum of 2 - 2 cos


class _LightlyMoco(_Lightly):
    def __init__(self, recipe: config.Recipe) -> None:
        from lightly.loss import NTXentLoss  # pyright: ignore[reportMissingImports]  # an extra
        from lightly.models.modules import heads  # pyright: ignore[reportMissingImports]  # an extra

        ours, objective = untrained(recipe), _method(recipe).terms[0].objective
        assert isinstance(objective, Queue)
        self.criterion = NTXentLoss(objective.temperature, memory_bank_size=(objective.queue, _shape(recipe).dim))
        bank: Any = self.criterion.memory_bank
        queue: Any = ours.objectives["global"]
        bank.bank.copy_(queue.queue.T if bank.bank.shape != queue.queue.shape else queue.queue)
        super().__init__(recipe, ours, heads.MoCoProjectionHead, 0.999, self.criterion)

    def loss(self, views: tuple[Tensor, ...]) -> Tensor:
        queries = self.online(views[0])
        with torch.no_grad():
            keys = self.target(views[1])
        return self.criterion(queries, keys)


class _Pooled(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images).mean(dim=(2, 3))


@dataclass(frozen=True)
class _Shape:
    hidden: int
    dim: int
    groups: int
    beta: float


def _shape(recipe: config.Recipe) -> _Shape:
    first, last = _method(recipe).terms[0], _method(recipe).terms[-1]
    assert isinstance(first.projector, MLP)
    return _Shape(first.projector.hidden[0], first.projector.out, last.maps.groups, last.weight)


def _method(recipe: config.Recipe) -> terms.Method:
    assert isinstance(recipe.method, terms.Method)
    return recipe.method


def _copy_head(theirs: nn.Module, ours: nn.Module) -> None:
    """lightly's last layer has a bias, which starts at 0 here."""
    layers = [part for part in theirs.modules() if not list(part.children()) and list(part.parameters())]
    mine = [part for part in ours.children() if list(part.parameters())]
    for to, source in zip(layers, mine, strict=True):
        missing, unexpected = to.load_state_dict(source.state_dict(), strict=False)
        assert not unexpected and set(missing) <= {"bias"}
        if missing:
            nn.init.zeros_(to.bias)  # pyright: ignore[reportArgumentType]


def _optimizer(
    recipe: config.Recipe, parameters: list[nn.Parameter], lars: Callable[..., torch.optim.Optimizer]
) -> torch.optim.Optimizer:
    spec = recipe.optimizer
    kind = lars if spec.kind == "lars" else torch.optim.SGD
    return kind(parameters, lr=LR, momentum=spec.momentum, weight_decay=spec.weight_decay)
