"""Two processes over gloo are one process with the same global batch.

Each process runs this very file; it writes what it found, and the tests compare that with one process in this one. The
published BN (one group a process) is compared with a single process of two groups.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from lewel import build, config, parallel, terms
from lewel.engine import loop
from lewel.engine.precision import Precision
from lewel.model.objective import InBatchInfoNCE

B, STEPS = 8, 2  # images of the global batch
HEAD = terms.MLP(8, hidden=(16,))
LINEAR = terms.MLP(8, hidden=(16,), norm=False, bias="all", init="linear")
COSINE = terms.Cosine()
QUEUE = terms.Queue(0.2, queue=12)  # not a multiple of the batch: it wraps inside a step
MOCO = terms.Momentum(0.9, "constant", "before", "batch", shuffle=True)


def recipe(parts: list[terms.Term], target: terms.Target, directions, bn_groups: int | None) -> config.Recipe:
    method = terms.Method(config.Encoder("test_resnet"), tuple(parts), target, directions, bn_groups)
    data = config.Data(64, (config.View(), config.View()))
    return config.Recipe("test", method, data, config.Optimizer("sgd", 0.1, B, 1e-4), epochs=1)


def lewel_b(groups: int | None, batchnorm="batch") -> config.Recipe:
    parts = [
        terms.Term("global", 0.5, terms.Uniform(), HEAD, HEAD, COSINE),
        terms.Term("aligned", 0.5, terms.Coupled(groups=2), HEAD, HEAD, COSINE),
    ]
    return recipe(parts, terms.Momentum(0.9, "cosine", "after", batchnorm), terms.BOTH_WAYS, groups)


def moco(groups: int | None) -> config.Recipe:
    return recipe([terms.Term("global", 1.0, terms.Uniform(), LINEAR, None, QUEUE)], MOCO, terms.ONE_WAY, groups)


def lewel_m(groups: int | None, same_index: bool = False) -> config.Recipe:
    in_batch = terms.InBatch(0.2, same_index=same_index)
    parts = [
        terms.Term("global", 0.5, terms.Uniform(), HEAD, None, QUEUE),
        terms.Term("aligned", 0.5, terms.Coupled(groups=2), HEAD, None, in_batch),
    ]
    return recipe(parts, MOCO, terms.ONE_WAY, groups)


CASES = {  # name: (recipe of one process, recipe of each of two, dtype)
    "lewel_b syncbn": (lewel_b(1), lewel_b(1), torch.float64),
    "lewel_b syncbn float32": (lewel_b(1), lewel_b(1), torch.float32),
    "lewel_b syncbn eman": (lewel_b(1, "running"), lewel_b(1, "running"), torch.float64),
    "lewel_b groups": (lewel_b(2), lewel_b(None), torch.float64),
    "moco shufflebn": (moco(2), moco(None), torch.float64),
    "moco two groups a process": (moco(4), moco(4), torch.float64),
    "lewel_m shufflebn": (lewel_m(2), lewel_m(None), torch.float64),
    "lewel_m two groups": (lewel_m(2), lewel_m(2), torch.float64),
    "lewel_m same index": (lewel_m(2, same_index=True), lewel_m(None, same_index=True), torch.float64),
}


def views(step: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(2, B, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(step)).to(dtype)


def train(spec: config.Recipe, dtype: torch.dtype) -> dict:
    """The steps on this process's part of the batches.

    Step by step: the mean loss over the processes, the gradients after DDP, this process's keys and the images that the
    target saw; then the state.
    """
    torch.manual_seed(7)
    method = build.method(spec).to(dtype).train()
    module = DistributedDataParallel(method, broadcast_buffers=False) if parallel.world() > 1 else method
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
    seen: list[torch.Tensor] = []
    method.target.branch.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 0, 0, 0].clone()))
    part = slice(parallel.rank() * B // parallel.world(), (parallel.rank() + 1) * B // parallel.world())
    found: dict = {"loss": [], "gradients": [], "keys": []}
    for step in range(STEPS):
        method.before_step(step, STEPS)
        loss, out = module(*views(step, dtype)[:, part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(out)
        found["loss"].append(parallel.all_reduce_(loss.detach().clone(), "mean"))
        found["gradients"].append({n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None})
        found["keys"].append({name: sides[0].target for name, sides in out["compared"].items()})
    return found | {"seen": seen, "state": method.state_dict()}


def looped(spec: config.Recipe) -> dict:
    """The same steps by the training loop, where the two directions of a loss are a backward pass each."""
    torch.manual_seed(7)
    method = build.method(spec).double().train()
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
    part = slice(parallel.rank() * B // parallel.world(), (parallel.rank() + 1) * B // parallel.world())
    loop.train(
        method,
        (tuple(views(step, torch.float64)[:, part]) for step in range(STEPS)),
        optimizer,
        lambda step: 0.05,
        total_steps=STEPS,
        precision=Precision(torch.device("cpu"), "fp32"),
    )
    return method.state_dict()


LOOPED = ["lewel_b syncbn", "lewel_b syncbn eman", "lewel_b groups", "moco shufflebn", "lewel_m shufflebn"]


def embeddings() -> torch.Tensor:
    return torch.randn(2, B, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def in_batch(same_index: bool) -> torch.Tensor:
    """The in-batch loss of this process's half of the rows, averaged over the processes."""
    half = slice(parallel.rank() * B // 2, (parallel.rank() + 1) * B // 2)
    return parallel.all_reduce_(InBatchInfoNCE(0.2, same_index)(*embeddings()[:, half]), "mean")


def main(folder: Path) -> None:
    parallel.start(torch.device("cpu"), timeout_s=60)
    found: dict = {name: train(two, dtype) for name, (_, two, dtype) in CASES.items()}
    found["looped"] = {name: looped(CASES[name][1]) for name in LOOPED}
    found["in_batch"] = {same_index: in_batch(same_index) for same_index in (False, True)}
    torch.save(found, folder / f"{parallel.rank()}.pt")
    parallel.stop()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each of the two processes found, for all cases: they are started once."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    source = str(Path(parallel.__file__).parents[1])
    processes = []
    for rank in range(2):
        environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment |= {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, str(folder)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        errors = [process.communicate(timeout=180)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict]:
    return {name: train(one, dtype) for name, (one, _, dtype) in CASES.items()}


def close(a: torch.Tensor, b: torch.Tensor, bound: float, what: str) -> None:
    difference = (a - b).norm() / b.norm().clamp_min(1e-12)
    assert difference <= bound, f"{what}: {difference:.2e}"


@pytest.mark.parametrize("name", CASES)
def test_loss(ranks: list[dict], alone: dict, name: str) -> None:
    bound = 1e-10 if CASES[name][2] == torch.float64 else 1e-6
    for step, expected in enumerate(alone[name]["loss"]):
        for rank in ranks:
            close(rank[name]["loss"][step], expected, bound, f"loss of step {step}")
        if CASES[name][2] == torch.float32:
            break  # after a step, float32's rounding is in the weights


DOUBLE = [name for name, case in CASES.items() if case[2] == torch.float64]


@pytest.mark.parametrize("name", DOUBLE)
def test_gradients(ranks: list[dict], alone: dict, name: str) -> None:
    for step, expected in enumerate(alone[name]["gradients"]):
        for rank in ranks:
            assert set(rank[name]["gradients"][step]) == set(expected)
            for parameter, gradient in expected.items():
                if gradient.norm() > 1e-8:  # a bias before batch norm has none
                    close(rank[name]["gradients"][step][parameter], gradient, 1e-10, f"{parameter} at step {step}")


@pytest.mark.parametrize("name", DOUBLE)
def test_state(ranks: list[dict], alone: dict, name: str) -> None:
    """Weights, target, queue, pointer: equal on both ranks bit for bit, and to one process. BN statistics: rank 0's."""
    first, second = (rank[name]["state"] for rank in ranks)
    expected = alone[name]["state"]
    assert list(first) == list(second) == list(expected)
    for key, tensor in expected.items():
        if "running" not in key:
            assert torch.equal(first[key], second[key]), key
        if not tensor.is_floating_point():
            assert torch.equal(first[key], tensor), key
        else:
            close(first[key], tensor, 1e-9, key)


@pytest.mark.parametrize("name", LOOPED)
def test_the_loop_takes_the_same_steps(ranks: list[dict], alone: dict, name: str) -> None:
    expected = alone[name]["state"]
    for state in (looped(CASES[name][0]), *(rank["looped"][name] for rank in ranks)):
        for key, tensor in expected.items():
            if tensor.is_floating_point() and not (key.startswith("target.") and "running" in key):
                close(state[key], tensor, 1e-9, key)


QUEUED = [name for name in CASES if name.startswith(("moco", "lewel_m"))]


@pytest.mark.parametrize("name", QUEUED)
def test_every_key_is_computed_once_and_returned_to_its_image(ranks: list[dict], alone: dict, name: str) -> None:
    for step in range(STEPS):
        images = views(step, torch.float64)[1, :, 0, 0, 0]
        both = torch.cat([rank[name]["seen"][step] for rank in ranks])
        assert not torch.equal(both, images)
        assert torch.equal(both.sort().values, images.sort().values)
        for term, expected in alone[name]["keys"][step].items():
            keys = torch.cat([rank[name]["keys"][step][term] for rank in ranks])
            close(keys, expected, 1e-10, f"keys of {term} at step {step}")


@pytest.mark.parametrize("name", QUEUED)
def test_the_queue_is_the_latest_keys_of_both_processes(ranks: list[dict], name: str) -> None:
    keys = torch.cat([torch.cat([rank[name]["keys"][step]["global"][:, 0] for rank in ranks]) for step in range(STEPS)])
    queue = ranks[0][name]["state"]["objectives.global.queue"]
    for age in range(QUEUE.queue):
        expected = torch.nn.functional.normalize(keys[len(keys) - 1 - age], dim=0)
        close(queue[:, (len(keys) - 1 - age) % QUEUE.queue], expected, 1e-12, f"key {age} from the last")


@pytest.mark.parametrize("same_index", [False, True])
def test_negatives_of_the_other_process_count(ranks: list[dict], same_index: bool) -> None:
    """The mean over the processes is the loss of the whole batch, not the mean of what each would have alone."""
    objective, (a, b) = InBatchInfoNCE(0.2, same_index), embeddings()
    apart = (objective(a[:4], b[:4]) + objective(a[4:], b[4:])) / 2
    for rank in ranks:
        found = rank["in_batch"][same_index]
        close(found, objective(a, b), 1e-12, "in-batch loss")
        assert found > apart + 0.5


if __name__ == "__main__":
    main(Path(sys.argv[1]))
