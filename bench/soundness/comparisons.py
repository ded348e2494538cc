"""The checks that hold a cell against another attack on the same images (D4 to D12, D20): pure functions of scores.

Differences of AUROCs are those of the same samples; where a run stopped early for ranks, every score beyond the stop
target counts as the target, on both sides of a comparison.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.soundness.checklist import CHECKS
from bench.soundness.verdicts import Finding, Verdict, graded, worst
from bench.soundness.view import BySet, View, split

BEATEN = 0.01
"""An attack is beaten where the AUROC of another is lower by more than this."""

LUCKY = 0.01
"""Share of images for which random points may gain more than the attack, before it is told; only the AUROC fails."""

STANDS, MOVES = 0.01, 0.03
"""With twice the steps or five times the restarts the AUROC may fall by the first; a fall beyond the second is FAIL."""

LATE_RISE = 0.05
"""Share of the gain that may come in the last tenth of the steps."""

UNMOVED = 0.01
"""A sweep over radii that span a factor of `SPAN` has to move the AUROC by more than this."""
SPAN = 8.0

CHANCE = 0.5
"""AUROC that copying an ID image gives: what an attack without a radius has to reach."""

CROSSING = 2.0
"""Steps must add up to this many radii, so that the ball can be crossed."""

BLACK_SHARE = 0.25
"""Share of images for which a black box may gain more: honest detectors show 0.05 to 0.15."""

_ROUNDING = 1e-9


def noise_does_not_win(view: View, noise: BySet) -> Finding:
    """D4: the best of N uniform points in the ball against the attack.

    Args:
        view: The attack.
        noise: Scores of the best random points of the same images.
    """
    beaten, share = -view.compare(noise).difference, view.better(noise)
    verdict = Verdict.WARN if share > LUCKY + _ROUNDING else Verdict.PASS
    if beaten > BEATEN + _ROUNDING:
        verdict = Verdict.FAIL
    found = _both("random points reach", view, noise)
    figures = {"auroc": view.auroc(), "noise_auroc": view.auroc(noise), "share_noise_gains_more": share}
    return CHECKS["D4"].finding(verdict, found, side=view.side, figures=figures)


def monotone_in_eps(curve: Sequence[tuple[float, View]]) -> Finding:
    """D5: the AUROC falls, or stays, as the radius grows; and it moves at all.

    Args:
        curve: (eps, the attack at that radius) with two entries or more, the same images everywhere.
    """
    steps = sorted(curve, key=lambda point: point[0])
    side, aurocs = steps[0][1].side, [view.auroc() for _, view in steps]
    rises = []
    for (_, low), (eps, high) in pairwise(steps):
        rise = low.compare(high.attacked)
        if rise.difference > low.error(rise):
            rises.append((eps, rise.difference))
    moved, span = max(aurocs) - min(aurocs), steps[-1][0] / steps[0][0]
    figures = {"lowest_eps": steps[0][0], "highest_eps": steps[-1][0], "moved": moved}
    if rises:
        eps, most = max(rises, key=lambda entry: entry[1])
        found = f"the AUROC rises by {most:.3f} on the way to eps {eps:g}, where the attacker may do more."
        return CHECKS["D5"].finding(Verdict.FAIL, found, side=side, figures={**figures, "rise": most})
    if span >= SPAN and moved < UNMOVED and min(aurocs) > UNMOVED:
        found = f"the AUROC moves by {moved:.3f} only while eps grows {span:.3g}-fold."
        return CHECKS["D5"].finding(Verdict.WARN, found, side=side, figures=figures)
    found = f"the AUROC goes from {aurocs[0]:.3f} to {aurocs[-1]:.3f} over {len(steps)} radii and never rises."
    return CHECKS["D5"].finding(Verdict.PASS, found, side=side, figures=figures)


def converged_in_steps(view: View, doubled: BySet | None, late: float | None) -> Finding:
    """D6: twice the steps change nothing, and the best gain no longer rises over the last tenth of them.

    Args:
        view: The attack.
        doubled: Scores of the same images after twice the steps; None where that was not run.
        late: `late_rise` of the attack's traces; None without traces. At least one of both is given.
    """
    verdicts, figures, words = [], {}, []
    if doubled is not None:
        fall = -view.compare(doubled).difference
        verdicts.append(graded(fall, warn=STANDS + _ROUNDING, fail=MOVES + _ROUNDING))
        figures["fall_with_twice_the_steps"] = fall
        words.append(f"twice the steps bring the {view.unit} from {view.auroc():.3f} to {view.auroc(doubled):.3f}")
    if late is not None:
        verdicts.append(Verdict.WARN if late > LATE_RISE else Verdict.PASS)
        figures["late_rise"] = late
        words.append(f"{late:.1%} of the gain comes in the last tenth of the steps")
    return CHECKS["D6"].finding(worst(verdicts), "; ".join(words) + ".", side=view.side, figures=figures)


def late_rise(traces: NDArray[np.floating], clean: NDArray[np.floating], view: View) -> float | None:
    """Mean over the images of the share of the gain that comes in the last tenth of the trace.

    Args:
        traces: (count, T) best scores so far, in the detector's sign; NaN where none ran.
        clean: (count,) clean scores.
        view: For side, target and resolution.

    Returns:
        In [0, 1]; None where no image has a trace of ten points and a gain.
    """
    if traces.ndim != 2 or traces.shape[1] < 10:
        return None
    signed = view.sign * traces
    if view.target is not None:
        signed = np.minimum(signed, view.sign * view.target)
    gains = signed - view.sign * clean[:, None]
    end, before = gains[:, -1], gains[:, int(0.9 * (traces.shape[1] - 1))]
    moved = np.isfinite(end) & np.isfinite(before) & (end > view.tau)
    if not moved.any():
        return None
    return float(np.mean((end[moved] - np.clip(before[moved], 0.0, None)) / end[moved]))


def converged_in_restarts(view: View, more: BySet) -> Finding:
    """D7: five times the restarts change nothing.

    Args:
        view: The attack.
        more: Scores of the same images after further restarts; the better of both counts.
    """
    both = view.best(view.attacked, more)
    fall = -view.compare(both).difference
    found = f"five times the restarts bring the {view.unit} from {view.auroc():.3f} to {view.auroc(both):.3f}."
    verdict = graded(fall, warn=STANDS + _ROUNDING, fail=MOVES + _ROUNDING)
    return CHECKS["D7"].finding(verdict, found, side=view.side, figures={"fall_with_five_times_the_restarts": fall})


def step_size_is_right(view: View, others: Mapping[float, BySet], *, chosen: float, path: float) -> Finding:
    """D8: the chosen step size is within 0.01 of the best of a grid, and its steps can cross the ball.

    Args:
        view: The attack with the chosen step size.
        others: Step size in units of eps -> scores of the same images.
        chosen: The step size in force, in units of eps.
        path: Length of all steps together, in units of eps.
    """
    falls = {size: -view.compare(scores).difference for size, scores in others.items()}
    best = max(falls, key=lambda size: falls[size], default=chosen)
    fall = max(falls.get(best, 0.0), 0.0)
    figures = {"chosen": chosen, "best": best if fall > 0 else chosen, "fall_with_the_best": fall, "path": path}
    if path < CROSSING - _ROUNDING:
        found = f"all steps together are {path:.3g} eps long, and {CROSSING:g} are needed to cross the ball."
        return CHECKS["D8"].finding(Verdict.FAIL, found, side=view.side, figures=figures)
    if fall > BEATEN + _ROUNDING:
        found = f"step size {best:.3g} eps brings the {view.unit} from {view.auroc():.3f} to {view.auroc() - fall:.3f}."
        return CHECKS["D8"].finding(Verdict.FAIL, found, side=view.side, figures=figures)
    found = f"step size {chosen:.3g} eps is within {fall:.3f} of the best of {len(others) + 1} sizes."
    return CHECKS["D8"].finding(Verdict.PASS, found, side=view.side, figures=figures)


def unbounded_succeeds(view: View, boundless: BySet, copied: BySet | None) -> Finding:
    """D9: with the whole box as its ball the attack does what copying an ID image does.

    Args:
        view: The attack.
        boundless: Scores of the same images after the attack in the whole box.
        copied: Scores of the best points on the way to an ID image; None where ID images are attacked.
    """
    auroc = view.auroc(boundless)
    figures = {"unbounded_auroc": auroc}
    found = f"in the whole box the attack brings the {view.unit} to {auroc:.3f}"
    fails = auroc > CHANCE + _ROUNDING
    if copied is not None:
        figures["interpolated_auroc"] = view.auroc(copied)
        found += f", walking to an ID image to {view.auroc(copied):.3f}"
        fails |= auroc > view.auroc(copied) + BEATEN + _ROUNDING
    verdict = Verdict.FAIL if fails else Verdict.PASS
    return CHECKS["D9"].finding(verdict, found + ".", side=view.side, figures=figures)


def iterating_helps(view: View, one_step: BySet) -> Finding:
    """D10: the attack does no worse than one step of full size in the same norm.

    Args:
        view: The attack.
        one_step: Scores of the same images after one step.
    """
    ahead = view.compare(one_step)
    figures = {"auroc": view.auroc(), "one_step_auroc": view.auroc(one_step)}
    verdict = Verdict.FAIL if -ahead.difference > view.error(ahead) else Verdict.PASS
    found = f"one step brings the {view.unit} to {view.auroc(one_step):.3f}, the attack to {view.auroc():.3f}."
    return CHECKS["D10"].finding(verdict, found, side=view.side, figures=figures)


def black_box_does_not_win(view: View, black: BySet, *, name: str) -> Finding:
    """D11: an attack that asks for scores alone does no better.

    Args:
        view: The attack with gradients.
        black: Scores of the same images after the black-box attack.
        name: What the black box is called.
    """
    beaten, share = -view.compare(black).difference, view.better(black)
    verdict = Verdict.WARN if share > BLACK_SHARE + _ROUNDING else Verdict.PASS
    if beaten > BEATEN + _ROUNDING:
        verdict = Verdict.FAIL
    found = _both(f"{name} reaches", view, black)
    figures = {"auroc": view.auroc(), "black_box_auroc": view.auroc(black), "share_black_box_gains_more": share}
    return CHECKS["D11"].finding(verdict, found, side=view.side, figures=figures)


def transfer_does_not_win(view: View, transferred: BySet, *, name: str) -> Finding:
    """D12: images crafted on another detector do no better here.

    Args:
        view: The attack.
        transferred: This detector's scores of the images that were crafted from the same ones elsewhere.
        name: Where they were crafted.
    """
    beaten = -view.compare(transferred).difference
    verdict = Verdict.FAIL if beaten > BEATEN + _ROUNDING else Verdict.PASS
    found = _both(f"images crafted on {name} reach", view, transferred)
    figures = {"auroc": view.auroc(), "transferred_auroc": view.auroc(transferred)}
    return CHECKS["D12"].finding(verdict, found, side=view.side, figures=figures)


def repair_does_not_win(view: View, repaired: BySet) -> Finding:
    """D20: gradients that are averaged, approximated or done without lower the figure no further.

    Args:
        view: The attack.
        repaired: Scores of the same images after `bench.threat_models.adaptive`; the better of both counts.
    """
    both = view.best(view.attacked, repaired)
    fall, share = -view.compare(both).difference, view.better(repaired)
    found = _both("repairs reach", view, repaired)
    figures = {
        "auroc": view.auroc(),
        "repaired_auroc": view.auroc(repaired),
        "lowest_auroc": view.auroc(both),
        "share_repair_gains_more": share,
    }
    verdict = Verdict.FAIL if fall > BEATEN + _ROUNDING else Verdict.PASS
    return CHECKS["D20"].finding(verdict, found, side=view.side, figures=figures)


def _both(other: str, view: View, scores: BySet) -> str:
    """What another attack reaches beside the cell's, in a sentence."""
    return f"{other} {view.unit} {view.auroc(scores):.3f}, the attack {view.auroc():.3f}; {lowered(view, scores)}."


def lowered(view: View, scores: BySet) -> str:
    """What another attack on the same images means for the figure, in words."""
    share, both = view.better(scores), view.best(view.attacked, scores)
    if share == 0:
        return "no image gains more by it"
    most = max(view.clean, key=lambda name: float(np.mean(_moved(view, scores, name))))
    return (
        f"{share:.1%} of the images gain more by it, most often those of {most}: the figure is "
        f"{max(0.0, view.auroc() - view.auroc(both)):.3f} too high"
    )


def _moved(view: View, scores: BySet, name: str) -> NDArray[np.bool_]:
    """Which images of a set gain more with these scores than in the cell."""
    return split((view.gain(scores) > view.gain() + view.tau).astype(np.float64), view)[name] > 0
