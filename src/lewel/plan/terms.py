"""What can be read off a method without building it, and which numbers of it a flag may change."""

from __future__ import annotations

import dataclasses
from typing import Any

from lewel.config import BuildsMethod
from lewel.terms import Head, Method, Term, Uniform


def terms(method: BuildsMethod) -> tuple[Term, ...]:
    """None of a method that is no sum of terms."""
    return method.terms if isinstance(method, Method) else ()


def projector(term: Term, method: BuildsMethod) -> Head:
    """The term's projector, or the one that it shares."""
    while isinstance(term.projector, str):
        term = next(other for other in terms(method) if other.name == term.projector)
    return term.projector


def embeddings(term: Term, method: Method) -> int | None:
    """Embeddings of one image (n = m / g); None where only the feature map's size tells."""
    count = term.maps.count(None, method.dims)
    return None if count is None else count // term.maps.groups


def is_aligned(term: Term) -> bool:
    """Whether it looks somewhere."""
    return not isinstance(term.maps, Uniform)


def has(part: Any, field: str) -> bool:
    """Whether a part has a field of that name."""
    return field in {each.name for each in dataclasses.fields(part)}


def number(part: Any, field: str) -> Any:
    """A field's value, of a kind that need not be known here."""
    return getattr(part, field)


def has_number(method: BuildsMethod, name: str) -> bool:
    """Whether the method has the number that a flag changes, most often as a field of that name."""
    if not isinstance(method, Method):
        return has(method, "encoder" if name == "stem" else name)
    return {
        "momentum": has(method.target, "momentum"),
        "hidden": any(
            has(head := projector(term, method), "hidden") and number(head, "hidden") for term in method.terms
        ),
        "queue": any(has(term.objective, "queue") for term in method.terms),
        "temperature": any(has(term.objective, "temperature") for term in method.terms),
        "groups": any(is_aligned(term) for term in method.terms),
        "aligned_dim": any(is_aligned(term) and isinstance(term.projector, Head) for term in method.terms),
        "beta": len(method.terms) == 2,
    }.get(name, True)


OF_A_METHOD = (
    *("encoder", "stem", "momentum", "bn_groups", "hidden", "dim", "temperature", "queue", "groups"),
    *("aligned_dim", "beta"),
)
