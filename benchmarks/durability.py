"""What a store loses where runs are killed, share it, fill its disk, or are copied while they write: nothing at all.

    python benchmarks/durability.py                # 100 kills, 2 and 4 processes, a full disk, 20 copies
    python benchmarks/durability.py --kills 20

Every trial ends with a run that is left alone; each of its cells must equal that of an undisturbed run in every score
and every figure, and no reader may meet a damaged cell on the way. The full disk is a small tmpfs, which takes root.
"""

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from bench.cards.catalog import Catalog
from bench.evaluation.engine import run_plan
from bench.evaluation.plan import PlannedCell, plan
from bench.evaluation.store import Store, StoreError
from bench.evaluation.workbench import Workbench  # noqa: F401  (loaded once here, and not by every process)

DETECTORS, THREATS, LIMIT = ("msp", "energy"), ("noise-l2", "fgm-l2"), 20
KILLS, COPIES = 100, 20
FULL_BYTES = 150_000
REFUSED = 3


def planned(seeds: Sequence[int]) -> list[PlannedCell]:
    """The cells of small runs on digits, one run a seed."""
    catalog = Catalog()
    return [
        cell
        for seed in seeds
        for cell in plan(catalog, list(DETECTORS), list(THREATS), ["0.5", "1"], ["digits"], seed=seed, limit=LIMIT)
    ]


def start(cells: Sequence[PlannedCell], root: Path) -> int:
    """A process of its own that runs a plan; exit code 0 where all is stored, REFUSED where the store is full."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = 0 if all(hasattr(one, "meta") for one in run_plan(cells, Store(root), Catalog())) else 2
        except StoreError:
            code = REFUSED
        finally:
            os._exit(code)
    return process


def finish(process: int) -> int:
    """The exit code of a process."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def differing(cells: Sequence[PlannedCell], root: Path, undisturbed: Path) -> tuple[int, int]:
    """How many cells of a plan are missing or differ, and how many damaged ones were met."""
    mine, theirs = Store(root), Store(undisturbed)
    wrong = 0
    for key in {cell.key for cell in cells}:
        one, other = mine.get(key), theirs.get(key)
        assert other is not None
        of_no_matter = {"seconds": 0.0, "versions": {}}
        wrong += (
            one is None
            or one.meta.model_copy(update=of_no_matter) != other.meta.model_copy(update=of_no_matter)
            or not one.samples.equals(other.samples)
        )
    return wrong, len(mine.notices)


def killed(root: Path, undisturbed: Path, rng: np.random.Generator, *, kills: int, seconds: float) -> str:
    """Kill runs on one store at random moments; what is stored at each moment is read."""
    done, seed, damaged = 0, 0, 0
    while done < kills:
        cells = planned([seed])
        process = start(cells, root)
        time.sleep(rng.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
        killed_in_time = finish(process) == -signal.SIGKILL
        done += killed_in_time
        reader = Store(root)
        reader.metas()
        damaged += len(reader.notices)
        seed += not killed_in_time or all(reader.meta(cell.key) is not None for cell in cells)
    cells = planned(range(seed + 1))
    assert finish(start(cells, root)) == 0
    assert finish(start(cells, undisturbed)) == 0
    wrong, met = differing(cells, root, undisturbed)
    return f"{kills} | {len({c.key for c in cells})} | {wrong} | {damaged + met}"


def shared(root: Path, undisturbed: Path, processes: int) -> str:
    """Run one plan in several processes at once, from the first cell on and from the last."""
    cells = planned(range(3))
    running = [start(cells, root) for _ in range(processes)]
    codes = [finish(process) for process in running]
    assert codes == [0] * processes, codes
    assert finish(start(cells, undisturbed)) == 0
    wrong, met = differing(cells, root, undisturbed)
    return f"{processes} | {len({c.key for c in cells})} | {wrong} | {met}"


def full(root: Path, undisturbed: Path) -> str:
    """Run into a full disk, move the store to another, and go on."""
    cells = planned(range(3))
    with small_disk(root):
        code = finish(start(cells, root / "runs"))
        kept = len(Store(root / "runs").metas())
        shutil.copytree(root / "runs", undisturbed.parent / "moved")
    assert code == REFUSED, code
    assert finish(start(cells, undisturbed.parent / "moved")) == 0
    assert finish(start(cells, undisturbed)) == 0
    wrong, met = differing(cells, undisturbed.parent / "moved", undisturbed)
    return f"1, {kept} cells kept | {len({c.key for c in cells})} | {wrong} | {met}"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of a few kilobytes below a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FULL_BYTES}", "tmpfs", folder], check=True)  # noqa: S603, S607
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S603, S607


def copied(root: Path, undisturbed: Path, rng: np.random.Generator, *, copies: int, seconds: float) -> str:
    """Copy a store while it is written, and go on in every copy."""
    every = planned(range(copies))
    assert finish(start(every, undisturbed)) == 0
    wrong = met = 0
    for seed in range(copies):
        process = start(planned([seed]), root)
        time.sleep(rng.uniform(0, seconds))
        copy = root.with_name(f"copy-{seed}")
        with suppress(shutil.Error):  # files vanish while they are copied
            shutil.copytree(root, copy)
        assert finish(process) == 0
        assert finish(start(planned([seed]), copy)) == 0
        more, damaged = differing(planned([seed]), copy, undisturbed)
        wrong, met = wrong + more, met + damaged
    return f"{copies} | {copies * len(planned([0]))} | {wrong} | {met}"


def main() -> None:
    """Print a table of all trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--copies", type=int, default=COPIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, default=None, help="Where stores are made; a disk that syncs fast.")
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=asked.place) as temporary:
        place = Path(temporary)
        finish(start(planned([0]), place / "warm"))
        began = time.monotonic()
        finish(start(planned([0]), place / "timed"))
        seconds = time.monotonic() - began
        trials: dict[str, Callable[[Path, Path], str]] = {
            "kill -9 at random moments": lambda a, b: killed(a, b, rng, kills=asked.kills, seconds=1.2 * seconds),
            "2 processes on one store": lambda a, b: shared(a, b, 2),
            "4 processes on one store": lambda a, b: shared(a, b, 4),
            "a disk that is full": full,
            "copies of a store that is being written": lambda a, b: copied(
                a, b, rng, copies=asked.copies, seconds=seconds
            ),
        }
        print(f"one run undisturbed: {seconds:.2f} s\n")
        print("| trial | how many | cells | missing or different | damaged cells met |")
        print("| :-- | --: | --: | --: | --: |")
        for number, (name, trial) in enumerate(trials.items()):
            folder = place / str(number)
            folder.mkdir()
            try:
                print(f"| {name} | {trial(folder / 'store', folder / 'undisturbed')} |", flush=True)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"| {name} | not made: {error} | | | |", flush=True)


if __name__ == "__main__":
    main()
