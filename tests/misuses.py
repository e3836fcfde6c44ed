"""Misuses of the Python API, each with what its one line must say; as a script, it tries them all.

    python misuses.py PHOTOS      JSON: by name, the type of the exception and its text

The tests check the types of all arguments, users' programs do not: so the misuses have a process of their own.
"""

from __future__ import annotations

import json
import sys

import lewel

PHOTOS = sys.argv[-1]  # a folder of images


def pretraining(recipe: object = "byol_tiny", data: object = PHOTOS, out: object = "run", **others: object):
    return lambda: lewel.pretrain(recipe, data=data, out=out, **others)  # pyright: ignore


MISUSES = {
    "a recipe that is none": (pretraining("byol_tyni"), "no recipe 'byol_tyni'; did you mean byol_tiny?"),
    "no recipe": (pretraining(None), "None is no name of a recipe"),
    "a recipe as a function": (pretraining(lewel.recipes.get), "is no name of a recipe"),
    "an empty recipe": (pretraining(""), "no recipe ''"),
    "a keyword that is none": (pretraining(epoch=3), "has no keyword 'epoch'; did you mean epochs?"),
    "a flag as a keyword": (pretraining(**{"batch-size": 3}), "no keyword 'batch-size'; did you mean batch_size?"),
    "out by its old name": (pretraining(run="a"), "no keyword 'run'"),
    "a text for a number": (pretraining(epochs="3"), "epochs='3': a whole number or None is needed"),
    "a fraction for a whole number": (pretraining(epochs=1.5), "epochs=1.5: a whole number or None is needed"),
    "True for a number": (pretraining(seed=True), "seed=True: a whole number is needed"),
    "a number for a switch": (pretraining(compile=1), "compile=1: True or False is needed"),
    "None for a number": (pretraining(seed=None), "seed=None: a whole number is needed"),
    "a list for a number": (pretraining(lr=[0.1]), r"lr=\[0.1\]: a number or None is needed"),
    "an unknown device": (pretraining(device="gpu"), "device='gpu': 'auto', 'cpu', 'cuda' or 'mps' is needed"),
    "a number out of range": (pretraining(epochs=0), "--epochs 0: must be 1 or more"),
    "a number that is none": (pretraining(lr=float("nan")), "--lr nan: must be more than 0"),
    "data that are not there": (pretraining(data="photos"), "--data .*photos: no such folder"),
    "no data": (pretraining(data=None), "data=None: a path"),
    "an empty path of data": (pretraining(data=""), "data='': a path"),
    "bytes as a path": (pretraining(data=b"photos"), "data=b'photos': a path"),
    "no out": (pretraining(out=None), "out=None: a path is needed"),
    "a number as out": (pretraining(out=3), "out=3: a path is needed"),
    "callbacks that are none": (pretraining(callbacks=3), "callbacks=3: a list of functions is needed"),
    "a callback alone": (pretraining(callbacks=print), "callbacks=.*: a list of functions is needed"),
    "a callback that is no function": (pretraining(callbacks=["print"]), "callbacks: 'print' is no function"),
    "a run that is not there": (lambda: lewel.load_run("run"), "run is no run"),
    "no run": (lambda: lewel.load_run(None), "run=None: a path is needed"),
    "images that are not there": (lambda: lewel.open_images("photos"), "no such folder"),
    "no images": (lambda: lewel.open_images(3), "data=3: a path"),
    "a part that is none": (lambda: lewel.open_images("photos", "test"), "split='test': 'train', 'val' or None"),
}


def raised(name: str) -> tuple[str, str]:
    """The type of what the misuse raises, and its text."""
    try:
        MISUSES[name][0]()
    except Exception as error:
        return type(error).__name__, str(error)
    return "nothing", ""


if __name__ == "__main__":
    print(json.dumps({name: raised(name) for name in MISUSES}))
