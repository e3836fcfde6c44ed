"""`--logger`, and loggers of one's own: what is refused, what fails, and that neither ends a run."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import lewel
import runs
from lewel.config import Options
from lewel.engine.record import Record
from lewel.errors import UserError
from lewel.loggers import opening
from lewel.loggers.jsonl import read
from lewel.loggers.start import Start
from lewel.plan import Overrides
from lewel.pretrain import pretrain

OWN = """
import json

class Lines:
    def __init__(self, start):
        self.file = open(start.directory / "own.jsonl", "a")
        print(json.dumps({"start": start.step, "lr": start.config["optimizer.lr"]}), file=self.file)

    def write(self, row):
        print(json.dumps({"step": row["step"]}), file=self.file)
        row.clear()  # the row is its own

    def close(self):
        self.file.close()

class Half:
    def write(self, row): ...

def nothing(start):
    return 3

def fails(start):
    raise ConnectionError("no server at\\nport 1")

number = 7
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return runs.make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


class Kept:
    """A logger that keeps its rows."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.closed = 0

    def write(self, row) -> None:
        self.steps.append(row["step"])

    def close(self) -> None:
        self.closed += 1


class Failing(Kept):
    """Fails at a row, or at the end."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self.at = at

    def write(self, row) -> None:
        super().write(row)
        if row["step"] == self.at:
            raise RuntimeError("full")

    def close(self) -> None:
        super().close()
        raise OSError(28, "No space left on device")


def test_a_logger_that_fails_is_warned_about_once_and_gets_no_more(caplog) -> None:
    kept, early, late = Kept(), Failing(2), Failing(None)
    record = Record([early, late, kept])
    for step in (1, 2, 3):
        record.write({"step": step})
    record.close()
    record.close()
    assert (early.steps, early.closed) == ([1, 2], 0)
    assert (late.steps, late.closed) == (kept.steps, kept.closed) == ([1, 2, 3], 1)
    assert [message.split(";")[0] for message in caplog.messages] == [
        "Failing failed (RuntimeError: full)",
        "Failing failed (OSError: No space left on device",
    ]
    assert [row["step"] for row in record.rows] == [1, 2, 3]


def test_what_can_log_is_a_logger() -> None:
    assert isinstance(Kept(), lewel.Logger)
    opening.check([Kept()])
    for wrong, message in ((Kept, "class Kept"), (3, "int"), (object(), "object")):
        with pytest.raises(UserError, match=f"loggers: {message} is no logger"):
            opening.check([wrong])


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("wanb:a", "there is no logger 'wanb'; did you mean wandb?"),
        ("slack", r"there is no logger 'slack'; give tensorboard\[:DIR\], wandb"),
        ("own.py", "names a file but nothing in it; write own.py:NAME"),
        ("none.py:Lines", "logger file none.py does not exist"),
        ("own.py:absent", "defines no class or function 'absent'"),
        ("own.py:number", "defines no class or function 'number'"),
        ("own.py:Half", r"the class has no write\(row\) and close\(\)"),
    ],
)
def test_a_flag_that_is_no_logger_is_refused(own, monkeypatch, flag: str, message: str) -> None:
    monkeypatch.chdir(own.parent)
    with pytest.raises(UserError, match=message):
        opening.parse([flag])


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_refused_in_one_line_before_anything_is_written(
    photos, tmp_path, monkeypatch, capsys, kind
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    run = tmp_path / "run"
    assert runs.pretrain(photos, run, f"{kind}:x") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert line == f"lewel: --logger {kind}:x needs the package {kind}: pip install 'lewel[{kind}]'"
    assert not run.exists()


def test_the_same_logger_twice_is_refused() -> None:
    with pytest.raises(UserError, match="--logger tensorboard is given twice"):
        opening.parse(["tensorboard", "tensorboard"])


def test_a_package_that_is_there_but_broken_is_a_warning(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setitem(sys.modules, "wandb", None)
    record = opening.open_record(Start(tmp_path), opening.parse(["wandb:p"])[:1])
    record.write({"step": 1})
    record.close()
    (told,) = caplog.messages
    assert told.startswith("--logger wandb:p failed (ModuleNotFoundError: import of wandb halted")
    assert read(tmp_path / "metrics.jsonl") == [{"step": 1}]


@pytest.mark.parametrize(("name", "why"), [("nothing", "UserError: loggers: int is no"), ("fails", "no server at)")])
def test_an_own_logger_that_does_not_open_is_a_warning(own, tmp_path, caplog, name, why) -> None:
    opening.open_record(Start(tmp_path), opening.parse([f"{own}:{name}"])[:1]).write({"step": 1})
    (told,) = caplog.messages
    assert told.startswith(f"--logger {own}:{name} failed (") and why in told
    assert read(tmp_path / "metrics.jsonl") == [{"step": 1}]


def test_ids_are_kept_and_a_damaged_file_holds_none(tmp_path) -> None:
    assert Start(tmp_path).id_of("wandb:a") is None
    Start(tmp_path).keep_id("wandb:a", "1")
    Start(tmp_path, 5).keep_id("mlflow:b", "2")
    assert [Start(tmp_path).id_of(name) for name in ("wandb:a", "mlflow:b", "mlflow:")] == ["1", "2", None]
    for damaged in (b'{"wandb:a": ', b"[]", b'{"wandb:a": 1}', b"\xff"):
        (tmp_path / "loggers.json").write_bytes(damaged)
        assert Start(tmp_path).id_of("wandb:a") is None


def test_a_run_with_loggers_of_its_own_trains_the_same_weights(photos, tmp_path, own) -> None:
    """By flag, and from Python."""
    assert runs.pretrain(photos, tmp_path / "plain") == 0
    run, kept, broken = tmp_path / "own", Kept(), Failing(2)
    numbers = Overrides(
        epochs=2, batch_size=16, encoder="test_resnet", image_size=64, hidden=16, dim=8, warmup_epochs=0
    )
    options = Options(
        str(photos), str(run), device="cpu", precision="fp32", workers=0, log_every=1, evaluate="none",
        log=(f"{own}:Lines", f"{own}:fails"),
    )  # fmt: skip
    pretrain("byol_tiny", options, numbers, loggers=[kept, broken])
    assert [row["step"] for row in read(run / "metrics.jsonl")] == kept.steps == [1, 2, 3, 4]
    assert kept.closed == 1 and broken.steps == [1, 2]
    begun, *rows = [json.loads(line) for line in (run / "own.jsonl").read_text().splitlines()]
    assert begun["start"] == 0 and begun["lr"] > 0 and [row["step"] for row in rows] == [1, 2, 3, 4]
    log = (run / "train.log").read_text()
    assert log.count("fails failed (ConnectionError: no server at)") == log.count("Failing failed (RuntimeError") == 1
    weights = [(each / "encoder.safetensors").read_bytes() for each in (tmp_path / "plain", run)]
    assert weights[0] == weights[1]
