"""The flags of the commands `lewel data`. Heavy imports are inside them: `lewel --help` reads this file too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def index(folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")], out: Path) -> None:
    """A file of a folder's names and labels: `--data FILE` starts a run on millions of images without a look at them.

    Args:
        folder: folder of images, with train/ and val/ or without, or list file
        out: file to write, a name that ends in .safetensors; an index that is there is replaced
    """
    from lewel.prepare import commands

    commands.make_index(folder, out)


def subset(
    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER|INDEX")], classes: Path, out: Path
) -> None:
    """An index of some classes alone, such as ImageNet-100, for every --data. No image is copied.

    Args:
        source: folder with train/CLASS and val/CLASS, or its index
        classes: list of the classes' names, one on each line
        out: file to write, a name that ends in .safetensors; an index that is there is replaced
    """
    from lewel.prepare import commands

    commands.make_subset(source, classes, out)


def voc_aug(
    voc: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="VOC")], sbd: Path, out: Path, workers: int = 2
) -> None:
    """VOC's and SBD's masks as one: the 10,582 images of train_aug, for segmentation. The same command goes on.

    Args:
        voc: VOCdevkit, or its VOC2012
        sbd: benchmark_RELEASE, or its dataset
        out: folder for the masks and lists; the images are linked
        workers: processes that write
    """
    from lewel.prepare import commands

    commands.make_voc_aug(voc, sbd, out, workers)


def pack(
    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER|INDEX")],
    out: Path,
    shard_size: float = 1e9,
    workers: int = 4,
) -> None:
    """Images as WebDataset tar shards and their index, for `--data DIR` or its URL. The same command goes on.

    Args:
        source: folder of images, list file, or index
        out: folder for the shards
        shard_size: bytes of a shard, at most
        workers: shards written at the same time
    """
    from lewel.prepare import commands

    commands.pack(source, out, shard_size, workers)
