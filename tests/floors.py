"""Install the lowest versions that pyproject.toml allows, and run lewel with them: python tests/floors.py

torch and torchvision stay as they are installed: they are gigabytes. Everything else goes into a virtual environment in
a temporary folder, which finds the rest where this Python does. Exit code 0 when every command below worked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
LARGE = ("torch", "torchvision")
LITTLE = ("--encoder", "test_resnet", "--image-size", "64", "--batch-size", "16", "--hidden", "16", "--dim", "8")
ALONE = ("--device", "cpu", "--workers", "0")
HERE = (*ALONE, "--precision", "fp32")
MAKE = (
    "import sys; from lewel.data import scenes; from pathlib import Path; scenes.make(Path(sys.argv[1]), 48, 24, 64, 0)"
)


def floors() -> list[str]:
    """NAME==VERSION for every dependency but the large ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [re.fullmatch(r"([\w.-]+)>=([\w.]+)", line) for line in project["dependencies"]]
    assert all(named), "each dependency has a lowest version"
    return [f"{found[1]}=={found[2]}" for found in named if found and found[1] not in LARGE]


def commands(python: Path, folder: Path) -> list[list[str]]:
    """What a user does first."""
    lewel, data, run = [str(python), "-m", "lewel"], str(folder / "scenes"), str(folder / "run")
    return [
        [*lewel, "--help"],
        [*lewel, "pretrain", "lewel_m_tiny", "--help"],
        [*lewel, "recipes", "tiny"],
        [str(python), "-c", MAKE, data],
        [*lewel, "pretrain", "lewel_m_tiny", "--data", data, "--out", run, "--epochs", "2", *LITTLE, *HERE],
        [*lewel, "maps", "--run", run, "--data", data, "--out", str(folder / "maps.png")],
        [*lewel, "evaluate", "knn-k20-t0.07", "--weights", run, "--data", data, "--out", str(folder / "knn"), *ALONE],
        [*lewel, "export", "--weights", run, "--to", "timm", "--out", str(folder / "encoder.pth")],
    ]


def main() -> int:
    wanted = floors()
    print("lowest versions:", *wanted, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        other = ("import sysconfig; print(sysconfig.get_paths()['purelib'])",)
        asked = subprocess.run([python, "-c", *other], check=True, capture_output=True, text=True)
        installed = sysconfig.get_paths()["purelib"]
        (Path(asked.stdout.strip()) / "installed.pth").write_text(installed, encoding="utf-8")
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        for command in commands(python, folder):
            run = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
            print("ok    " if run.returncode == 0 else "FAILED", *command[1:6], flush=True)
            if run.returncode:
                print(run.stdout[-2000:], run.stderr[-4000:], flush=True)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
