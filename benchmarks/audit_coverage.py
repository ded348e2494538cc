"""What an audit spares and what its interval covers, where the AUROC at the full budget is known.

    python benchmarks/audit_coverage.py                                     # the table of docs/performance.md, an hour
    python benchmarks/audit_coverage.py --detector energy --eps 0.5,1 --draws 1000
    python benchmarks/audit_coverage.py --tolerance 0.002 --audit 0.2 --out forms   # where attacks are kept: seconds

Every image is attacked in every form and with the full budget; then audits are drawn at random, and each decides as a
cell would.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import bench
from bench.cards.threat import Side
from bench.evaluation.auditing import Audit, first_that_ends
from bench.evaluation.results import CellMeta
from bench.evaluation.spending import ROUNDS, Evidence, cheaper_forms
from bench.metrics import clip_beyond_targets, delong_components

FULL = {"steps": 100, "restarts": 5}


@dataclass(frozen=True)
class Attacked:
    """All sets of a cell after one form of the attack: scores and gradients of each image, and the figures."""

    scores: NDArray[np.float64]
    gradients: NDArray[np.int64]
    names: NDArray[np.object_]
    ids: NDArray[np.float64]
    meta: CellMeta

    @classmethod
    def of(cls, samples: pd.DataFrame, meta: CellMeta) -> "Attacked":
        """From the samples of a cell."""
        ood = samples[~samples["set"].isin(["test", "calibration"])]
        ids = samples.loc[samples["set"] == "test", "score"].to_numpy(np.float64)
        scores = clip_beyond_targets(ood["score"].to_numpy(), None, meta.stop_high)
        return cls(scores, ood["gradients"].to_numpy(), ood["set"].to_numpy(), ids, meta)


def attacked(detector: str, eps: str, out: Path | None) -> list[Attacked]:
    """The forms, the cheapest first, and the full budget."""
    found = []
    for form in (*cheaper_forms(FULL), FULL):
        cell = bench.evaluate(detector, "pgd-l2", "digits", eps=f"l2:{eps}", evidence=False, store=out, **form).cells[1]
        found.append(Attacked.of(cell.samples, cell.meta))
    return found


@dataclass(frozen=True)
class Drawn:
    """What one audit came to: the form, the error of the estimate, whether it was covered, and the gradients."""

    form: int
    error: float
    covered: bool
    excess: float
    gradients: int


def drawn(forms: list[Attacked], evidence: Evidence, count: int) -> Iterator[Drawn]:
    """So many audits."""
    *cheaper, full = forms
    generator, names = np.random.default_rng(0), list(dict.fromkeys(full.names))
    ends = {name: np.flatnonzero(full.names == name) for name in names}
    places = {name: slice(int(rows[0]), int(rows[-1]) + 1) for name, rows in ends.items()}
    counting = [name for name in names if full.meta.sets[name].counts]
    truth = mean_auroc(full, full.scores, places, counting)
    for _ in range(count):
        shuffled = [generator.permutation(rows) for rows in ends.values()]

        def after(rounds: int, shuffled: list[NDArray[np.int64]] = shuffled) -> Audit:
            chosen = [rows[: evidence.audited(len(rows), rounds)] for rows in shuffled]
            rows = np.sort(np.concatenate(chosen))
            return Audit(
                side=Side.EVADE, places=places, rows=rows, full=full.scores[rows],
                cheaper=[form.scores[rows] for form in cheaper], opponents=dict.fromkeys(names, full.ids),
                counting=counting, evidence=evidence, last=rounds == ROUNDS,
            )  # fmt: skip

        audit = first_that_ends(after(rounds) for rounds in range(1, ROUNDS + 1))
        form, rows = audit.form(), audit.rows
        spent = int(sum(one.gradients[rows].sum() for one in cheaper) + full.gradients[rows].sum())
        spent += int(np.delete(forms[form].gradients, rows).sum())
        scores = forms[form].scores.copy()
        scores[rows] = full.scores[rows]
        excess = mean_auroc(full, scores, places, counting) - truth
        estimate = audit.estimates(form, scores).get("")
        if estimate is None:
            yield Drawn(form, 0.0, True, excess, spent)
        else:
            covered = estimate.low <= truth <= estimate.high
            yield Drawn(form, abs(estimate.auroc - truth), covered, excess, spent)


def mean_auroc(full: Attacked, scores: NDArray[np.float64], places: dict[str, slice], counting: list[str]) -> float:
    """Over the sets that count."""
    return float(np.mean([delong_components(full.ids, scores[places[name]])[1].mean() for name in counting]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="energy,gat,oe")
    parser.add_argument("--eps", default="0.5,1,2,4", help="L2 radii")
    parser.add_argument("--tolerance", type=float, default=Evidence.tolerance)
    parser.add_argument("--audit", type=float, default=Evidence.audit)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--out", type=Path, help="folder that keeps the attacks")
    args = parser.parse_args()
    evidence = Evidence(args.tolerance, args.audit)
    named = [f"{form['steps']} x {form['restarts']}" for form in (*cheaper_forms(FULL), FULL)]
    print(f"| detector | eps | AUROC | chosen ({' / '.join(named)}) | spent | found too high | error | covered |")
    print("|" + "---|" * 8)
    for detector in args.detector.split(","):
        for eps in args.eps.split(","):
            forms = attacked(detector, eps, args.out)
            audits = list(drawn(forms, evidence, args.draws))
            chosen = [sum(one.form == form for one in audits) / len(audits) for form in range(len(forms))]
            whole = int(forms[-1].gradients.sum())
            mean = forms[-1].meta.mean
            print(
                f"| `{detector}` | {eps} | {mean.auroc if mean else float('nan'):.4f} | "
                + " / ".join(f"{share:.0%}" for share in chosen)
                + f" | {np.mean([one.gradients for one in audits]) / whole:.0%}"
                f" | {np.mean([one.excess for one in audits]):.4f} | {np.mean([one.error for one in audits]):.4f}"
                f" | {np.mean([one.covered for one in audits]):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
