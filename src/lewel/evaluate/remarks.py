"""What a reader must know who compares numbers: under the table on the screen and in table.md, and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from lewel.evaluate import leakage, lr_search, results
from lewel.evaluate.results import Result


def remarks(found: Sequence[Result]) -> list[str]:
    """Sentences, those on all rows first; one that is true of several rows names them."""
    each: dict[str, list[str]] = {}
    for result in found:
        for text in (*_of_training(result), *_of_the_search(result), *_of_images(result), *_of_the_fit(result)):
            each.setdefault(text, []).append(result.label)
    return [*_of_all(found), *(f"{', '.join(labels)}: {text}" for text, labels in each.items())]


def _of_all(found: Sequence[Result]) -> list[str]:
    told = []
    sizes = sorted({str(result.protocol.get("image_size")) for result in found}, key=lambda size: (len(size), size))
    if len({results.rules(result) for result in found}) > 1:
        what = "protocols" if len(sizes) == 1 else f"sizes of image, {' and '.join(sizes)} px"
        told.append(f"The rows are of different {what}: their numbers cannot be compared.")
    if len({results.data_digest(run.data) for r in found for run in r.runs if run.seed == found[0].runs[0].seed}) > 1:
        told.append("The rows are of different data: their numbers cannot be compared.")
    return [*told, *leakage.sentences([run.data for result in found for run in result.runs])]


def _of_training(result: Result) -> list[str]:
    """Where the images are too few for the protocol's batch."""
    given = result.runs[0].training
    if not given:
        return []
    told, wanted, images = [], result.protocol["batch_size"], given["images"]
    if given["batch_size"] < wanted:
        told.append(f"batch {wanted:,} is more than the {images:,} images: 1 step an epoch.")
    published = result.protocol.get("bn_images")
    if published is not None and given["bn_images"] != published:
        told.append(f"batch norm's statistics are over {given['bn_images']:,} images, not {published:,} as published.")
    return told


def _of_the_search(result: Result) -> list[str]:
    search = result.runs[0].training.get("lr_search")
    return [lr_search.told(search)] if search is not None else []


def _of_images(result: Result) -> list[str]:
    run = min(result.runs, key=lambda run: run.measured)
    of = run.data.get("val", {}).get("images", run.measured)
    told = [f"{of - run.measured:,} of {of:,} images of val left out: they could not be read."] * (run.measured < of)
    others = len({skip["path"] for run in result.runs for skip in run.skipped}) - (of - run.measured)
    if others > 0:
        how = "replaced by others" if run.training else "left out"
        told.append(f"{others:,} {'image' if others == 1 else 'images'} of train {how}: they could not be read.")
    return told


def _of_the_fit(result: Result) -> list[str]:
    if result.metrics.get("chosen", {}).get("converged", True) is True:
        return []
    return ["the regression was stopped before its end."]
