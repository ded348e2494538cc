"""What the 95 % intervals of AUROCs cover, where the truth is known, beside other forms; and what paired tests see.

    python benchmarks/interval_coverage.py             # the tables of docs/read-a-table.md, 2 minutes
    python benchmarks/interval_coverage.py --repeats 400

Normal scores unless a row says otherwise; n ID and m OOD scores from {20, 60, 200, 1000}, all 16 pairs, at every AUROC.
"""

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from bench.metrics import AurocEstimate, mean_over_sets, paired_difference

Array = NDArray[np.float64]
Drawn = tuple[Array, list[Array]]
Interval = tuple[float, float]

SIZES = (20, 60, 200, 1000)
AUROCS = (0.5, 0.8, 0.95, 0.99, 0.998)
Z = 1.959964


def normal(rng: np.random.Generator, auroc: float, n: int, m: int, spread: float = 1.0, sets: int = 1) -> Drawn:
    """Normal ID scores of deviation 1 against OOD sets of deviation `spread`."""
    shift = float(norm.ppf(auroc)) * math.sqrt(1 + spread**2)
    return rng.normal(shift, 1, n), [rng.normal(0, spread, m) for _ in range(sets)]


def one_hard_set(rng: np.random.Generator, auroc: float, n: int, m: int) -> Drawn:
    """Of three sets two are perfect, so that the third alone makes the mean."""
    hard = max(0.5, 1 - 3 * (1 - auroc))
    ids, sets = normal(rng, hard, n, m)
    return ids, [*sets, *(rng.normal(-30, 1, m) for _ in range(2))]


def exponential(rng: np.random.Generator, auroc: float, n: int, m: int) -> Drawn:
    """Exponential scores, skewed to the right."""
    return rng.exponential(auroc / (1 - auroc), n), [rng.exponential(1, m)]


def some_far_above(rng: np.random.Generator, auroc: float, n: int, m: int) -> Drawn:
    """A share of the OOD scores lies above all ID scores, the rest below: a count of successes and nothing else."""
    above = rng.random(m) < 1 - auroc
    return rng.normal(size=n), [np.where(above, 50.0, -50.0) + rng.normal(size=m)]


CASES: dict[str, Callable[[np.random.Generator, float, int, int], Drawn]] = {
    "equal spread": normal,
    "OOD spread x 3": lambda rng, a, n, m: normal(rng, a, n, m, 3.0),
    "OOD spread / 3": lambda rng, a, n, m: normal(rng, a, n, m, 1 / 3),
    "mean of 3 sets": lambda rng, a, n, m: normal(rng, a, n, m, sets=3),
    "1 hard set of 3": one_hard_set,
    "exponential": exponential,
    "share far above": some_far_above,
}


def wald(found: AurocEstimate, smaller: int) -> Interval:
    """1.96 standard errors to either side; at 0 and 1 the rule of three."""
    if found.se == 0.0:
        width = 3 / smaller
        return (1 - width, 1.0) if found.auroc == 1.0 else (0.0, width)
    return found.auroc - Z * found.se, found.auroc + Z * found.se


def on_logits(found: AurocEstimate, smaller: int) -> Interval:
    """The same on the logit scale."""
    if found.se == 0.0:
        return wald(found, smaller)
    middle, width = logit(found.auroc), Z * found.se / (found.auroc * (1 - found.auroc))
    return float(expit(middle - width)), float(expit(middle + width))


def newcombe(found: AurocEstimate, n: int, m: int) -> Interval:
    """Method 5 of Newcombe (2006): the score interval under the exponential model, with equal sizes for both sides."""
    size = (n + m) / 2 - 1

    def outside(value: float) -> bool:
        spread = value * (1 - value) * (1 + size * (1 - value) / (2 - value) + size * value / (1 + value)) / (n * m)
        return abs(found.auroc - value) > Z * math.sqrt(max(0.0, spread))

    return _edge(outside, found.auroc, 0.0), _edge(outside, found.auroc, 1.0)


def _edge(outside: Callable[[float], bool], inner: float, outer: float) -> float:
    if not outside(outer) and inner != outer:
        return outer
    for _ in range(40):
        middle = (inner + outer) / 2
        inner, outer = (inner, middle) if outside(middle) else (middle, outer)
    return inner


def coverage(case: str, auroc: float, repeats: int, rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """The share of intervals that hold the truth, by form, for every pair of sizes."""
    for n in SIZES:
        for m in SIZES:
            hits = dict.fromkeys(("ours", "newcombe", "logit", "wald"), 0)
            for _ in range(repeats):
                ids, sets = CASES[case](rng, auroc, n, m)
                found = mean_over_sets(ids, sets)
                forms = {
                    "ours": (found.low, found.high), "wald": wald(found, min(n, m)),
                    "logit": on_logits(found, min(n, m)), "newcombe": newcombe(found, n, m * len(sets)),
                }  # fmt: skip
                for name, (low, high) in forms.items():
                    hits[name] += low - 1e-9 <= auroc <= high + 1e-9
            yield {name: count / repeats for name, count in hits.items()}


def seen(aurocs: tuple[float, float], n: int, m: int, correlation: float, repeats: int, seed: int) -> float:
    """Share of paired tests with p <= 0.01."""
    rng, found = np.random.default_rng(seed), 0
    for _ in range(repeats):
        shared = [rng.normal(size=(count, 3)) for count in (n, m)]
        sides = []
        for k, value in enumerate(aurocs):
            ids, ood = (math.sqrt(correlation) * s[:, 0] + math.sqrt(1 - correlation) * s[:, 1 + k] for s in shared)
            sides += [ids + float(norm.ppf(value)) * math.sqrt(2), ood]
        found += paired_difference(*sides).p_value <= 0.01
    return found / repeats


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    print(f"coverage of 95 % intervals, the lowest of 16 pairs of sizes; {repeats} repeats")
    print(f"{'scores':16s} {'form':9s}" + "".join(f"{auroc:>8g}" for auroc in AUROCS))
    for case in CASES:
        found = {
            auroc: list(coverage(case, auroc, repeats, rng))
            for auroc in AUROCS
            if case != "1 hard set of 3" or auroc > 0.83
        }
        for form in ("ours", "newcombe", "logit", "wald"):
            lowest = [f"{min(at[form] for at in found[a]):8.3f}" if a in found else f"{'-':>8s}" for a in AUROCS]
            print(f"{case if form == 'ours' else '':16s} {form:9s}" + "".join(lowest), flush=True)
    print(f"\npaired tests with p <= 0.01, 400 ID against 200 OOD images; {repeats} repeats")
    print(f"{'correlation':12s}" + "".join(f"{name:>16s}" for name in ("0.998 twice", "0.99 twice", "0.998 and 0.99")))
    for correlation in (0.0, 0.5, 0.9, 0.99):
        shares = [
            seen(pair, 400, 200, correlation, repeats, 1) for pair in ((0.998, 0.998), (0.99, 0.99), (0.998, 0.99))
        ]
        print(f"{correlation:<12g}" + "".join(f"{share:16.3f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
