"""What a copy to search with is worth: its gradient against the detector's, and an attack with it against one without.

Forms take turns in one process, in processor time, and the median over the turns of the ratio counts. Of an attack, the
AUROC that it leaves is printed beside the time: the copy must not make it weaker.

    python benchmarks/search_copy.py --detector energy@resnet20 --track cifar10 --eps linf:2/255 --out search_copy.json
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.allocator import hold_freed_memory
from bench.cards.catalog import Catalog
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.precision import Precision, SearchPrecision
from bench.detectors.searching import Copy, Form, search_copy
from bench.evaluation.api import evaluate
from bench.evaluation.plan import plan
from bench.evaluation.store import MemoryStore
from bench.evaluation.workbench import Workbench


def main() -> None:
    """A line a form and an attack, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="energy", help="by name, SCORE@NETWORK too (energy)")
    parser.add_argument("--track", default="digits")
    parser.add_argument("--eps", default="l2:1", help="of the attack, as bench run takes it (l2:1)")
    parser.add_argument("--limit", type=int, default=40, help="images of each set (40)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7, help="turns of each form (7)")
    parser.add_argument("--compile", action="store_true", help="a compiled form too, which takes a minute to make")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file of all figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    hold_freed_memory()
    found = {"gradient": gradients(options), "attack": attacks(options), "machine": machine()}
    if options.out is not None:
        options.out.write_text(json.dumps({**vars(options), "out": None, **found}, indent=1) + "\n")


def gradients(options: argparse.Namespace) -> dict[str, Any]:
    """The gradient of one batch, by form: its time as a share of the detector's own, and how well it agrees."""
    catalog = Catalog(None)
    cell = plan(catalog, [options.detector], ["clean"], None, [options.track], limit=options.limit)[0]
    bench = Workbench(catalog, MemoryStore())
    detector = bench._detector(cell)
    images = Track(cell.track).set("calibration").limited(cell.ingredients.micro_batch).pixels()
    asked: dict[str, Callable[[], object]] = {"detector": lambda: gradient(detector, images)}
    said = {}
    forms = [Form(Precision.FLOAT32), Form(Precision.BF16)]
    for form in [*forms, *([Form(Precision.FLOAT32, compiled=True)] if options.compile else [])]:
        made = search_copy(detector, images, SearchPrecision(form.precision, form.compiled))
        said[str(form)] = made.said
        if isinstance(made, Copy):
            asked[str(form)] = lambda copy=made.detector: gradient(copy, images)
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(options.repeats):
        for name, ask in asked.items():
            started = time.process_time()
            ask()
            seconds[name].append(time.process_time() - started)
    rows = {
        name: statistics.median(mine / own for mine, own in zip(took, seconds["detector"], strict=True))
        for name, took in seconds.items()
    }
    for name, ratio in rows.items():
        print(f"a gradient, {name}: {ratio:.2f} ({1e3 * statistics.median(seconds[name]):.0f} ms)")
    return {"ratio": rows, "seconds": seconds, "said": said}


def gradient(detector: Detector, images: torch.Tensor) -> torch.Tensor:
    """Of the objective to the pixels."""
    leaf = images.clone().requires_grad_(True)
    return torch.autograd.grad(detector.objective(leaf).sum(), leaf)[0]


def attacks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """An attack with and without a copy: time, gradients and the AUROC that it leaves."""
    threat = "pgd-linf" if options.eps.startswith("linf") else "pgd-l2"
    rows = []
    for early_stop in (True, False):
        for precision in ("float32", "auto"):
            started = time.process_time()
            *_, cell = evaluate(
                options.detector, threat, options.track, eps=options.eps, limit=options.limit, precision=precision,
                early_stop=early_stop, evidence=False, steps=options.steps, restarts=options.restarts,
            )  # fmt: skip
            mean = cell.meta.mean
            rows.append({
                "early_stop": early_stop, "precision": precision, "seconds": cell.meta.seconds,
                "processor": time.process_time() - started, "auroc": None if mean is None else mean.auroc,
                "gradients": cell.meta.gradients, "notes": cell.meta.notes,
            })  # fmt: skip
            row = rows[-1]
            print(
                f"an attack, early stop {early_stop}, {precision}: {row['seconds']:.1f} s, {row['gradients']} "
                f"gradients, AUROC {row['auroc']:.4f}"
            )
    return rows


def machine() -> dict[str, str]:
    """Where it was measured."""
    return {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}


if __name__ == "__main__":
    main()
