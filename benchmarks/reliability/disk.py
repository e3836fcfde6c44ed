"""Full disks: a run on a small file system ends in one line, keeps its last checkpoint, and goes on once there is room.

    python benchmarks/reliability/disk.py --work DIR [--sizes 6] [--out docs/data]

The file system is a tmpfs in a user namespace (`unshare -rm`), smaller than what the run writes: each size lets it come
further. After the end it gets room, the same command is given again, and the end is compared with an unbroken one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import campaign
import sources
import traces
from started import SOURCE, must_end, preload, start

MEBIBYTES = 1 << 20
SCRIPT = """
mount -t tmpfs -o size={size} none {mount} || exit 99
{command}; echo "exit code $?"
echo "left $(find {mount} -name '.*tmp*' | wc -l)"
mount -o remount,size=1G {mount}
{command}; echo "exit code $?"
cp -r {mount}/run {after}
"""


def words(images: Path, out: Path) -> list[str]:
    given = (
        "pretrain", "lewel_m_tiny", "--data", images, "--out", out, *sources.SMALL, "--epochs", 4, "--save-every", 1,
        "--workers", 0, "--evaluate", "none", "--keep", 3,
    )  # fmt: skip
    return [str(word) for word in given]


def full(work: Path, images: Path, size: int, expected: dict[str, Any]) -> dict[str, Any]:
    """One size: what was said, the exit codes, and what is wrong."""
    mount, after = work / "mount", work / f"after-{size}"
    mount.mkdir(exist_ok=True)
    command = " ".join(f"'{word}'" for word in [sys.executable, "-m", "lewel", *words(images, mount / "run")])
    script = SCRIPT.format(size=size, mount=mount, command=command, after=after)
    environment = {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    codes = [int(code) for code in re.findall(r"exit code (\d+)", done.stdout)]
    last = [line for line in done.stderr.splitlines() if line.startswith("lewel: ")]
    faults = [f"exit codes {codes}, not 2 and 0"] if codes != [2, 0] else []
    faults += ["a traceback"] if "Traceback" in done.stderr else []
    faults += ["half-written files stayed"] if "left 0" not in done.stdout else []
    faults += [f"{len(last)} lines of refusal"] if len(last) != 1 else []
    if after.exists():
        faults += traces.differences(expected, traces.finished(after))
    told = last[0].replace(str(mount), "DIR") if last else done.stderr[-300:]
    return {"bytes": size, "exit codes": codes, "told": told, "faults": faults}


def main() -> int:
    parser = campaign.flags(__doc__)
    parser.add_argument("--sizes", type=int, default=6)
    given = parser.parse_args()
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        parser.error("no user namespaces here (unshare -rm), which the small file system needs")
    preload()
    work = given.work.absolute()
    images = sources.make(work)["folder"]
    must_end(start(words(images, work / "mount" / "run"), work / "disk.log", work / "tmp"), "the unbroken run")
    expected = traces.finished(work / "mount" / "run")
    total = sum(path.stat().st_size for path in (work / "mount" / "run").rglob("*") if path.is_file())
    progress, rows = campaign.Progress(given.sizes, "full disks"), list[dict[str, Any]]()
    for number in range(given.sizes):
        rows.append(full(work, images, MEBIBYTES + (total - 2 * MEBIBYTES) * number // given.sizes, expected))
        print(f"  {rows[-1]}", flush=True)
        progress.at(number + 1)
    faults = sum(len(row["faults"]) for row in rows)
    print(f"{given.sizes} full disks, {faults} faults")
    campaign.write("disk", given.out, {"sizes": given.sizes, "faults": faults, "disks": rows})
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
