"""What is evaluated: a `--weights` source as a network, and everything that a reader of its numbers must know of it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lewel import config
from lewel.errors import UserError
from lewel.interop import weights
from lewel.interop.sources import split_place
from lewel.model.encoder import Encoder, Headless, Pooled, own_size

_LONGEST_LABEL = 60  # characters
_ENDING = re.compile(r"(\.(safetensors|pth|pt|tar|bin|ckpt))+$", re.IGNORECASE)


@dataclass(frozen=True)
class Subject:
    """Weights that were read.

    source: as given to --weights.
    name: the architecture, and its stem where that is the small one.
    features: images (b, 3, h, w) -> (b, c), pooled: the mean over the positions of the encoder's map, or timm's own
        pooling where there is no map.
    encoder: images -> (b, c, h, w); None for networks without a map, such as ViTs: frozen features only.
    digest: see `digest`, of the network's tensors under timm's names.
    image_size, mean, std: as the weights say; None and ImageNet's where they do not.
    notes: sentences for the user, such as a licence.
    """

    source: str
    name: str
    features: nn.Module
    encoder: Encoder | None
    width: int  # c
    digest: str
    image_size: int | None
    mean: config.ImageStats
    std: config.ImageStats
    notes: tuple[str, ...]
    account: weights.Account

    def data(self, image_size: int | None = None) -> config.Data:
        """How images are shown to the network: the size asked for, else its own; no views.

        Raises UserError: no size, or one that the network does not take.
        """
        size = self.image_size if image_size is None else image_size
        if size is not None and size < 1:
            raise UserError(f"--image-size {size}: must be 1 or more")
        if size is None:
            raise UserError(f"{self.source} does not say for which size of images it is; give --image-size")
        if isinstance(self.features, Headless):
            self.features.width(size)
        elif self.encoder is not None:
            self.encoder.map_shape(size)
        return config.Data(size, (), self.mean, self.std)

    def facts(self) -> dict[str, Any]:
        """For `weights` in results.json: JSON-able."""
        network = self.features if self.encoder is None else self.encoder
        return {
            "source": self.source,
            "architecture": network.name,
            "stem": network.stem,
            "digest": self.digest,
            "tensors": {
                "loaded": self.account.loaded,
                "missing": list(self.account.missing),
                "unused": dict(Counter(name.split(".")[0] for name in self.account.unexpected)),
            },
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "notes": list(self.notes),
        }


def open_subject(source: str, seed: int = 0) -> Subject:
    """Read weights: any source of `lewel.interop.weights`, on the CPU. The global random numbers stay as they are.

    seed: of untrained weights (random:...), which the notes name.
    Raises UserError: no such source, weights that do not fit their network, or that are not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network, account, metadata = weights.load(source)
    tensors = network.backbone.state_dict()
    if bad := [name for name, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise UserError(
            f"--weights {source}: values that are not finite in {len(bad)} tensors, first {bad[0]}; give other weights"
        )
    notes = account.notes if account.loaded else (*account.notes, f"untrained, seed {seed}")
    has_map = isinstance(network, Encoder)
    return Subject(
        source=source,
        name=f"{network.name}, small stem" if network.stem == "small" else network.name,
        features=Pooled(network) if has_map else network,
        encoder=network if has_map else None,
        width=cast(int, network.backbone.num_features) if has_map else network.width(own_size(network.name)),
        digest=digest(tensors),
        image_size=metadata.get("image_size"),
        mean=_stats(metadata.get("mean", config.IMAGENET_MEAN)),
        std=_stats(metadata.get("std", config.IMAGENET_STD)),
        notes=notes,
        account=account,
    )


def _stats(numbers: Sequence[float]) -> config.ImageStats:
    red, green, blue = numbers
    return red, green, blue


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over all names, types, shapes and bytes, whatever the order and the layout in memory."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def labels(sources: Sequence[str]) -> list[str]:
    """A short name for each of several --weights, unique whatever the case, and fit to name a folder.

    runs/a -> a, random:runs/a -> random-a, runs/a/encoder.safetensors -> a, timm:resnet18=files/x.pth -> resnet18-x;
    where two would be the same, folders above tell them apart: a/x.pth, b/x.pth -> a-x, b-x; then numbers do.
    """
    parts = [_parts(source) for source in sources]
    named = [_joined(each, 1) for each in parts]
    for depth in range(2, max(map(len, parts), default=0)):
        counts = Counter(name.lower() for name in named)
        named = [_joined(p, depth) if counts[n.lower()] > 1 else n for n, p in zip(named, parts, strict=True)]
    unique: list[str] = []
    for name in named:
        candidates = (name if number == 1 else f"{name}-{number}" for number in count(1))
        taken = {each.lower() for each in unique}
        unique.append(next(each for each in candidates if each.lower() not in taken))
    return unique


def _parts(source: str) -> list[str]:
    """What is said before the path (may be ""), then the path's parts without the ending of a file of weights."""
    kind, colon, rest = source.partition(":")
    if kind == "timm" and colon:
        name, given, file = rest.partition("=")
        return [name, *_parts(file)[1:]] if given else ["timm", name]
    if kind != "random" or not colon:
        kind, rest = "", source
    path, place = split_place(rest)
    path = path if path.name else path.absolute()
    if path.name == weights.ENCODER_FILE and path.absolute().parent.name:
        path = path.absolute().parent if path.parent == Path() else path.parent
    folders = [part for part in path.parts[:-1] if part not in (path.anchor, "..")]
    return [kind, *folders, "-".join(filter(None, [_ENDING.sub("", path.name), place]))]


def _joined(parts: list[str], depth: int) -> str:
    """What is said, and the last `depth` parts of the path."""
    text = "-".join(filter(None, [parts[0], *parts[1:][-depth:]]))
    return re.sub(r"[^\w.+-]+", "_", text).strip("._-")[-_LONGEST_LABEL:] or "weights"
