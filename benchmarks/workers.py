"""How much sooner a grid, and a single cell, are done by two processes than by one.

Each is a whole command as a user types it, start-up included, into a folder of its own. One process of one thread, one
of two threads, and two of one thread each take turns; the medians over the turns of their ratios count.
What two cores can do at most is told by the bare loop of `step.py`, in one process and in two at once: cores may share
what a single one has to itself.

    python benchmarks/workers.py --repeats 3 --out workers.json
"""

import argparse
import json
import os
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
    "one cell, whole budget": ["--detector", "gat", "--threat", "pgd-l2", "--eps", "4"],
}  # fmt: skip
HANDS = {"one process": (1, 1), "one process, two threads": (1, 2), "two processes": (2, 1)}
BARE_SECONDS = 8.0


def main() -> None:
    """A line a grid, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="turns that one and two processes take (3)")
    parser.add_argument("--limit", type=int, default=None, help="images of each set; else the track's own limit")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file of all figures")
    parser.add_argument("--bare", action="store_true", help="count steps of the bare loop in this process, no more")
    options = parser.parse_args()
    if options.bare:
        print(bare_steps())
        return
    alone, both = at_once(1), at_once(2)
    print(f"bare loop: {alone:.0f} steps a second in one process, {both:.0f} in two at once, {both / alone:.2f} times")
    rows: list[dict[str, object]] = [{"grid": "bare loop", "steps a second": [alone, both], "ratio": both / alone}]
    for name, grid in GRIDS.items():
        asked = [*grid, *(["--limit", str(options.limit)] if options.limit else [])]
        seconds: dict[str, list[float]] = {hands: [] for hands in HANDS}
        for _ in range(options.repeats):
            for hands, found in seconds.items():
                found.append(wall(asked, *HANDS[hands]))
        last = seconds["two processes"]
        ratios = {
            hands: statistics.median(one / two for one, two in zip(seconds[hands], last, strict=True))
            for hands in HANDS
        }
        rows.append({"grid": name, "seconds": seconds, "ratios": ratios})
        said = (f"{statistics.median(seconds[hands]):.1f} s by {hands} ({ratios[hands]:.2f})" for hands in HANDS)
        print(f"{name}: {', '.join(said)}", flush=True)
    if options.out is not None:
        machine = {"machine": platform.machine(), "python": platform.python_version()}
        options.out.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")


def at_once(processes: int) -> float:
    """Steps a second of so many bare loops, all of them together."""
    command = [sys.executable, __file__, "--bare"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603 - our own
        for _ in range(processes)
    ]
    return sum(float(one.communicate()[0]) for one in running)


def bare_steps() -> float:
    """Steps a second of the bare loop on `gat`, 128 images of digits, once it is warm."""
    import torch
    from step import Norm, bare, make_case

    torch.set_num_threads(1)
    case = make_case("digits:gat", argparse.Namespace(batches=1, steps=10))
    bare(case, Norm.L2, 100)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < BARE_SECONDS:
        bare(case, Norm.L2, 10)
        steps += 10
    return steps / (time.perf_counter() - started)


def wall(asked: list[str], workers: int, threads: int) -> float:
    """Seconds of one command in an empty folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench", "run", *asked, "--workers", str(workers), "--quiet", "--out", folder]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603 - our own
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
