"""What `bench plan` predicts, against what `bench run` then takes: processor time of one process, at the full budget.

    python benchmarks/plan.py [--grids main,digits,...] [--json FILE]

The grids are those of the README, with fewer images so that each takes a minute or two: what is predicted a batch and
a step does not depend on how many there are. Processor time is compared: what others do counts less in it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

GRIDS = {
    "main": "--detector gat --threat pgd-l2 --eps 10 --limit 21",
    "digits": "--detector msp,energy,odin,mahalanobis,oe,gat.k0,gat --threat clean,pgd-l2 --eps 1,2 --limit 21",
    "suite": "--detector gat --threat auto-l2 --eps 1 --limit 21",
    "fool": "--detector sdim --threat pgd-l2 --side fool --goal misclassify-and-accept --eps 1.5 --limit 128",
    "mnist": "--track mnist --detector msp,energy,odin,mahalanobis,oe,gat --threat clean,pgd-l2 --eps 1 --limit 16 "
    "--steps 50 --restarts 2",
    "cifar10": "--track cifar10 --detector msp,energy,odin,mahalanobis --threat clean,pgd-l2 --eps 0.5 --limit 16 "
    "--steps 10 --restarts 2",
}
WHOLE = ["--no-early-stop", "--no-evidence", "--workers", "1"]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", default=",".join(GRIDS), help="some of them, between commas")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    found = {}
    print(f"{'grid':10s} {'predicted s':>12s} {'measured s':>12s} {'ratio':>7s} {'GiB said':>9s} {'GiB held':>9s}")
    for name in options.grids.split(","):
        found[name] = one = measured(GRIDS[name].split())
        print(
            f"{name:10s} {one['predicted']:12.1f} {one['measured']:12.1f} {one['predicted'] / one['measured']:7.2f} "
            f"{one['memory_said'] / 2**30:9.2f} {one['memory_held'] / 2**30:9.2f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measured(grid: list[str]) -> dict[str, float]:
    """One grid in a store of its own: seconds and bytes, predicted and measured."""
    with tempfile.TemporaryDirectory() as folder:
        line = [*grid, *WHOLE, "--out", folder]
        said = json.loads(bench("plan", *line, "--json").stdout)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        bench("run", *line, "--quiet")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        held = after.ru_maxrss * 1024  # of the largest of all so far, which is the run
        return {
            "predicted": said["seconds"], "measured": seconds, "memory_said": said["memory_bytes"],
            "memory_held": held,
        }  # fmt: skip


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    words = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603  # of this file alone


if __name__ == "__main__":
    main()
