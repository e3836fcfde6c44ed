"""config to objects: the only place."""

from __future__ import annotations

from torch import nn

from lewel import config
from lewel.errors import UserError
from lewel.model import batchnorm, maps, objective
from lewel.model.branch import Branch, Path
from lewel.model.encoder import Encoder
from lewel.model.head import Head
from lewel.model.method import Method
from lewel.model.target import MomentumTarget


def method(recipe: config.Recipe) -> Method:
    """The recipe's method, untrained, in fp32 on the CPU.

    Raises UserError: an image size that leaves one position; groups that do not divide channels or maps; a grid finer
    than the feature map; an encoder without a feature map.
    """
    if not isinstance(recipe, config.Recipe):
        raise UserError(f"build.method takes a Recipe, such as lewel.recipes.get(NAME), not a {type(recipe).__name__}")
    spec = recipe.method
    encoder = Encoder.from_config(spec.encoder)
    width, height, columns = encoder.map_shape(recipe.data.image_size)
    if height * columns < 2:
        raise UserError(
            f"--image-size {recipe.data.image_size} leaves {spec.encoder.name} one position, and nowhere to look; "
            "use a larger --image-size or --stem small"
        )
    encoder.freeze_unused(recipe.data.image_size)
    online = batchnorm.convert(_branch(spec, encoder, width, height * columns), spec.bn_groups)
    assert isinstance(online, Branch)
    for made in online.maps.values():
        if isinstance(made, maps.Grid):
            made.check(height, columns)
    predictors = nn.ModuleDict(
        {term.name: Head(_embedding_size(spec, term), term.predictor) for term in spec.terms if term.predictor}
    )
    batchnorm.convert(predictors, spec.bn_groups)
    return Method(
        online=online,
        predictors=predictors,
        objectives=nn.ModuleDict({term.name: _objective(spec, term) for term in spec.terms}),
        weights={term.name: term.weight for term in spec.terms},
        target=MomentumTarget(online, spec.target),
        both_directions=spec.directions == "both",
    )


def _branch(spec: config.Method, encoder: Encoder, width: int, positions: int) -> Branch:
    own = {term.name: term.projector for term in spec.terms if isinstance(term.projector, config.Head)}
    projectors = {name: Head(width, head) for name, head in own.items()}
    return Branch(
        encoder,
        maps=nn.ModuleDict({term.name: _maps(term.maps, width) for term in spec.terms}),
        projectors=nn.ModuleDict(projectors),
        paths=tuple(_path(spec, term, width, positions) for term in spec.terms),
    )


def _path(spec: config.Method, term: config.Term, width: int, positions: int) -> Path:
    groups, count = term.maps.groups, _map_count(spec, term, positions)
    if width % groups or count % groups:
        raise UserError(
            f"--groups {groups} must divide the {width} channels of {spec.encoder.name} "
            f"and the {count} maps of term {term.name}"
        )
    projector = term.projector if isinstance(term.projector, str) else term.name
    return Path(term.name, projector, groups, term.maps.source if term.maps.kind == "coupled" else None)


def _map_count(spec: config.Method, term: config.Term, positions: int) -> int:
    """m, the number of maps."""
    if term.maps.kind == "coupled":
        return _embedding_size(spec, next(other for other in spec.terms if other.name == term.maps.source))
    if term.maps.kind == "learned":
        assert term.maps.head is not None
        return term.maps.head.out
    return {"uniform": 1, "grid": term.maps.size**2, "random": term.maps.count, "pixel": positions}[term.maps.kind]


def _embedding_size(spec: config.Method, term: config.Term) -> int:
    if isinstance(term.projector, config.Head):
        return term.projector.out
    return _embedding_size(spec, next(other for other in spec.terms if other.name == term.projector))


def _maps(spec: config.Maps, width: int) -> nn.Module:
    match spec.kind:
        case "uniform":
            return maps.Uniform()
        case "pixel":
            return maps.Pixel()
        case "grid":
            return maps.Grid(spec.size)
        case "random":
            return maps.Random(spec.count, spec.temperature)
        case "learned":
            assert spec.head is not None
            return maps.Learned(Head(width, spec.head), spec.temperature)
        case "coupled":
            return maps.Coupled(spec.temperature)


def _objective(spec: config.Method, term: config.Term) -> nn.Module:
    loss = term.objective
    match loss.kind:
        case "cosine":
            return objective.Cosine()
        case "queue":
            return objective.QueueInfoNCE(_embedding_size(spec, term), loss.queue, loss.temperature)
        case "in_batch":
            return objective.InBatchInfoNCE(loss.temperature, loss.same_index)
