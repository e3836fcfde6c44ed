"""What config.yaml and checkpoints of format 1 said of a method, in today's terms.

Each part had the fields of all kinds, and `kind` said which of them were read; heads had one hidden layer; directions
were "one" or "both".
"""

from __future__ import annotations

from typing import Any

from lewel.errors import UserError

_Fields = dict[str, Any]

_MAPS = {
    "uniform": (),
    "pixel": (),
    "grid": ("size",),
    "random": ("count", "temperature"),
    "learned": ("head", "temperature"),
    "coupled": ("source", "temperature"),
}
_OBJECTIVES = {"cosine": (), "queue": ("temperature", "queue"), "in_batch": ("temperature", "same_index")}
_DIRECTIONS = {"one": [{"view": 0, "other": 1}], "both": [{"view": 0, "other": 1}, {"view": 1, "other": 0}]}


def upgraded(content: _Fields) -> _Fields:
    """The content of a file of format 1 in format 2.

    What is of no kind that format 1 had stays as it is, and is refused where it is read.
    """
    method = content.get("method")
    if not isinstance(method, dict):
        return content
    changed = {"kind": "method"} | method
    if isinstance(method.get("terms"), list):
        changed["terms"] = [_term(term) for term in method["terms"]]
    if isinstance(method.get("target"), dict):
        changed["target"] = {"kind": "momentum"} | method["target"]
    directions = method.get("directions")
    if isinstance(directions, str):
        if directions not in _DIRECTIONS:
            raise UserError(f"config.yaml: method: directions: {directions!r} is not one of one, both")
        changed["directions"] = _DIRECTIONS[directions]
    return content | {"method": changed}


def _term(term: Any) -> Any:
    if not isinstance(term, dict):
        return term
    maps, objective = _chosen(term.get("maps"), _MAPS, ("kind", "groups")), _chosen(term.get("objective"), _OBJECTIVES)
    if isinstance(maps, dict) and "head" in maps:
        maps["head"] = _head(maps["head"])
    if isinstance(maps, dict) and "count" in maps:
        maps["dim"] = maps.pop("count")
    heads = {name: _head(term[name]) for name in ("projector", "predictor") if name in term}
    return term | {"maps": maps, "objective": objective} | heads


def _chosen(part: Any, kinds: dict[str, tuple[str, ...]], always: tuple[str, ...] = ("kind",)) -> Any:
    """The fields that the part's kind reads, and those that no kind had, which are mistakes."""
    if not isinstance(part, dict) or part.get("kind") not in kinds:
        return part
    read = (*always, *kinds[part["kind"]])
    of_any = {name for fields in kinds.values() for name in fields} | {*always}
    return {name: value for name, value in part.items() if name in read or name not in of_any}


def _head(head: Any) -> Any:
    """A term may share another one's projector, by its name."""
    if not isinstance(head, dict):
        return head
    changed = {"kind": "mlp"} | head
    if isinstance(head.get("bias"), bool):
        changed["bias"] = "all" if head["bias"] else "none"
    if "hidden" in head:
        changed["hidden"] = [head["hidden"]]
    return changed
