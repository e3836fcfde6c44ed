"""Tables 5 and 6 as functions on a method: each changes one cell of its row.

The wider heads of Table 6, d and h of Table 7 and both axes of Fig. 3 are numbers, so they are flags: `--dim`,
`--groups`, `--beta`, `--aligned-dim`.
"""

from __future__ import annotations

from dataclasses import replace

from lewel.terms import Coupled, Head, Learned, Method, Random, Term


def aligned_only(method: Method) -> Method:
    """Table 5, "aligned only": no global loss, so the projector g does nothing but make the maps."""
    _, head, aligned = _parts(method)
    return replace(method, terms=(replace(aligned, weight=1.0, maps=_learned(aligned, head)),))


def separate_head(method: Method) -> Method:
    """Table 5, "w/o coupled head": a head of g's shape makes the maps, g makes the global embedding."""
    whole, head, aligned = _parts(method)
    return replace(method, terms=(whole, replace(aligned, maps=_learned(aligned, head))))


def random_maps(method: Method) -> Method:
    """Table 6, "w/ rand.": as many maps, from noise drawn anew at every forward (the paper gives no distribution)."""
    whole, head, aligned = _parts(method)
    maps = Random(aligned.maps.groups, head.out)
    return replace(method, terms=(whole, replace(aligned, maps=maps)))


def no_extra_head(method: Method) -> Method:
    """Table 6, LEWEL without extra head: g also projects the aligned vectors, as the shapes agree."""
    whole, _, aligned = _parts(method)
    return replace(method, terms=(whole, replace(aligned, projector=whole.name)))


def extra_head(method: Method) -> Method:
    """Table 6, MoCo with an extra head: a second head, loss and queue on the pooled vector, half the weight each."""
    (whole,) = method.terms
    half = whole.weight / 2
    return replace(method, terms=(replace(whole, weight=half), replace(whole, name="extra", weight=half)))


def _learned(aligned: Term, head: Head) -> Learned:
    assert isinstance(aligned.maps, Coupled)
    return Learned(aligned.maps.groups, head=head, temperature=aligned.maps.temperature)


def _parts(method: Method) -> tuple[Term, Head, Term]:
    whole, aligned = method.terms
    assert isinstance(whole.projector, Head)
    return whole, whole.projector, aligned
