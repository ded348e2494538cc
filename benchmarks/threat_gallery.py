"""Pictures of what each threat does to images: start, attacked image and difference, with scores, for docs/threats.md.

python benchmarks/threat_gallery.py --detector msp --out docs/images
python benchmarks/threat_gallery.py --detector msp --threat square-l2 --threat cw-l2 --out docs/images
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import bench
from bench.cards.catalog import Catalog
from bench.cards.threat import Side
from bench.evaluation.results import Cell

SHOWN = 6
"""Images of a picture."""

FEWER = {"boundary-l2": {"steps": 2000}}
"""Parameters of threats whose pictures need no full budget."""

PREFERRED = ("letters", "photos", "test")
"""Sets from which images are shown, the first that was attacked."""


def main() -> None:
    """One PNG a threat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="msp", help="the detector under attack")
    parser.add_argument("--track", default="digits")
    parser.add_argument("--threat", action="append", help="threats by name; all with images where none is named")
    parser.add_argument("--l2", type=float, default=2.0, help="radius of L2 threats")
    parser.add_argument("--linf", type=float, default=0.1, help="radius of L-infinity threats")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    cards = Catalog.find()
    for name in asked.threat or cards.names("threat"):
        card = cards.threat(name)
        if name == "clean" or card.members or card.sides[0] is Side.BETWEEN:
            continue
        eps = None if card.norm is None or card.min_norm else getattr(asked, card.norm)
        found = bench.evaluate(
            asked.detector, name, asked.track, eps=eps, limit=2 * SHOWN, early_stop=False, **FEWER.get(name, {})
        )  # fmt: skip
        cell = found.cells[-1]
        path = asked.out / f"{name}.png"
        draw(cell, path)
        print(f"{path}: {cell.meta.seconds:.1f} s")


def draw(cell: Cell, path: Path) -> None:
    """Three rows: the images as they were, as they are after the attack, and what was added."""
    rows = cell.arrays["image_rows"]
    samples = cell.samples.iloc[rows]
    name = next(name for name in PREFERRED if name in set(samples["set"]))
    moved = (samples["norm"] > 0) & (samples["set"] == name)
    chosen = np.flatnonzero(moved if moved.any() else samples["set"] == name)[:SHOWN]
    start = starts(cell, rows[chosen])
    figure, axes = plt.subplots(3, SHOWN, figsize=(1.3 * SHOWN, 4.4), layout="constrained", squeeze=False)
    for column in range(SHOWN):
        for row in range(3):
            axes[row, column].axis("off")
        if column >= len(chosen):
            continue
        sample, after = samples.iloc[chosen[column]], cell.arrays["images"][chosen[column]][0]
        before = start[column]
        reach = max(float(np.abs(after - before).max()), 1e-6)
        axes[0, column].imshow(before, cmap="gray", vmin=0, vmax=1)
        axes[1, column].imshow(after, cmap="gray", vmin=0, vmax=1)
        axes[2, column].imshow(after - before, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes[0, column].set_title(f"{sample['clean_score']:.2f}{_label(sample['predicted'])}", fontsize=8)
        axes[1, column].set_title(f"{sample['score']:.2f}{_label(sample['attacked_predicted'])}", fontsize=8)
        axes[2, column].set_title(f"{sample['norm']:.2g} (max {reach:.2f})", fontsize=8)
    figure.savefig(path, dpi=55, metadata={"Software": None})
    plt.close(figure)


def starts(cell: Cell, rows: np.ndarray) -> list[np.ndarray]:
    """The clean images behind these rows of a cell's samples, (H, W) each."""
    from bench.datasets.track import Track
    from bench.evaluation.images import Images

    images = Images.of(Track(Catalog.find().track(cell.meta.track)), cell.meta.limit)
    every = np.concatenate([part.pixels().numpy() for part in images.sets().values()])
    return [every[row][0] for row in rows]


def _label(predicted: int) -> str:
    return "" if predicted < 0 else f" as {predicted}"


if __name__ == "__main__":
    main()
