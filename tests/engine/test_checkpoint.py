"""Checkpoints: exact, whole or absent, and every damaged byte noticed by name."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import ENVIRONMENT, TOY
from torch import nn
from toy import CPU, TOYS, digest, save, train, training

from lewel import parallel
from lewel.engine import checkpoint, files, state
from lewel.engine.identity import Identity, compare
from lewel.engine.state import Training
from lewel.errors import UserError


def saved(run: Path, *steps: int, keep: int = 9) -> Training:
    made = training()
    train(made, 0, 10)
    for step in steps:
        save(run, step, made, TOYS, keep)
    return made


@pytest.mark.parametrize("kind", ["lars", "sgd"])
def test_stop_and_go_on_is_the_unbroken_run(tmp_path: Path, kind: str) -> None:
    unbroken = training(kind)
    train(unbroken, 0, 12)
    first = training(kind)

    class StopError(Exception):
        pass

    def stop_at_five(step) -> None:
        if step.number == 5:
            save(tmp_path, 5, first, TOYS)
            raise StopError

    with pytest.raises(StopError):
        train(first, 0, 12, callbacks=[stop_at_five])
    second = training(kind)
    torch.manual_seed(99)
    found = checkpoint.latest(tmp_path)
    assert found is not None and checkpoint.load(found, second, TOYS) == 5
    train(second, 5, 12)
    assert digest(second) == digest(unbroken)


def test_adam_numbers_and_generators_come_back(tmp_path: Path) -> None:
    def adam() -> Training:
        torch.manual_seed(1)
        module = nn.Linear(3, 2)
        return Training(module, torch.optim.AdamW(module.parameters()), CPU.scaler())

    def step(made: Training) -> None:
        made.module(torch.rand(4, 3)).square().sum().backward()
        made.optimizer.step()
        made.optimizer.zero_grad()

    one = adam()
    step(one)
    save(tmp_path, 1, one, TOYS)
    step(one)
    two = adam()
    checkpoint.load(checkpoint.directory(tmp_path, 1), two, TOYS)
    step(two)
    assert digest(one) == digest(two)


def test_each_process_gets_its_own_generator_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = training()
    own = [torch.Generator().manual_seed(seed).get_state() for seed in (3, 4)]
    packed = replace(state.pack(made), generators={"cpu": torch.stack(own)})
    monkeypatch.setattr(parallel, "world", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        state.unpack(packed, made, "a checkpoint of two processes")
        assert torch.equal(torch.get_rng_state(), own[rank])


def test_tensors_that_share_memory_are_empty_strided_or_0d(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = nn.Linear(3, 3)
            self.b.weight = self.a.weight
            whole = torch.arange(6.0).view(2, 3)
            for name, tensor in {
                "t": whole.t(),
                "row": whole[0],
                "scalar": torch.tensor(3),
                "none": torch.zeros(0, 4),
            }.items():
                self.register_buffer(name, tensor)

    def odd() -> Training:
        module = Odd()
        return Training(module, torch.optim.SGD(module.parameters(), 0.1), CPU.scaler())

    one, two = odd(), odd()
    save(tmp_path, 3, one, TOYS)
    with torch.no_grad():
        two.module.t.zero_()
    checkpoint.load(checkpoint.directory(tmp_path, 3), two, TOYS)
    for name, tensor in one.module.state_dict().items():
        assert torch.equal(tensor, two.module.state_dict()[name]), name


def damage_is_noticed(run: Path, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    assert checkpoint.latest(run) == checkpoint.directory(run, 10)
    assert str(path) in caplog.text and "going on from step-00000010" in caplog.text


@pytest.mark.parametrize(
    "name", ["MANIFEST.json", "state.json", "module.safetensors", "optimizer.safetensors", "rng.safetensors"]
)
def test_any_flipped_or_cut_byte_is_noticed_by_name(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, 10, 20)
    path = checkpoint.directory(tmp_path, 20) / name
    whole = path.read_bytes()
    every = 1 if len(whole) < 2000 else len(whole) // 150
    for at in range(0, len(whole), every):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        damage_is_noticed(tmp_path, path, caplog)
        if at % (7 * every) == 0:
            path.write_bytes(whole[:at])
            damage_is_noticed(tmp_path, path, caplog)
    path.write_bytes(whole + b" ")
    damage_is_noticed(tmp_path, path, caplog)
    path.unlink()
    damage_is_noticed(tmp_path, path, caplog)
    path.write_bytes(whole)
    assert checkpoint.latest(tmp_path) == checkpoint.directory(tmp_path, 20)


def rewrite(checkpoint_directory: Path, **changes: object) -> None:
    """Give the manifest other entries and a digest that is right for them."""
    path = checkpoint_directory / checkpoint.MANIFEST
    content = json.loads(path.read_bytes()) | changes
    content.pop("sha256")
    path.write_bytes(checkpoint._json(content | {"sha256": checkpoint.digest(checkpoint._json(content)).hexdigest()}))


def test_a_newer_format_is_refused_and_no_older_checkpoint_taken(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    rewrite(checkpoint.directory(tmp_path, 20), format=checkpoint.FORMAT + 1)
    newer = rf"MANIFEST\.json was written by a newer lewel: format {checkpoint.FORMAT + 1}, and this one reads up to"
    with pytest.raises(UserError, match=newer) as caught:
        checkpoint.latest(tmp_path)
    assert "\n" not in str(caught.value)
    rewrite(checkpoint.directory(tmp_path, 20), format="two")
    with pytest.raises(UserError, match="'two' is no format number"):
        checkpoint.latest(tmp_path)


@pytest.mark.parametrize("name", ["rng.safetensors", "state.json"])
def test_a_manifest_that_leaves_a_file_out_is_damaged(tmp_path: Path, name: str, caplog) -> None:
    saved(tmp_path, 10, 20)
    folder = checkpoint.directory(tmp_path, 20)
    (folder / name).unlink()
    files = json.loads((folder / checkpoint.MANIFEST).read_bytes())["files"]
    rewrite(folder, files={key: entry for key, entry in files.items() if key != name})
    damage_is_noticed(tmp_path, folder / checkpoint.MANIFEST, caplog)
    assert f"it names no {name}" in caplog.text


@pytest.mark.parametrize("name", ["MANIFEST.json", "module.safetensors"])
def test_a_fifo_is_damage_and_is_not_waited_for(tmp_path: Path, name: str, caplog) -> None:
    saved(tmp_path, 10, 20)
    path = checkpoint.directory(tmp_path, 20) / name
    path.unlink()
    os.mkfifo(path)
    damage_is_noticed(tmp_path, path, caplog)
    assert "it is not a regular file" in caplog.text


@pytest.mark.parametrize(
    "content", [b"{}", b"[1]", b"\xff", b'{"identity": {"recipe": 1}}', b'{"step": 20, "identity": 3}', b"{" * 9999]
)
def test_a_state_of_another_kind_is_one_line(tmp_path: Path, content: bytes) -> None:
    made = saved(tmp_path, 20)
    (checkpoint.directory(tmp_path, 20) / "state.json").write_bytes(content)
    with pytest.raises(UserError, match=r"state\.json is (not the state of a run|damaged)") as caught:
        checkpoint.load(checkpoint.directory(tmp_path, 20), made, TOYS)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_under_another_step_s_name_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path, 10)
    shutil.copytree(checkpoint.directory(tmp_path, 10), checkpoint.directory(tmp_path, 20))
    damage_is_noticed(tmp_path, checkpoint.directory(tmp_path, 20) / "MANIFEST.json", caplog)


def test_all_damaged_is_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    saved(tmp_path, 10)
    (checkpoint.directory(tmp_path, 10) / "state.json").write_bytes(b"{}")
    with pytest.raises(UserError, match=r"state\.json is 2 bytes.*another --out"):
        checkpoint.latest(tmp_path)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_keep_and_what_a_crash_left(tmp_path: Path) -> None:
    made = saved(tmp_path, 1, 2, 3, keep=2)
    assert names(tmp_path) == ["step-00000002", "step-00000003"]
    (tmp_path / "checkpoints" / ".tmp-step-00000004").mkdir()
    checkpoint.clean(tmp_path)
    assert names(tmp_path) == ["step-00000002", "step-00000003"]
    (checkpoint.directory(tmp_path, 3) / "state.json").unlink()
    save(tmp_path, 2, made, TOYS, keep=1)  # gone back to 2: the damaged 3 is of no use
    assert names(tmp_path) == ["step-00000002"] and checkpoint.latest(tmp_path) == checkpoint.directory(tmp_path, 2)


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = saved(tmp_path, 10)
    writes = 0

    def full(path: Path, data: bytes) -> str:
        nonlocal writes
        writes += 1
        if writes == nth:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    write = files.write_synced
    monkeypatch.setattr(files, "write_synced", full)
    said = r"step-00000020 not written \(No space left.*make room or lower --keep\); the last good one is step-00000010"
    with pytest.raises(UserError, match=said):
        save(tmp_path, 20, made, TOYS, keep=2)
    assert names(tmp_path) == ["step-00000010"]
    checkpoint.verify(checkpoint.directory(tmp_path, 10))


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    made = saved(tmp_path, 10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(
            UserError, match=r"not written \(File too large; allow larger files \(ulimit -f\)\); the last"
        ):
            save(tmp_path, 20, made, TOYS, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["step-00000010"]
    checkpoint.verify(checkpoint.directory(tmp_path, 10))


@pytest.mark.slow
def test_a_really_full_disk(tmp_path: Path) -> None:
    run = f"{sys.executable} {TOY} {tmp_path}/run 100"
    script = f"""
        mount -t tmpfs -o size=200k none {tmp_path} || exit 1
        {run} --save-every 1 --keep 99; echo rc $?; ls -A {tmp_path}/run/checkpoints
        {run} --save-every 99 --keep 1
    """
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = ["unshare", "-rm", "sh", "-c", script]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert re.search(
        r"not written \(No space left on device; make room or lower --keep\); the last good one is step-\d+; the same",
        result.stderr,
    )
    assert "Traceback" not in result.stderr and "rc 2" in result.stdout and ".tmp" not in result.stdout
    kept = re.findall(r"step-(\d+)", result.stdout)
    assert f"at {int(kept[-1])}\n" in result.stdout  # the second run goes on from it


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    made = saved(tmp_path, 10)
    made.module.queue[3, 1] = torch.inf
    with pytest.raises(UserError, match="queue is not finite; the last good one is step-00000010"):
        save(tmp_path, 20, made, TOYS)
    assert names(tmp_path) == ["step-00000010"]


def test_a_run_of_another_recipe_length_or_number_of_processes() -> None:
    assert compare(TOYS, Identity({"name": "toy", "sizes": (1, 2)}, 10, 1)) == []
    with pytest.raises(UserError, match=r"another recipe \(sizes.1 2 -> 3\).*--out"):
        compare(TOYS, Identity({"name": "toy", "sizes": (1, 3)}, 10, 1))
    with pytest.raises(UserError, match=r"10 epochs, not 20.*--extend"):
        compare(TOYS, Identity(TOYS.recipe, 20, 1))
    with pytest.raises(UserError, match=r"1 processes, not 2.*--change-processes"):
        compare(TOYS, Identity(TOYS.recipe, 10, 2))
    both = compare(TOYS, Identity(TOYS.recipe, 20, 2), extend=True, change_processes=True)
    assert [sentence.split(":")[0] for sentence in both] == ["--extend", "--change-processes"]


def of_images(sampled: dict[str, int], **more: str) -> Identity:
    return Identity({**TOYS.recipe, "contents": sampled, **more}, 10, 1)


def test_images_with_other_contents_are_named_and_refused_unless_allowed() -> None:
    was = of_images({"a.png": 1, "b.png": 2, "c.png": 3})
    assert compare(was, was) == []
    changed = of_images({"a.png": 1, "b.png": 9, "c.png": 8})
    named = r"2 of the 3 images that are compared have other contents \(b\.png, c\.png\) than when the run began"
    with pytest.raises(UserError, match=rf"{named}; restore them, or --change-images goes on with them"):
        compare(was, changed)
    (sentence,) = compare(was, changed, change_images=True)
    assert sentence.startswith("--change-images: 2 of the 3")


def test_contents_of_all_images_are_compared_where_both_starts_had_them() -> None:
    was, changed = (of_images({"a.png": 1}, all_contents=digest) for digest in ("x", "y"))
    with pytest.raises(UserError, match=r"images have other contents, none of them in the sample"):
        compare(was, changed)
    assert compare(was, of_images({"a.png": 1})) == []
    (sentence,) = compare(of_images({"a.png": 1}), was)
    assert "the run began without it" in sentence


def test_a_run_from_before_contents_were_kept_goes_on() -> None:
    assert compare(TOYS, of_images({"a.png": 1})) == []


def test_allowed_changes_are_said_when_loading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path, 10)
    longer = Identity(TOYS.recipe, 20, 1)
    with caplog.at_level(logging.WARNING):
        checkpoint.load(checkpoint.directory(tmp_path, 10), training(), longer, extend=True)
    assert "10 -> 20 epochs" in caplog.text


def test_another_shape_is_listed(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    other = training()
    other.module.register_buffer("queue", torch.zeros(16, 5))
    other.module.register_buffer("more", torch.zeros(1))
    with pytest.raises(
        UserError, match=r"2 tensors differ \(more absent, here \(1,\); queue \(32, 5\), here \(16, 5\)\)"
    ):
        checkpoint.load(checkpoint.directory(tmp_path, 10), other, TOYS)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    folder = checkpoint.directory(tmp_path, 10)
    for path in folder.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        else:
            length = int.from_bytes(path.read_bytes()[:8], "little")
            json.loads(path.read_bytes()[8 : 8 + length])


def test_running_statistics_are_those_of_batch_norms() -> None:
    made = training()
    found = {id(tensor) for tensor in state.running_statistics(made.module)}
    expected = {id(t) for name, t in made.module.named_buffers() if "running" in name or "num_batches" in name}
    assert found == expected and len(found) == 6


def test_what_is_prepared_is_the_state_of_then(tmp_path: Path) -> None:
    made = training()
    train(made, 0, 3)
    content = checkpoint.prepare(tmp_path, 7, made, TOYS)
    assert content is not None and not (tmp_path / "checkpoints").exists()
    save(tmp_path / "then", 7, made, TOYS)
    with torch.no_grad():
        for tensor in made.module.state_dict().values():
            tensor.add_(1)
    checkpoint.write(content)
    for name in ("module.safetensors", "optimizer.safetensors", "state.json"):
        place = Path("checkpoints") / "step-00000007" / name
        assert (tmp_path / place).read_bytes() == (tmp_path / "then" / place).read_bytes()
