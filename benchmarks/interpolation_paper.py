"""The interpolation test of the paper on conditional generative models: what lies between two ID images?

Between accepted, correctly classified ID test images of different classes, a detector that knows its classes should
score the images half-way lower. The paper (section 4.4) reports for its conditional Glow that 0.5 % of the paths on
MNIST stay accepted throughout, at its detection threshold, and all of them on CIFAR-10. Prints a table, and draws the
mean curves.

    python benchmarks/interpolation_paper.py [--track digits] [--detectors msp,sdim] [--pairs 1000] [--points 100]
        [--limit 1000] [--plot curves.png]
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from bench.cards.catalog import Catalog
from bench.datasets.track import Track
from bench.detectors.loading import load_detector
from bench.errors import BenchError
from bench.evaluation.between import walk_between
from bench.evaluation.cell import clean_cell
from bench.evaluation.images import Images, threshold_images
from bench.evaluation.plan import plan
from bench.evaluation.results import BetweenMetrics, Cell

DETECTORS = ("glow", "glow.reweight", "glow.split", "glow.unconditional", "sdim", "msp", "gat-committee")


def main() -> None:
    """Walk for every detector asked for, print a line for each, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--track", default="digits")
    parser.add_argument("--detectors", default=",".join(DETECTORS), help="separated by commas")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--limit", type=int, help="the most images of a set")
    parser.add_argument("--plot", type=Path, help="where to draw the mean curves, as a PNG file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, tuple[BetweenMetrics, Cell]] = {}
    print(f"{options.track}: paths between accepted, correctly classified ID test images of different classes\n")
    print("| detector | paths | accepted throughout | accepted half-way | score half-way (IQR) | p of both | AUROC |")
    print("|---|---|---|---|---|---|---|")
    for name in options.detectors.split(","):
        try:
            figures, clean = walked(name, options.track, options.pairs, options.points, options.limit)
        except BenchError as error:
            print(f"| {name} | left out: {error} | | | | | |", flush=True)
            continue
        found[name] = figures, clean
        print(line(name, figures, clean), flush=True)
    if options.plot is not None:
        draw(found, options.plot)


def walked(name: str, track: str, pairs: int, points: int, limit: int | None) -> tuple[BetweenMetrics, Cell]:
    """What a detector says of the paths, and its clean cell."""
    catalog = Catalog.find()
    overrides = {"pairs": pairs, "points": points}
    cells = plan(catalog, [name], ["interpolation"], None, [track], side="between", limit=limit, overrides=overrides)
    planned = cells[-1]
    assert planned.clean is not None
    loaded = Track(planned.track)
    images = Images.of(loaded, planned.ingredients.limit)
    detector = load_detector(planned.detector, planned.track, catalog)
    by_train = planned.detector.thresholds.source == "train"
    clean = clean_cell(planned.clean, detector, images, threshold_images(loaded) if by_train else None)
    return walk_between(planned, detector, images, clean).figures, clean


def line(name: str, figures: BetweenMetrics, clean: Cell) -> str:
    """One line of the table; half-way is the point nearest to alpha = 0.5."""
    middle = int(np.argmin(np.abs(np.asarray(figures.alphas) - 0.5)))
    drop = (figures.score[middle] - figures.score[0]) / clean.meta.iqr
    both = figures.confidence_from[middle] + figures.confidence_to[middle] if figures.confidence_from else None
    return (
        f"| {name} | {figures.paths} | {100 * figures.accepted_throughout:.1f} % "
        f"| {100 * figures.accepted[middle]:.1f} % | {drop:+.2f} | {'-' if both is None else f'{both:.2f}'} "
        f"| {figures.midpoint_auroc:.3f} ± {figures.midpoint_se:.3f} |"
    )


def draw(found: dict[str, tuple[BetweenMetrics, Cell]], path: Path) -> None:
    """Mean scores in units of the clean ID scores' IQR, and mean probabilities of the two classes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, (figures, clean) in found.items():
        (curve,) = left.plot(figures.alphas, np.asarray(figures.score) / clean.meta.iqr, label=name)
        left.axhline(min(clean.meta.thresholds.values()) / clean.meta.iqr, color=curve.get_color(), lw=0.6, ls=":")
        if figures.confidence_from:
            right.plot(figures.alphas, figures.confidence_from, color=curve.get_color())
            right.plot(figures.alphas, figures.confidence_to, color=curve.get_color(), ls="--")
    left.set(xlabel="alpha", ylabel="mean score / IQR of clean ID scores")
    right.set(xlabel="alpha", ylabel="mean probability of the class left (line) and gone to (dashes)")
    left.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    print(f"\nmean curves: {path}")


if __name__ == "__main__":
    main()
