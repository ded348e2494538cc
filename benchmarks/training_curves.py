"""The curves of trainings in one picture: mean loss, and what was held out, against the optimiser's step.

bench train --detector gat --track cifar10 --curve benchmarks/curves/gat.csv
python benchmarks/training_curves.py benchmarks/curves/*.csv --out docs/images/training-cifar10.png
"""

import argparse
from pathlib import Path

import pandas as pd
from matplotlib import pyplot

ACROSS = 5


def main() -> None:
    """One PNG with a panel a file, named as the file is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="what `bench train --curve` wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/images/training-cifar10.png"))
    parser.add_argument("--dpi", type=int, default=100)
    asked = parser.parse_args()
    down = -(-len(asked.files) // ACROSS)
    figure, panels = pyplot.subplots(
        down, ACROSS, figsize=(2.6 * ACROSS, 2.3 * down), squeeze=False, layout="constrained"
    )
    for panel, file in zip(panels.flat, asked.files, strict=False):
        draw(panel, pd.read_csv(file), file.stem)
    for panel in panels.flat[len(asked.files) :]:
        panel.set_visible(False)
    figure.savefig(asked.out, dpi=asked.dpi, metadata={"Software": None})


def draw(panel: pyplot.Axes, curve: pd.DataFrame, title: str) -> None:
    """The first column, a loss, on the left axis, accuracies and AUROCs of held-out images on the right one."""
    left = curve.columns[1]
    panel.plot(curve.step, curve[left], color="0.6", linewidth=1)
    panel.set_title(title, fontsize=9)
    panel.set_xlabel("step", fontsize=7)
    panel.tick_params(labelsize=7)
    panel.set_ylabel(left, fontsize=7, color="0.4")
    held_out = [name for name in curve.columns if "accuracy" in name or "AUROC" in name]
    if not held_out:
        return
    beside = panel.twinx()
    beside.set_ylim(0, 1)
    beside.tick_params(labelsize=7)
    for name in held_out:
        beside.plot(curve.step, curve[name], linewidth=1.2, label=name)
    beside.legend(fontsize=6, frameon=False, loc="center right")


if __name__ == "__main__":
    main()
