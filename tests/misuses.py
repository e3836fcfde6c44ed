"""Misuses of the Python API, each with what its one line must say; as a script, it tries them all.

    python misuses.py PHOTOS      JSON: by name, the type of the exception and its text

The tests check the types of all arguments, users' programs do not: so the misuses have a process of their own.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch

import lewel

PHOTOS = sys.argv[-1]  # a folder of images


def noise() -> np.ndarray:
    return np.random.default_rng().integers(0, 256, (64, 64, 3)).astype(np.uint8)


class Noise:
    """A data set whose items are others each time."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> np.ndarray:
        return noise()


class Failing(Noise):
    def __getitem__(self, index: int) -> np.ndarray:
        return {}[index]


def pretraining(recipe: object = "byol_tiny", data: object = PHOTOS, out: object = "run", **others: object):
    return lambda: lewel.pretrain(recipe, data=data, out=out, **others)  # pyright: ignore


def evaluating(task: object = "linear-fast", weights: object = "random:test_resnet", **others: object):
    given = {"data": PHOTOS, "out": "out"} | others
    return lambda: lewel.evaluate(task, weights=weights, **given)  # pyright: ignore


def embedding(**others: object):
    given = {"weights": "random:test_resnet", "data": PHOTOS} | others
    return lambda: lewel.embed(**given)  # pyright: ignore


def mapping(run: object = "run", **others: object):
    return lambda: lewel.maps(run, **{"data": PHOTOS} | others)  # pyright: ignore


def exporting(weights: object = "random:test_resnet", to: object = "timm", out: object = "encoder.pth"):
    return lambda: lewel.export(weights, to, out)  # pyright: ignore


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
    "no data": (pretraining(data=None), "data: a NoneType is neither a path nor a data set"),
    "an empty list of data": (pretraining(data=[]), "data: list of 0 images is empty"),
    "a list of numbers": (pretraining(data=[1, 2]), "item 0 of list of 2 images is no picture: a int: a PIL image or"),
    "a generator": (pretraining(data=(image for image in ())), "data: a generator is neither a path nor a data set"),
    "a dict of no parts": (pretraining(data={"images": []}), "a dict needs the parts train and val, not images"),
    "an empty dict": (pretraining(data={}), "a dict needs the parts train and val, not nothing"),
    "a dict of an image": (pretraining(data=[{"picture": 3}]), "a dict without 'image' or 'img'; it has 'picture'"),
    "normalised tensors": (pretraining(data=torch.randn(20, 3, 64, 64)), "floats from -.* 0 to 1 are needed"),
    "arrays of other numbers": (pretraining(data=np.zeros((20, 64, 64), int)), "an array of int64: uint8, or floats"),
    "arrays without colours": (pretraining(data=np.zeros((20, 64, 64, 7), np.uint8)), "an array of shape"),
    "fewer images than a batch": (pretraining(data=np.zeros((3, 64, 64), np.uint8)), "3 images are fewer than a batch"),
    "random transforms": (pretraining(data=Noise()), "is another picture each time; take its random transforms off"),
    "a data set that fails": (pretraining(data=Failing()), "item 0 of Failing of 40 images is no picture: KeyError"),
    "an evaluation of data without parts": (evaluating(data=[noise()] * 40), "no labels in list of 40 images"),
    "an evaluation of labelled data without parts": (evaluating(data=[(noise(), 0), (noise(), 1)]), "is not divided"),
    "an evaluation without labels": (evaluating(data={"train": [noise()] * 9, "val": [noise()]}), "no labels in"),
    "detection in memory": (evaluating("detect-voc-c4", data=[noise()] * 9), "data|VOC|folder"),
    "an empty path of data": (pretraining(data=""), "data='': a path"),
    "bytes as a path": (pretraining(data=b"photos"), "data=b'photos': a path"),
    "no out": (pretraining(out=None), "out=None: a path is needed"),
    "a number as out": (pretraining(out=3), "out=3: a path is needed"),
    "callbacks that are none": (pretraining(callbacks=3), "callbacks=3: a list of functions is needed"),
    "a callback alone": (pretraining(callbacks=print), "callbacks=.*: a list of functions is needed"),
    "a callback that is no function": (pretraining(callbacks=["print"]), "callbacks: 'print' is no function"),
    "a logger alone": (pretraining(loggers=print), "loggers=.*: a list of objects with write and close is needed"),
    "a logger that is none": (pretraining(loggers=[print]), r"loggers: .* is no logger; give objects with write"),
    "a log that is no list": (pretraining(log=3), "log=3: "),
    "a log of an unknown kind": (pretraining(log=["wand"]), "there is no logger 'wand'"),
    "a run that is not there": (lambda: lewel.load_run("run"), "run is no run"),
    "no run": (lambda: lewel.load_run(None), "run=None: a path is needed"),
    "images that are not there": (lambda: lewel.open_images("photos"), "no such folder"),
    "no images": (lambda: lewel.open_images(3), "data: a int is neither a path nor"),
    "a task that is none": (evaluating("linear-fats"), "there is no task 'linear-fats'; did you mean linear-fast?"),
    "no task": (evaluating(None), "task=None: a text is needed"),
    "no weights": (evaluating(weights=[]), "--weights is missing"),
    "None as weights": (evaluating(weights=None), "weights=None: a run, a file, timm:NAME or random:NAME is needed"),
    "weights that are a network": (evaluating(weights=print), "weights=.*: a run, a file"),
    "weights in a dict": (evaluating(weights={"a": "b"}), "weights=.*: a run, a file"),
    "None among weights": (evaluating(weights=["random:test_resnet", None]), "weights=None: a run, a file"),
    "weights that are not there": (evaluating(weights="nothing"), "nothing does not exist"),
    "data of an evaluation missing": (evaluating(data=""), "--data is missing"),
    "data of an evaluation that are none": (
        evaluating(data=["photos"]),
        "item 0 of list of 1 images is no picture: no such file",
    ),
    "out of an evaluation missing": (evaluating(out=""), "--out is missing"),
    "a number of another task": (evaluating(k=20), "--k 20: linear-fast has no such number"),
    "a keyword of another function": (evaluating(queue=20), "lewel.evaluate has no keyword 'queue'"),
    "seeds as a list": (evaluating(seeds=[0, 1]), r"seeds=\[0, 1\]: a whole number is needed"),
    "no seed": (evaluating(seeds=0), "--seeds 0: must be 1 or more"),
    "features of nothing": (embedding(weights="nothing"), "nothing does not exist"),
    "features in a file of no known kind": (embedding(out="features.csv"), "ends in .npz or .parquet"),
    "features of a part that is none": (embedding(split="test"), "split='test': 'train', 'val' or 'all' is needed"),
    "features at a size of 0": (embedding(image_size=0), "--image-size 0: must be 1 or more"),
    "features by too few workers": (embedding(workers=-1), "--workers -1: must be 0 or more"),
    "maps of no run": (mapping(), "run is no run"),
    "maps of None": (mapping(None), "run=None: a run"),
    "maps at a text": (mapping(size="64"), "size='64': a whole number or None is needed"),
    "maps by one index": (mapping(indices=3), "indices=3: a list of whole numbers is needed"),
    "maps of too few images": (mapping(images=0), "--images 0: must be 1 or more"),
    "maps by a seed below 0": (mapping(seed=-1), "--seed -1: must be 0 or more"),
    "maps in no picture": (mapping(out="maps.jpg"), "ends in .png"),
    "a format that is none": (exporting(to="tim"), "--to tim: one of .* did you mean timm?"),
    "a format that is no text": (exporting(to=["timm"]), r"to=\['timm'\]: a text is needed"),
    "an export to nowhere": (exporting(out=None), "out=None: a path is needed"),
    "an export of nothing": (exporting(weights=3), "weights=3: a run"),
    "an export of another ending": (exporting(out="encoder.onnx"), "ends in .pth"),
    "a recipe's facts of no recipe": (lambda: lewel.recipes.facts("none"), "no recipe 'none'"),
    "facts of None": (lambda: lewel.recipes.facts(None), "no recipe 'None'"),  # pyright: ignore
    "a published file that is not there": (lambda: lewel.read_published("nothing"), "nothing"),
    "a published None": (lambda: lewel.read_published(None), "None"),  # pyright: ignore
    "no encoder to save": (lambda: lewel.save_encoder(None, "a", {}), "takes an Encoder and a path"),  # pyright: ignore
    "no method to begin": (lambda: lewel.initialise(None, "a"), "takes a method"),  # pyright: ignore
    "a method of no recipe": (lambda: lewel.build.method("byol_tiny"), "takes a Recipe"),  # pyright: ignore
    "an encoder of nothing": (lambda: lewel.load_encoder(None), "None is no source of weights"),  # pyright: ignore
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
