"""The picture and the table of the README: AUROC against the radius for six detectors on digits.

bench run --detector msp,energy,mahalanobis,gat.k0,oe,gat --threat clean,pgd-l2 --eps 0.25,0.5,1,2,4 \
    --ood letters,photos --limit 100 --steps 40 --restarts 1 --out curves
python benchmarks/curves_of_readme.py curves --out docs/images/six-detectors.png
"""

import argparse
from pathlib import Path

import bench


def main() -> None:
    """One PNG, and a Markdown table of mean AUROCs on standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="the folder that `bench run --out` wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/images/six-detectors.png"))
    parser.add_argument("--dpi", type=int, default=110)
    asked = parser.parse_args()
    found = bench.load_results(asked.store)
    drawing = found.plot("eps")[0]
    drawing.figure.savefig(asked.out, dpi=asked.dpi, bbox_inches="tight", metadata={"Software": None})
    means = found.table().query("set == 'mean'")
    clean = means[means.threat == "clean"].set_index("detector").auroc
    attacked = means[means.threat != "clean"].pivot_table(index="detector", columns="eps", values="auroc")
    print(f"| detector | clean | {' | '.join(f'L2 {eps:g}' for eps in attacked)} |")
    print(f"|---|{'---|' * (1 + attacked.shape[1])}")
    for name, row in attacked.sort_values(1.0, ascending=False).iterrows():
        print(f"| `{name}` | {clean[name]:.3f} | {' | '.join(f'{value:.3f}' for value in row)} |")


if __name__ == "__main__":
    main()
