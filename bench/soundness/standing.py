"""What all attacks of a diagnosis together say of the figure: how low it could have been printed, on which images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.cards.threat import Side
from bench.soundness.comparisons import BEATEN
from bench.soundness.verdicts import Finding, Verdict
from bench.soundness.view import BySet, View

ABOUT_THE_GRADIENT = ("D2", "D3")
"""Checks of how a gradient looks. What they find is a fault of the figure only where something else lowers it."""

REPAIR = "D20"
"""Without this check nothing has tried to do without the gradient."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Standing:
    """The figure of one attacked side, on the images that the checks attacked again.

    Attributes:
        side: EVADE or ALARM.
        images: How many.
        printed: AUROC by the cell's attack.
        lowest: AUROC where every image has the best that any attack of the diagnosis in the same ball reached.
        by: The attack that alone reaches least, of those that reach less than the cell's; empty where none does.
        moved: Images for which some attack gained more.
    """

    side: Side
    images: int
    printed: float
    lowest: float
    by: str
    moved: int

    @property
    def excess(self) -> float:
        """By how much the printed figure is too high at least."""
        return self.printed - self.lowest

    @property
    def stands(self) -> bool:
        """Whether no attack lowers it by more than what counts as beaten."""
        return self.excess <= BEATEN + _ROUNDING

    def __str__(self) -> str:
        if self.stands:
            together = f"all attacks together reach {self.lowest:.3f}"
            return f"on {self.images} images the figure of {self.printed:.3f} stands: {together}"
        return (
            f"on {self.images} images the figure of {self.printed:.3f} is too high by at least {self.excess:.3f}: all "
            f"attacks together reach {self.lowest:.3f}, most by {self.by}, on {self.moved} images"
        )


def standing_of(view: View, reached: Mapping[str, BySet]) -> Standing:
    """What is left of a figure after everything that was tried.

    Args:
        view: The cell's attack on the images.
        reached: Scores of the same images after other attacks in the same ball, by what they are called.
    """
    best = view.best(view.attacked, *reached.values())
    falls = {name: -view.compare(view.best(view.attacked, scores)).difference for name, scores in reached.items()}
    by = max(falls, key=lambda name: falls[name], default="")
    return Standing(
        side=view.side,
        images=view.count,
        printed=view.auroc(),
        lowest=view.auroc() + view.compare(best).difference,
        by=by if by and falls[by] > 0 else "",
        moved=int(np.sum(view.gain(best) > view.gain() + view.tau)),
    )


def settled(findings: Sequence[Finding], standings: Sequence[Standing]) -> list[Finding]:
    """The findings, where a gradient that looks wrong is a warning as long as the figure stands without it.

    Args:
        findings: Of all sides.
        standings: One a side.
    """
    return [_settled(finding, findings, standings) for finding in findings]


def _settled(finding: Finding, findings: Sequence[Finding], standings: Sequence[Standing]) -> Finding:
    if finding.check not in ABOUT_THE_GRADIENT or finding.verdict is not Verdict.FAIL:
        return finding
    repaired = any(
        other.check == REPAIR and other.side is finding.side and other.verdict is Verdict.PASS for other in findings
    )
    stands = any(one.side is finding.side and one.stands for one in standings)
    if not (repaired and stands):
        return finding
    found = f"{finding.found} Attacks that do without it reach no less, so that the figure stands."
    return finding.model_copy(update={"verdict": Verdict.WARN, "found": found})
