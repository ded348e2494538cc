"""How much sooner a grid, and a single cell, are done by two processes than by one.

Each is a whole command as a user types it, start-up included, into a folder of its own; one and two processes take
turns, and the median over the turns of the ratio of their wall times counts.

    python benchmarks/workers.py --repeats 3 --out workers.json
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GRIDS = {
    "12 cells": ["--detector", "msp,energy,odin,gat", "--threat", "clean,pgd-l2,pgd-linf", "--eps", "l2:1",
                 "--eps", "linf:8/255"],
    "one cell": ["--detector", "gat", "--threat", "pgd-l2", "--eps", "1"],
}  # fmt: skip


def main() -> None:
    """A line a grid, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="turns that one and two processes take (3)")
    parser.add_argument("--limit", type=int, default=None, help="images of each set; else the track's own limit")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file of all figures")
    options = parser.parse_args()
    rows = []
    for name, grid in GRIDS.items():
        asked = [*grid, *(["--limit", str(options.limit)] if options.limit else [])]
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.repeats):
            for workers, found in seconds.items():
                found.append(wall(asked, workers))
        ratio = statistics.median(one / two for one, two in zip(seconds[1], seconds[2], strict=True))
        rows.append({"grid": name, "seconds": seconds, "ratio": ratio})
        one, two = (statistics.median(seconds[workers]) for workers in (1, 2))
        print(f"{name}: {one:.1f} s by one process, {two:.1f} s by two, {ratio:.2f} times sooner")
    if options.out is not None:
        machine = {"machine": platform.machine(), "python": platform.python_version()}
        options.out.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")


def wall(asked: list[str], workers: int) -> float:
    """Seconds of one command in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench", "run", *asked, "--workers", str(workers), "--quiet", "--out", folder]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
