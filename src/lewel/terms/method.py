"""L = sum over directions and terms of weight * objective(predict(Y(view)), Y'(other)): a method as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lewel.checked import Checked, NotNegative, Positive
from lewel.config import Direction, Encoder, Recipe
from lewel.errors import UserError
from lewel.terms.heads import Head
from lewel.terms.maps import Maps
from lewel.terms.objectives import Objective
from lewel.terms.pairings import Index, Pairing
from lewel.terms.targets import Target

if TYPE_CHECKING:
    from lewel.model.branch import Branch, Path
    from lewel.model.encoder import Encoder as Network
    from lewel.model.method import Method as Module

ONE_WAY = (Direction(0, 1),)
BOTH_WAYS = (Direction(0, 1), Direction(1, 0))  # a sum, not a mean


@dataclass(frozen=True)
class Term(Checked):
    """weight * objective(predict(Y), Y'),  Y = project(aggregate(F, maps)).

    projector: a `Head`, or the name of an earlier term whose projector is shared (Table 6, no extra head).
    predictor: None where the objective needs none.
    pairing: which rows of the other view they are compared with.
    """

    name: str
    weight: NotNegative
    maps: Maps
    projector: Head | str
    predictor: Head | None
    objective: Objective
    pairing: Pairing = field(default_factory=Index)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.pairing.covers or self.objective.takes_pairs):
            names = f"{type(self.pairing).__name__} and {type(self.objective).__name__}"
            raise UserError(f"Term: {names} do not go together: rows without a pair; Cosine can leave them out")


@dataclass(frozen=True)
class Method(Checked):
    """A row of the table in `docs/equation.md`.

    directions: which view predicts which; their losses are added.
    batched: all views go through the online network in one batch, and share its BN statistics (SimCLR, SwAV).
    bn_groups: groups of BN statistics in the global batch. None: one for each process, as published (8 GPUs);
    1: SyncBN; n: n groups, a multiple of the number of processes.

    Raises UserError: no terms, two of one name, or one that names a term which does not come before it.
    """

    encoder: Encoder
    terms: tuple[Term, ...]
    target: Target
    directions: tuple[Direction, ...]
    bn_groups: Positive | None = None
    batched: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self.terms)

    @property
    def dims(self) -> dict[str, int]:
        """d, the size of each term's embeddings."""
        found: dict[str, int] = {}
        for term in self.terms:
            found[term.name] = term.projector.out if isinstance(term.projector, Head) else found[term.projector]
        return found

    def build(self, recipe: Recipe) -> Module:
        """The method, untrained, in fp32 on the CPU.

        Raises UserError: an image size that leaves one position; groups that do not divide channels or maps; maps that
        do not fit the feature map; an encoder without a feature map.
        """
        from torch import nn

        from lewel.model import batchnorm
        from lewel.model.encoder import Encoder as Network
        from lewel.model.method import Method as Module

        takes_geometry = any(term.pairing.reads_geometry for term in self.terms)
        if takes_geometry and any(view.rotation for view in recipe.data.views):
            raise UserError(f"{recipe.name} pairs positions by where they lie, and knows no rotation; --rotation 0")
        encoder = Network.from_config(self.encoder)
        width, *size = encoder.map_shape(recipe.data.image_size)
        if size[0] * size[1] < 2:
            raise UserError(
                f"--image-size {recipe.data.image_size} leaves {self.encoder.name} one position, and nowhere to look; "
                "use a larger --image-size or --stem small"
            )
        encoder.freeze_unused(recipe.data.image_size)
        online = self._branch(encoder, width, (size[0], size[1]))
        batchnorm.convert(online, self.bn_groups)
        dims = self.dims
        heads = {term.name: term.predictor.build(dims[term.name]) for term in self.terms if term.predictor}
        predictors = nn.ModuleDict(heads)
        batchnorm.convert(predictors, self.bn_groups)
        pairings = {term.name: term.pairing.build() for term in self.terms}
        return Module(
            online=online,
            predictors=predictors,
            objectives=nn.ModuleDict({term.name: term.objective.build(dims[term.name]) for term in self.terms}),
            weights={term.name: term.weight for term in self.terms},
            target=self.target.build(online),
            directions=self.directions,
            pairings=nn.ModuleDict({name: module for name, module in pairings.items() if module is not None}),
            batched=self.batched,
            takes_geometry=takes_geometry,
        )

    def _branch(self, encoder: Network, width: int, size: tuple[int, int]) -> Branch:
        from torch import nn

        from lewel.model.branch import Branch

        heads = {term.name: term.projector for term in self.terms if isinstance(term.projector, Head)}
        projectors = nn.ModuleDict({name: head.build(width) for name, head in heads.items()})
        return Branch(
            encoder,
            nn.ModuleDict({term.name: term.maps.build(width) for term in self.terms}),
            projectors,
            tuple(self._path(term, width, size, self.dims) for term in self.terms),
        )

    def _path(self, term: Term, width: int, size: tuple[int, int], dims: Mapping[str, int]) -> Path:
        from lewel.model.branch import Path

        groups, count = term.maps.groups, term.maps.count(size, dims)
        assert count is not None, "the size of the feature map is known"
        if width % groups or count % groups:
            raise UserError(
                f"--groups {groups} must divide the {width} channels of {self.encoder.name} "
                f"and the {count} maps of term {term.name}"
            )
        projector = term.projector if isinstance(term.projector, str) else term.name
        return Path(term.name, projector, groups, term.maps.heat_from, term.maps.fixed)


def _check_names(terms: tuple[Term, ...]) -> None:
    earlier: list[str] = []
    for term in terms:
        if term.name in earlier:
            raise UserError(f"Method: two terms are named {term.name!r}")
        named = [term.maps.heat_from, term.projector if isinstance(term.projector, str) else None]
        for name in named:
            if name is not None and name not in earlier:
                raise UserError(f"Method: term {term.name!r} names {name!r}, but the terms before it are {earlier}")
        earlier.append(term.name)
    if not earlier:
        raise UserError("Method: it has no terms")
