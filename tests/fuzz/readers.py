"""Every reader of files that users bring: whole files to damage, and the call that reads them.

A reader may return, raise UserError, or raise DecodeError for one unreadable image among many. Nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin, TiffImagePlugin

from fuzz import mutate
from lewel import recipes
from lewel.console import Console
from lewel.data import decode, index, scenes
from lewel.data.images import open_images
from lewel.errors import UserError
from lewel.evaluate import predictions, results
from lewel.evaluate.dense.truth import coco, masks, points, voc
from lewel.evaluate.labelled import open_divided
from lewel.interop import weights
from lewel.loggers import jsonl
from lewel.model.encoder import Encoder
from lewel.prepare import commands
from lewel.recipes import config_file

ALLOWED = (UserError, decode.DecodeError)


@dataclass(frozen=True)
class Reader:
    """prepare: makes a whole data set in a folder, and names the files to damage.   read: reads that folder.

    each: reads a damaged file alone; the file's path is given instead of the folder.
    """

    name: str
    prepare: Callable[[Path], Iterable[Path]]
    read: Callable[[Path], object]
    mutations: tuple[mutate.Mutation, ...]
    each: bool = False


def _picture(seed: int = 0, size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def _pictures(folder: Path) -> list[Path]:
    """One of each format and kind that Pillow writes without further libraries."""
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 2000, zip=True)
    white = TiffImagePlugin.ImageFileDirectory_v2()
    white[262] = 0
    sixteen = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (40, 48), dtype=np.uint16))
    frames = [_picture(seed, mode="P") for seed in (1, 2)]
    kinds = {
        "plain.jpg": (_picture(), {"quality": 90}),
        "turned.jpg": (_picture(), {"exif": exif}),
        "progressive.jpg": (_picture(), {"progressive": True}),
        "cmyk.jpg": (_picture(mode="CMYK"), {}),
        "gray.jpg": (_picture(mode="L"), {}),
        "plain.png": (_picture(), {"pnginfo": text}),
        "alpha.png": (_picture(mode="RGBA"), {"exif": exif}),
        "palette.png": (_picture(mode="P"), {"transparency": 3}),
        "sixteen.png": (sixteen, {}),
        "plain.tif": (_picture(), {"exif": exif}),
        "lzw.tif": (_picture(), {"compression": "tiff_lzw"}),
        "white.tif": (_picture(mode="L"), {"tiffinfo": white}),
        "sixteen.tif": (sixteen, {}),
        "pages.tif": (frames[0], {"save_all": True, "append_images": frames[1:]}),
        "moving.gif": (frames[0], {"save_all": True, "append_images": frames[1:]}),
        "plain.bmp": (_picture(), {}),
        "plain.webp": (_picture(), {"quality": 80}),
        "lossless.webp": (_picture(mode="RGBA"), {"lossless": True}),
        "turned.webp": (_picture(), {"exif": exif}),
        "plain.ppm": (_picture(), {}),
        "plain.jp2": (_picture(), {}),
    }
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    return [folder / name for name in kinds]


def _decode(path: Path) -> object:
    """Both decoders, which give the same pixels or refuse the same files, and the size, which must be the picture's."""
    try:
        picture = decode.decode(path)
    except decode.DecodeError:
        decode.rgbx(path)  # must raise too
        raise AssertionError("rgbx reads what decode refuses") from None
    size, pixels = decode.size(path), decode.rgbx(path)
    assert picture.mode == "RGB" and picture.size == size, (picture.mode, picture.size, size)
    assert (pixels[..., :3] == np.asarray(picture)).all(), "rgbx has other pixels than decode"
    return picture


def _class_folder(folder: Path) -> list[str]:
    names = [f"{part}/{kind}/{i}.jpg" for part in ("train", "val") for kind in ("cat", "dog") for i in range(2)]
    for number, name in enumerate(names):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _picture(number).save(path)
    return names


def _lists(folder: Path) -> list[Path]:
    names = _class_folder(folder)
    rows = [f"images/{name},{name.split('/')[1]},{name.split('/')[0]}" for name in names]
    files = {
        "plain.csv": "path,label,split\n" + "\n".join(rows) + "\n",
        "semicolons.csv": "filename;class\n" + "\n".join(";".join(row.split(",")[:2]) for row in rows),
        "quoted.csv": "path,label\r\n" + "\r\n".join('"{}","{}"'.format(*row.split(",")[:2]) for row in rows),
        "names.txt": "\n".join(f"images/{name}" for name in names) + "\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def _tables(folder: Path) -> list[Path]:
    """Those of the lists that are not divided and have labels, which --split auto divides."""
    return [path for path in _lists(folder) if path.name in ("semicolons.csv", "quoted.csv")]


def _read_list(path: Path) -> object:
    found = open_images(path)
    return [found.path(i) for i in range(len(found))], found.labels, found.classes


def _divided(path: Path) -> object:
    return open_divided(str(path), "auto", None, 0.5, 0)


def _index(folder: Path) -> list[Path]:
    _class_folder(folder)
    commands.make_index(str(folder / "images"), folder / "index.safetensors", Console(quiet=True))
    return [folder / "index.safetensors"]


def _read_index(path: Path) -> object:
    parts = index.read(str(path))
    return {name: [part.path(i) for i in range(len(part))] for name, part in parts.items()}


def _coco(folder: Path) -> list[Path]:
    (folder / "annotations").mkdir()
    images, entries = [], []
    for number in range(1, 4):
        for part in ("train2017", "val2017"):
            (folder / part).mkdir(exist_ok=True)
            _picture(number).save(folder / part / f"{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 48, "height": 40})
        shapes = ([[4, 4, 24, 4, 24, 20, 4, 20]], {"size": [40, 48], "counts": [100, 20, 1800]}, [[1, 1, 9, 1, 9, 9]])
        for shape in shapes:
            box = {"bbox": [4, 4, 20, 16], "area": 320.0, "iscrowd": int(isinstance(shape, dict))}
            owner = {"id": len(entries) + 1, "image_id": number, "category_id": 1 + number % 2}
            entries.append(owner | box | {"segmentation": shape})
    content = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    for part in ("train2017", "val2017"):
        (folder / f"annotations/instances_{part}.json").write_text(json.dumps(content))
    return [folder / "annotations/instances_val2017.json"]


def _read_coco(folder: Path) -> object:
    found = coco.open_objects(folder, "val")
    return [(image.boxes, image.masks()) for image in found.images]


def _voc(folder: Path) -> list[Path]:
    scenes.make(folder / "scenes", 3, 3, 48, 0)
    year = next((folder / "scenes").rglob("Annotations")).parent
    return [*sorted((year / "Annotations").glob("*.xml"))[:2], year / "ImageSets/Main/val.txt", year / "classes.txt"]


def _read_voc(folder: Path) -> object:
    root = folder / "scenes"
    found = voc.open_objects(voc.detection_parts(root, "val"))
    return [image.boxes for image in found.images]


def _masks(folder: Path) -> list[Path]:
    scenes.make(folder / "scenes", 3, 3, 48, 0)
    year = next((folder / "scenes").rglob("Annotations")).parent
    return [*sorted((year / "SegmentationClass").glob("*.png"))[:2], year / "ImageSets/Segmentation/val.txt"]


def _read_masks(folder: Path) -> object:
    found = masks.open_segmentation(folder / "scenes", "val")
    return [found.read(i) for i in range(len(found))]


def _landmarks(folder: Path) -> list[Path]:
    spots = "\n".join(f"{8 + 3 * i % 30}.5 {6 + 5 * i % 30}.25" for i in range(5))
    for part in ("train", "test"):
        (folder / part).mkdir()
        for number in range(3):
            _picture(number).save(folder / part / f"{number}.jpg")
            (folder / part / f"{number}.pts").write_text(f"version: 1\nn_points: 5\n{{\n{spots}\n}}\n")
    return [folder / "test/0.pts", folder / "test/1.pts"]


def _read_landmarks(folder: Path) -> object:
    found = points.open_landmarks(folder, "val")
    return [found.read(i) for i in range(len(found))], list(found.warnings())


def _weights(folder: Path) -> list[Path]:
    torch.manual_seed(0)
    encoder = Encoder("test_resnet")
    weights.save_encoder(
        encoder, folder / "encoder.safetensors", {"image_size": 64, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    )
    state = encoder.backbone.state_dict()
    torch.save(state, folder / "bare.pth")
    torch.save(
        {"state_dict": {f"module.backbone.{key}": value for key, value in state.items()}}, folder / "nested.ckpt"
    )
    return [folder / name for name in ("encoder.safetensors", "bare.pth", "nested.ckpt")]


def _read_weights(path: Path) -> object:
    return weights.load_encoder(path if path.suffix == ".safetensors" else f"timm:test_resnet={path}")


def _config(folder: Path) -> list[Path]:
    path = folder / "config.yaml"
    path.write_text(config_file.to_yaml(recipes.lewel_m_tiny()), encoding="utf-8")
    return [path]


def _rows(folder: Path) -> list[Path]:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 1 / (step + 1)}) + "\n" for step in range(0, 100, 20)))
    return [path]


def _results(folder: Path) -> list[Path]:
    path = folder / "results.json"
    content = {"format": 1, "protocol": {"name": "knn"}, "weights": {"given": "x"}, "metrics": {"top1": 50.0}}
    path.write_text(json.dumps(content | {"seeds": [{"seed": 0, "metrics": {"top1": 50.0}}]}))
    return [path]


def _predictions(folder: Path) -> list[Path]:
    path = folder / predictions.NAME
    predictions.save(path, {"images": np.array(["a.jpg", "b.jpg"]), "predicted": np.arange(40), "rank": np.eye(3)})
    return [path]


READERS = (
    Reader("image", _pictures, _decode, mutate.BINARY, each=True),
    Reader("list", _lists, _read_list, mutate.TEXT, each=True),
    Reader("labelled list", _tables, _divided, mutate.TEXT, each=True),
    Reader("index", _index, _read_index, mutate.BINARY, each=True),
    Reader("coco", _coco, _read_coco, mutate.JSON),
    Reader("voc", _voc, _read_voc, mutate.TEXT),
    Reader("masks", _masks, _read_masks, mutate.BINARY),
    Reader("landmarks", _landmarks, _read_landmarks, mutate.TEXT),
    Reader("weights", _weights, _read_weights, mutate.BINARY, each=True),
    Reader("config.yaml", _config, config_file.read, mutate.TEXT, each=True),
    Reader("metrics.jsonl", _rows, jsonl.read, mutate.JSON, each=True),
    Reader("results.json", _results, results.read, mutate.JSON, each=True),
    Reader("predictions", _predictions, predictions.load, mutate.BINARY, each=True),
)
