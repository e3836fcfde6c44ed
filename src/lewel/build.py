"""config to objects."""

from __future__ import annotations

from torch import nn

from lewel import config
from lewel.errors import UserError
from lewel.model.encoder import Encoder
from lewel.model.method import Method


def method(recipe: config.Recipe) -> nn.Module:
    """The recipe's method, untrained, in fp32 on the CPU.

    Raises UserError: what the method's own `build` refuses (see `terms.Method.build`); a `build` that returns no module
    with an encoder.
    """
    if not isinstance(recipe, config.Recipe):
        raise UserError(f"build.method takes a Recipe, such as lewel.recipes.get(NAME), not a {type(recipe).__name__}")
    made = recipe.method.build(recipe)
    if not isinstance(made, nn.Module):
        raise UserError(
            f"{recipe.name}: {type(recipe.method).__name__}.build returns {type(made).__name__}, no nn.Module"
        )
    encoder(made)
    return made


def encoder(method: nn.Module) -> Encoder:
    """The network that a method trains. Raises UserError where it is not `method.encoder`."""
    found = getattr(method, "encoder", None)
    if not isinstance(found, Encoder):
        raise UserError(f"{type(method).__name__} has no `encoder`: what is trained must be a lewel.Encoder")
    return found


def terms(recipe: config.Recipe) -> Method:
    """As `method`. Raises UserError, too, for a method that is no sum of terms."""
    made = method(recipe)
    if not isinstance(made, Method):
        raise UserError(f"the method of {recipe.name} is no sum of terms (lewel.terms.Method), so it has no maps")
    return made
