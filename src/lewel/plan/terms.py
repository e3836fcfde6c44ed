"""What can be read off a method's terms without building it."""

from __future__ import annotations

from lewel.config import Head, Method, Term


def map_count(term: Term, method: Method) -> int | None:
    """Maps of a term, before grouping (d of the paper); None for "pixel", whose number is the feature map's size."""
    maps = term.maps
    if maps.kind == "uniform":
        return 1
    if maps.kind == "grid":
        return maps.size**2
    if maps.kind == "random":
        return maps.count
    if maps.kind == "learned":
        return maps.head.out if maps.head else None
    if maps.kind == "coupled":
        return out_dim(by_name(maps.source, method), method)
    return None


def out_dim(term: Term, method: Method) -> int:
    """Size of a term's embeddings."""
    return projector(term, method).out


def projector(term: Term, method: Method) -> Head:
    """The term's projector, or the one that it shares."""
    if isinstance(term.projector, Head):
        return term.projector
    return projector(by_name(term.projector, method), method)


def by_name(name: str, method: Method) -> Term:
    """The term of that name; `resolve` has checked that there is one."""
    return next(term for term in method.terms if term.name == name)


def embeddings(term: Term, method: Method) -> int | None:
    """Embeddings of one image (n = d / g); None where only the feature map's size tells."""
    count = map_count(term, method)
    return None if count is None else count // term.maps.groups


def has_queue(method: Method) -> bool:
    return any(term.objective.kind == "queue" for term in method.terms)


def has_temperature(method: Method) -> bool:
    return any(term.objective.kind in ("queue", "in_batch") for term in method.terms)


def has_aligned(method: Method) -> bool:
    return any(is_aligned(term) for term in method.terms)


def has_aligned_head(method: Method) -> bool:
    return any(is_aligned(term) and isinstance(term.projector, Head) for term in method.terms)


def has_balance(method: Method) -> bool:
    return len(method.terms) == 2


def is_aligned(term: Term) -> bool:
    return term.maps.kind != "uniform"
