"""D18: detectors that are broken on purpose must be found out, undefended ones must fall, and a certificate must hold.

What each control must trip follows from what is wrong with it:

- quantised: its score is rounded, so its gradient is zero at every image (D2), and the attack is left with its few
  random starts. Anything that looks at more points does better: a hundred random points (D4), a black box (D11), and
  images of the undefended detector (D12). Without a radius it still stands still (D9). Its scores are tied (D14).
- saturated: its score is exactly 0 or 1 for most images, where its gradient underflows to zero (D2), so that it stands
  still without a radius too (D9). Random points nearly all lie on the same flat part as the image, so D4 is not asked
  of it; but a black box moves whole squares of pixels, which carries images near the edge across it (D11), and images
  of the undefended detector cross it as well (D12). Its scores are tied (D14).
- noisy: its gradient is that of a ripple which is finer than any step, so central differences do not confirm it (D3),
  and without a radius it leads nowhere either (D9). Squares of pixels are larger than the ripple, and images of the
  undefended detector do not follow it: both do better (D11, D12). Since the attack itself looks at many points as if
  at random, and the harness averages over draws, D1 and D4 are not asked of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.evaluation.results import CellMeta
from bench.soundness.checklist import CHECKS
from bench.soundness.comparisons import CHANCE
from bench.soundness.verdicts import Finding, Verdict, Verdicts

TRIPS = {
    "control-quantised": ("D2", "D4", "D9", "D11", "D12", "D14"),
    "control-saturated": ("D2", "D9", "D11", "D12", "D14"),
    "control-noisy": ("D3", "D9", "D11", "D12"),
}
"""Control -> the checks that must say WARN or FAIL."""

UNDEFENDED = ("msp", "energy")
"""Must fall below chance under a proper attack, and trip no FAIL."""

CERTIFIED = "control-certified"
"""Must never fall below its guarantee, and trip no FAIL."""

ATTACK = {"threat": ["pgd-l2"], "eps": ["l2:2"], "track": ["digits"], "limit": 30, "steps": 25, "restarts": 2}
"""What the controls are tried with: a radius at which an undefended detector falls below chance, and so few gradients
that the whole table takes a minute or two."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Outcome:
    """A control under attack.

    Attributes:
        meta: The figures of its cell.
        verdicts: What the checks say.
    """

    meta: CellMeta
    verdicts: Verdicts

    @property
    def tripped(self) -> tuple[str, ...]:
        """The checks that say WARN or FAIL."""
        loud = (Verdict.WARN, Verdict.FAIL)
        return tuple(dict.fromkeys(f.check for f in self.verdicts.findings if f.verdict in loud))


def names() -> tuple[str, ...]:
    """The detectors that D18 is about."""
    return (*TRIPS, CERTIFIED, *UNDEFENDED)


def controls_found_out(outcomes: Mapping[str, Outcome]) -> Finding:
    """D18.

    Args:
        outcomes: Of every detector of `names`.
    """
    problems = [sentence for name in names() for sentence in _problems(name, outcomes[name])]
    figures = {"controls": len(outcomes), "problems": len(problems)}
    if problems:
        return CHECKS["D18"].finding(Verdict.FAIL, "; ".join(problems)[:500] + ".", figures=figures)
    found = "every broken control is found out, the undefended detectors fall, and the certificate holds."
    return CHECKS["D18"].finding(Verdict.PASS, found, figures=figures)


def _problems(name: str, outcome: Outcome) -> list[str]:
    problems = []
    if missing := [check for check in TRIPS.get(name, ()) if check not in outcome.tripped]:
        problems.append(f"{name} does not trip {', '.join(missing)}")
    if name in TRIPS:
        if not outcome.verdicts.failed:
            problems.append(f"{name} trips no FAIL")
        return problems
    if outcome.verdicts.failed:
        problems.append(f"{name} is sound and trips {', '.join(outcome.verdicts.failed)}")
    mean = outcome.meta.mean
    if mean is None:
        return [*problems, f"{name} has no mean AUROC"]
    if name in UNDEFENDED and mean.auroc > CHANCE:
        problems.append(f"{name} is undefended and keeps AUROC {mean.auroc:.3f}")
    if name == CERTIFIED and (mean.guaranteed_auroc is None or mean.auroc < mean.guaranteed_auroc - _ROUNDING):
        problems.append(f"{name} falls below its guarantee")
    return problems
