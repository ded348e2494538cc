"""How much memory a command takes at its peak, as images, restarts, radii and detectors grow.

Each figure is a whole command as a user types it, into a folder of its own: the peaks of all its processes, summed. A
process's peak is what Linux calls VmHWM, shared libraries included. What lives for less than half a second is a copy
that is about to become another program, and is not counted.

    python benchmarks/memory.py --track mnist --workers 1 --out memory.json
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

BASE = {"images": "100", "restarts": "2", "eps": "l2:1", "detectors": "msp"}
GROWN = {
    "images": ("4000",),
    "restarts": ("20",),
    "eps": ("l2:0.25,0.5,1,2,4,8",),
    "detectors": ("msp,energy,odin,gat",),
}
_BETWEEN_LOOKS = 0.05
_LOOKS_OF_A_COPY = 10


def main() -> None:
    """A line a command, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", default="mnist")
    parser.add_argument("--threat", default="pgd-l2")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", choices=tuple(GROWN), default=None, help="what grows; else each in turn")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file of all figures")
    options = parser.parse_args()
    first = peak(BASE, options)
    print(f"{BASE}: {first:,} MB")
    rows = [{**BASE, "mb": first, "ratio": 1.0}]
    for name, values in GROWN.items():
        if options.only in (None, name):
            for value in values:
                asked = {**BASE, name: value}
                found = peak(asked, options)
                rows.append({**asked, "mb": found, "ratio": found / first})
                print(f"{name} {value}: {found:,} MB, {found / first:.2f} times")
    if options.out is not None:
        machine = {"machine": platform.machine(), "python": platform.python_version()}
        options.out.write_text(json.dumps({**machine, "workers": options.workers, "rows": rows}, indent=1) + "\n")


def peak(asked: dict[str, str], options: argparse.Namespace) -> int:
    """Megabytes of one command in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "bench", "run", "--track", options.track, "--threat", options.threat, "--quiet",
            "--steps", str(options.steps), "--workers", str(options.workers), "--limit", asked["images"],
            "--restarts", asked["restarts"], "--eps", asked["eps"], "--detector", asked["detectors"], "--out", folder,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        highest: dict[int, int] = {}
        looks: Counter[int] = Counter()
        while process.poll() is None:
            for number in family(process.pid):
                with suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{number}/status").read_text().splitlines()
                    found = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
                    highest[number] = max(found, highest.get(number, 0))
                    looks[number] += 1
            time.sleep(_BETWEEN_LOOKS)
        if process.returncode:
            raise SystemExit(f"the command ended with {process.returncode}: {' '.join(command)}")
    return sum(peak for number, peak in highest.items() if looks[number] > _LOOKS_OF_A_COPY) // 1024


def family(root: int) -> list[int]:
    """A process and all that it has started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found, left = [], [root]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


if __name__ == "__main__":
    main()
