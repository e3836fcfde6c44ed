"""ONNX: images (batch, 3, height, width) to the feature map and its mean, by torch's exporter, opset 18.

Networks without a map, such as ViTs, give `pooled` alone. Batch, height and width are free; where a network is made for
one size of images (torch's exporter finds out), the batch alone is. Batch norms are folded into the convolutions, so a
graph has other tensors than the encoder; what is the same is the features. What lewel knows of the weights stands in
the model's metadata under "lewel", JSON.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lewel.errors import UserError
from lewel.interop.given import Features, Given, Read, as_json
from lewel.interop.state_dicts import normalised
from lewel.model.encoder import Encoder

OPSET = 18
_LARGEST = 2**31  # bytes: protobuf's limit of one message
_KEY = "lewel"
_BATCH = {0: "batch"}
_ANY_SIZE = {0: "batch", 2: "height", 3: "width"}


class _Both(nn.Module):
    """Map and pooled."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.backbone = encoder.backbone

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone.forward_features(images)  # pyright: ignore[reportCallIssue]
        return features, features.mean(dim=(2, 3))


def needed() -> None:
    """Raises UserError where a package is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(f"--to onnx needs {name}: pip install 'lewel[onnx]'") from error


def to_bytes(given: Given) -> bytes:
    """Raises UserError for a network that torch cannot export, and for one of 2 GB and more."""
    needed()
    if sum(tensor.nbytes for tensor in given.state().values()) >= _LARGEST:
        raise UserError(f"--to onnx: {given.encoder.name} is larger than the 2 GB of one file; --to timm takes it")
    if isinstance(given.encoder, Encoder):
        program = _program(_Both(given.encoder).eval(), ["map", "pooled"], given, (_ANY_SIZE, _BATCH))
    else:
        program = _program(given.backbone, ["pooled"], given, (_BATCH,))
    program.model.metadata_props[_KEY] = as_json(given.record)
    return program.model_proto.SerializeToString()


def _program(network: nn.Module, outputs: list[str], given: Given, frees: tuple[dict[int, str], ...]) -> Any:
    """With the first free dimensions that the exporter can keep."""
    images, failed = torch.zeros(2, 3, given.image_size, given.image_size), None
    for free in frees:
        try:
            return torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                input_names=["images"],
                output_names=outputs,
                dynamic_shapes=(free,),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            failed = error
    assert failed is not None
    reason = str(failed.__cause__ or failed).strip().splitlines()[0]
    raise UserError(
        f"--to onnx: torch's exporter does not take {given.encoder.name} ({reason}); --to timm does"
    ) from failed


def read(path: Path, given: Given) -> Read:
    """By ONNX Runtime on the CPU."""
    import onnx
    import onnxruntime

    content = path.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]

    def features(images: Tensor) -> Features:
        found = session.run(outputs, {"images": images.numpy()})
        return {name: torch.from_numpy(np.asarray(each)) for name, each in zip(outputs, found, strict=True)}

    graph = onnx.load_model_from_string(content).graph
    inside = [tensor.name.removeprefix("backbone.") for tensor in graph.initializer]
    height = graph.input[0].type.tensor_type.shape.dim[2]
    source = given.state()
    return Read(
        features,
        len(inside),
        tuple(name for name in source if name not in inside),
        tuple(name for name in inside if name not in source),
        "batch norms and constants are folded" if height.dim_param else "folded; for images of this size only",
        any_size=bool(height.dim_param),
    )


def record(path: Path) -> dict[str, Any] | None:
    """What `lewel export` wrote beside the graph; None for a file of another origin."""
    needed()
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        return None
    return next((json.loads(each.value) for each in model.metadata_props if each.key == _KEY), None)


def snippet(given: Given, out: Path) -> str:
    shape = f"2, 3, {given.image_size}, {given.image_size}"
    return f"""\
import onnxruntime, torch

session = onnxruntime.InferenceSession({str(out)!r}, providers=["CPUExecutionProvider"])
images = torch.rand({shape})  # RGB, 0 to 1
{normalised(given)}
for output in session.run(None, {{"images": images.numpy()}}):
    print(output.shape)
"""
