"""All that changes while a run trains, as tensors and numbers with names, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lewel import parallel
from lewel.engine.health import Health
from lewel.errors import UserError


@dataclass
class Training:
    """The module (weights, target, queue), the optimizer's buffers, the loss scaler; torch's generators are global.

    health: what the run's record is made from beside them; empty where nothing is observed.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    health: Health = field(default_factory=Health)


@dataclass
class Packed:
    """A training's state. `optimizer` has "NAME:KEY" for the tensor KEY of parameter NAME, `numbers` what is no tensor.

    generators: states of torch's random generators, one row a process.   health: process 0's, which keeps the record.
    """

    module: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    generators: dict[str, Tensor]
    numbers: dict[str, Any]
    health: dict[str, Tensor] = field(default_factory=dict)


def pack(training: Training) -> Packed:
    """The state as it is; all processes call this together. The tensors are the training's own, not copies."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for name, parameter in _optimized(training):
        for key, value in training.optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}:{key}"] = value
            else:
                numbers.setdefault(name, {})[key] = value
    rest = {"optimizer": numbers, "scaler": training.scaler.state_dict()}
    return Packed(training.module.state_dict(), tensors, _gather_generators(), rest, training.health.state())


def unpack(packed: Packed, training: Training, source: str) -> None:
    """Put a packed state back, on this process. `source` is named in errors.

    Generators are left alone when the state comes from another number of processes.
    Raises UserError when module or optimizer are of another shape.
    """
    _check_shapes(source, packed.module, training.module.state_dict())
    training.module.load_state_dict(packed.module)
    _unpack_optimizer(packed, training, source)
    training.health.load_state(packed.health, _device(training.module))
    if packed.numbers["scaler"] and training.scaler.is_enabled():
        training.scaler.load_state_dict(packed.numbers["scaler"])
    if len(packed.generators["cpu"]) == parallel.world():
        torch.set_rng_state(packed.generators["cpu"][parallel.rank()].clone())
        if "cuda" in packed.generators and torch.cuda.is_available():
            torch.cuda.set_rng_state(packed.generators["cuda"][parallel.rank()].clone())


def first_not_finite(packed: Packed) -> str | None:
    """The name of a tensor that has a NaN or an infinity."""
    for name, tensor in (packed.module | packed.optimizer).items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return name
    return None


def running_statistics(module: nn.Module) -> list[Tensor]:
    """The buffers of every batch norm in the module: all that a forward in train mode may change."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    return [buffer for norm in norms for buffer in norm.buffers(recurse=False)]


def _device(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _optimized(training: Training) -> Iterator[tuple[str, Tensor]]:
    """The optimizer's parameters with their names in the module."""
    held = {id(p) for group in training.optimizer.param_groups for p in group["params"]}
    return ((name, p) for name, p in training.module.named_parameters() if id(p) in held)


def _unpack_optimizer(packed: Packed, training: Training, source: str) -> None:
    parameters, optimizer = dict(_optimized(training)), training.optimizer
    tensors = [(*full.rsplit(":", 1), tensor) for full, tensor in packed.optimizer.items()]
    unknown = {name for name, _, _ in tensors} - set(parameters)
    if unknown:
        raise UserError(
            f"{source} holds optimizer state for {sorted(unknown)[0]}, which is not trained here; use another --out"
        )
    optimizer.state.clear()
    for name, key, saved in tensors:
        like = parameters[name]
        # laid out in memory as its parameter is, so that the same kernels run as before
        value = torch.empty_like(like, dtype=saved.dtype).copy_(saved) if saved.shape == like.shape else saved
        optimizer.state[like][key] = value
    for name, numbers in packed.numbers["optimizer"].items():
        optimizer.state[parameters[name]].update(numbers)


def _check_shapes(source: str, saved: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
    def shape(tensors: Mapping[str, Tensor], name: str) -> str:
        return str(tuple(tensors[name].shape)) if name in tensors else "absent"

    differing = [name for name in sorted(set(saved) | set(here)) if shape(saved, name) != shape(here, name)]
    if differing:
        shown = "; ".join(f"{name} {shape(saved, name)}, here {shape(here, name)}" for name in differing[:3])
        raise UserError(
            f"{source} is of another shape: {len(differing)} tensors differ ({shown}); "
            "give the flags that the run was started with, or another --out"
        )


def _gather_generators() -> dict[str, Tensor]:
    states = {"cpu": parallel.all_gather(torch.get_rng_state()[None])}
    if torch.cuda.is_available():
        states["cuda"] = parallel.all_gather(torch.cuda.get_rng_state()[None])
    return states
