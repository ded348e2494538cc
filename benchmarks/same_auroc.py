"""How much sooner a command is at the AUROC that PGD of 100 steps and 5 starts reaches in other libraries.

`bench run` is timed as a user types it: start-up, all processes, clean scores, the audit, and every score once more in
float32, for all sets of the track. Foolbox and torchattacks climb the detector's objective in one process with as many
threads as there are cores, detector and images loaded before the clock starts, on the same sets. They take turns.

    python benchmarks/same_auroc.py --cases digits:energy:l2:0.5 mnist:gat:l2:1 --limit 200 --out same_auroc.json
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from attack_peers import OneStart, foolbox_pgd, torchattacks_pgd
from torch import Tensor

from bench.cards.catalog import Catalog
from bench.cards.threat import Norm
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.evaluation.fits import fit_or_recall
from bench.evaluation.images import TEST, Images
from bench.evaluation.results import CellMeta
from bench.evaluation.scoring import Draws, score_images
from bench.evaluation.sets import SetChoice
from bench.evaluation.store import Store
from bench.metrics import auroc

CASES = (
    "digits:energy:l2:0.5", "digits:energy:l2:1", "digits:msp:l2:0.5", "digits:gat:l2:1", "digits:gat:l2:2",
    "digits:oe:l2:1", "mnist:energy:l2:1", "mnist:gat:l2:1", "cifar10:energy@resnet20:l2:0.5",
    "cifar10:energy@resnet20:linf:8/255",
)  # fmt: skip
STEPS, STARTS, BATCH = 100, 5, 128


@dataclass(frozen=True)
class Case:
    """A detector under attack at one radius.

    Attributes:
        name: `track:detector:norm:eps`.
        detector: Frozen.
        images: The track's sets.
        x: (N, C, H, W) all OOD images.
        norm: Of the ball.
        eps: Its radius.
    """

    name: str
    detector: Detector
    images: Images
    x: Tensor
    norm: Norm
    eps: float


def main() -> None:
    """A line a case, and all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="TRACK:DETECTOR:NORM:EPS")
    parser.add_argument("--limit", type=int, default=None, help="images of each set; else the track's own limit")
    parser.add_argument("--natural", action="store_true", help="only the sets that enter the mean, for all alike")
    parser.add_argument("--repeats", type=int, default=1, help="turns, of which the median counts")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of their batches that peers attack; times are scaled by images"
    )
    parser.add_argument("--out", type=Path, default=None, help="a JSON file of all figures")
    options = parser.parse_args()
    rows = []
    for name in options.cases:
        case = make_case(name, options.limit, natural=options.natural)
        ours = [command(case, options.limit) for _ in range(options.repeats)]
        peers = {
            peer: [climb(case, one_start, options.share) for _ in range(options.repeats)]
            for peer, one_start in peers_of(case).items()
        }
        seconds = statistics.median(took for took, _ in ours)
        meta = ours[0][1]
        found = {peer: (statistics.median(took for took, _ in turns), turns[0][1]) for peer, turns in peers.items()}
        fastest = min((took for took, _ in found.values()), default=float("nan"))
        full = meta.evidence.mean if meta.evidence is not None else None
        mean = meta.mean.auroc if meta.mean is not None else float("nan")
        inside = f"{full.low:.4f}-{full.high:.4f}" if full is not None else "all spent"
        words = ", ".join(f"{peer} {took:.1f} s {reached:.4f}" for peer, (took, reached) in found.items())
        print(f"{name}: ours {seconds:.1f} s {mean:.4f} ({inside}); {words}; {fastest / seconds:.1f} times", flush=True)
        rows.append({"case": name, "seconds": seconds, "auroc": mean, "at_full_budget": inside, "peers": found})
    if options.out is not None:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
        options.out.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")


def make_case(name: str, limit: int | None, *, natural: bool = False) -> Case:
    """Load a detector, fitted where it has to be, and the images of its track."""
    track_name, detector_name, norm, eps = name.split(":")
    catalog = Catalog.find()
    card = catalog.track(track_name)
    spec, track = catalog.detector_spec(detector_name, card.name), Track(card)
    detector = load_detector(spec, card, catalog)
    if spec.fit_when_loaded:
        fit_or_recall(detector, spec, track, catalog, progress=lambda *_: None)
    card = SetChoice(only=card.natural()).of(card) if natural else card
    images = Images.of(track, card.default_limit if limit is None else limit, card)
    x = torch.cat([part.pixels() for part in images.ood.values()])
    return Case(name, detector, images, x, Norm(norm), float(Fraction(eps)))


def command(case: Case, limit: int | None) -> tuple[float, CellMeta]:
    """Seconds of `bench run` in an empty folder, and the attacked cell."""
    track, detector, norm, eps = case.name.split(":")
    with tempfile.TemporaryDirectory() as folder:
        asked = ["--track", track, "--detector", detector, "--threat", f"pgd-{norm}", "--eps", f"{norm}:{eps}"]
        asked += ["--limit", str(limit)] if limit else []
        asked += ["--ood", ",".join(case.images.ood)]
        started = time.perf_counter()
        whole = [sys.executable, "-m", "bench", "run", *asked, "--quiet", "--out", folder]
        subprocess.run(whole, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        took, store = time.perf_counter() - started, Store(Path(folder))
        (meta,) = [
            found for key in sorted(store.keys()) if (found := store.meta(key)) is not None and found.eps is not None
        ]
    return took, meta


def peers_of(case: Case) -> dict[str, OneStart]:
    """Those that are installed; steps of a quarter of the radius, as their defaults about have it."""
    step = 2.5 * case.eps / STEPS
    made: dict[str, Callable[[], OneStart]] = {
        "foolbox": lambda: foolbox_pgd(case.detector, case.norm, case.eps, STEPS, step_size=step),
        "torchattacks": lambda: torchattacks_pgd(case.detector, case.norm, case.eps, STEPS, step_size=step),
    }
    return {name: make() for name, make in made.items() if importlib.util.find_spec(name) is not None}


def climb(case: Case, one_start: OneStart, share: float) -> tuple[float, float]:
    """Seconds of all starts, and the mean AUROC over the sets that count, of the best start of each image."""
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    best = score_images(case.detector, case.x, BATCH, Draws(torch.arange(len(case.x)))).astype(np.float64)
    batches = range(0, len(case.x), BATCH)
    some = batches[:: max(1, round(1 / share))]
    started = time.perf_counter()
    for _ in range(STARTS):
        for first in some:
            rows = slice(first, first + BATCH)
            images = one_start(case.x[rows])
            scores = score_images(case.detector, images, BATCH, Draws(torch.arange(len(images))))
            best[rows] = np.maximum(best[rows], scores)
    attacked = sum(min(BATCH, len(case.x) - first) for first in some)
    took = (time.perf_counter() - started) * len(case.x) / attacked
    ids = score_images(case.detector, case.images.sets()[TEST].pixels(), BATCH, Draws(case.images.test.ids))
    aurocs, start = [], 0
    for name, part in case.images.ood.items():
        if case.images.card.ood[name].counts:
            aurocs.append(auroc(ids, best[start : start + len(part)]))
        start += len(part)
    return took, float(np.mean(aurocs)) if share >= 1.0 else float("nan")


if __name__ == "__main__":
    main()
