"""The checks that one stored cell answers by itself (D2, D13, D14, D16, D17, D19), and those on probes of a detector.

Pure functions of figures; where the figures come from is known to `stored` and `diagnose`.
"""

import numpy as np
from numpy.typing import NDArray

from bench.cards.network import RecordedSpec
from bench.evaluation.gate import ACCURACY_TOLERANCE, AUROC_TOLERANCE, REPEATED
from bench.soundness.checklist import CHECKS
from bench.soundness.comparisons import CHANCE, MOVES, STANDS
from bench.soundness.verdicts import Finding, Verdict, graded, worst
from bench.soundness.view import View, flat

SAME, DIFFERENT = 1e-4, REPEATED
"""Difference of two scores of one image, in IQRs: above the first WARN, above the second FAIL."""

NO_GRADIENT = 0.05
"""Share of images without a usable gradient: any is WARN, more than this FAIL."""

WRONG, NO_GRADIENT_AT_ALL = 0.1, 0.5
"""Median relative error of a gradient: above the first WARN, above the second FAIL."""

TIED, COARSE = 0.01, 0.1
"""Share of ties: above the first WARN, above the second FAIL."""

ROUGH = 1.0 / 3.0
"""Share of the attack's gain that points drawn at random may move the score by."""

JUMP, JUMPING = 0.05, 0.05
"""A score jumps where it changes by more than the first, in IQRs, between points that lie 1e-5 of the radius apart;
where more than the second share of the images has a jump, the figure is not to be relied on."""

ROUNDED = 0.02
"""How far rounding to 8 bits may bring the AUROC back."""

SLACK = 1e-5
"""Relative: a norm may exceed eps by this for rounding, and by one unit in the last place of a pixel near 1."""
_LAST_PLACE = 2.0**-23
_ROUNDING = 1e-9


def same_twice(largest: dict[str, float], *, claimed: float | None = None, fresh: float | None = None) -> Finding:
    """D1: how far scores of the same images differ, and whether fresh draws confirm what was claimed.

    Args:
        largest: What was repeated -> the largest difference, in IQRs of the clean ID scores.
        claimed: AUROC of a random detector by the scores of its cell.
        fresh: AUROC of the same images by 16 or more fresh draws.
    """
    verdict = graded(max(largest.values()), warn=SAME, fail=DIFFERENT)
    what = max(largest, key=lambda name: largest[name])
    found = f"the largest difference is {largest[what]:.1e} IQR ({what.replace('_', ' ')})"
    figures = dict(largest)
    if claimed is not None and fresh is not None:
        figures |= {"claimed_auroc": claimed, "fresh_auroc": fresh}
        verdict = worst([verdict, graded(fresh - claimed, warn=STANDS + _ROUNDING, fail=MOVES + _ROUNDING)])
        found += f"; fresh draws make AUROC {fresh:.3f} of a claimed {claimed:.3f}"
    return CHECKS["D1"].finding(verdict, found + ".", figures=figures)


def usable_gradient(view: View, shares: dict[str, float]) -> Finding:
    """D2: the share of images without a gradient, by where it was asked for; the largest one counts."""
    largest = max(shares.values())
    where = max(shares, key=lambda name: shares[name])
    verdict = graded(largest, warn=0.0, fail=NO_GRADIENT + _ROUNDING)
    found = f"{largest:.1%} of the images have no usable gradient ({where.replace('_', ' ')})."
    return CHECKS["D2"].finding(verdict, found, side=view.side, figures=shares)


def gradient_is_the_gradient(view: View, errors: dict[float, float], *, declared: str) -> Finding:
    """D3: central differences along the gradient agree with its length, at the best of some step lengths.

    Args:
        view: The attack.
        errors: Step length in units of eps -> median relative error.
        declared: The sentence with which the detector says that its gradient is an approximation.
    """
    step, error = min(errors.items(), key=lambda entry: entry[1])
    verdict = graded(error, warn=WRONG + _ROUNDING, fail=NO_GRADIENT_AT_ALL + _ROUNDING)
    found = f"the median error of the gradient along itself is {error:.1%}, at steps of {step:g} eps."
    if declared and verdict is not Verdict.PASS:
        verdict, found = Verdict.INFO, f"{found[:-1]}; the detector declares an approximation."
    return CHECKS["D3"].finding(verdict, found, side=view.side, figures={"median_error": error, "step": step})


def last_against_best(view: View, last: NDArray[np.floating]) -> Finding:
    """D13: the share of images whose last iterate is worse than the best.

    Args:
        view: The attack.
        last: (count,) scores of the last iterates.
    """
    worse = float(np.mean(view.sign * (flat(view.attacked) - last) > view.tau))
    found = f"the last iterate is worse than the best for {worse:.1%} of the images."
    return CHECKS["D13"].finding(Verdict.INFO, found, side=view.side, figures={"share_worse": worse})


def resolution(view: View) -> Finding:
    """D14: ties within the attacked side, scores piled up at an extreme, and what ties are worth in AUROC.

    Ties are those after the attack, of which the figure is made. Clean OOD scores may lie on a floor (a softmax that is
    uniform) without any loss: they are told, and count only where the attack cannot leave the floor.
    """
    ties, before = (max(map(_ties, scores.values())) for scores in (view.attacked, view.clean))
    everything = np.concatenate([*view.opponents, *view.clean.values()])
    piled = max(_piled(everything, extreme) for extreme in (everything.min(), everything.max()))
    worth = view.auroc() - view.conservative_auroc()
    verdict = graded(max(ties, piled, worth), warn=TIED + _ROUNDING, fail=COARSE + _ROUNDING)
    figures = {"ties": ties, "clean_ties": before, "share_at_an_extreme": piled, "auroc_by_ties": worth}
    found = (
        f"{ties:.1%} of the attacked scores are ties ({before:.1%} before), {piled:.1%} of the clean ones lie at one "
        f"extreme, and ties are worth {worth:.3f} of AUROC."
    )
    return CHECKS["D14"].finding(verdict, found, side=view.side, figures=figures)


def smooth(view: View, roughness: float) -> Finding:
    """D15: how much random points of the ball move the score, next to the attack's gain.

    Args:
        view: The attack.
        roughness: Mean over images and points of min(1, |difference of scores| / IQR).
    """
    gain = float(np.mean(np.minimum(view.gain() / view.iqr, 1.0)))
    ratio = roughness / gain if gain > 0 else float(roughness > 0)
    verdict = Verdict.WARN if ratio > ROUGH + _ROUNDING else Verdict.PASS
    found = f"random points of the ball move the score by {roughness:.3f} IQR, the attack by {gain:.3f}."
    figures = {"roughness": roughness, "gain": gain, "ratio": ratio}
    return CHECKS["D15"].finding(verdict, found, side=view.side, figures=figures)


def without_jumps(view: View, jumps: NDArray[np.floating], rough: Finding | None) -> Finding:
    """D15: whether the score jumps within the ball, beside how rough it is.

    Args:
        view: The attack.
        jumps: (count,) the largest jump of each image, as `bench.soundness.jumps` finds it.
        rough: What `smooth` found; None where that was not asked.
    """
    share = float(np.mean(jumps > JUMP * view.iqr))
    figures = {"share_jumping": share, "largest_jump": float(np.max(jumps, initial=0.0)) / view.iqr}
    if share > JUMPING + _ROUNDING:
        found = (
            f"the score jumps near {share:.1%} of the images, by up to {figures['largest_jump']:.3g} IQR: an attack "
            "that follows gradients does not see what lies behind, and its figure cannot be relied on alone."
        )
    else:
        found = f"the score jumps near {share:.1%} of the images."
    verdict = Verdict.WARN if share > JUMPING + _ROUNDING else Verdict.PASS
    if rough is not None:
        verdict, figures = worst([verdict, rough.verdict]), {**rough.figures, **figures}
        found = f"{found.removesuffix('.')}; {rough.found}"
    return CHECKS["D15"].finding(verdict, found, side=view.side, figures=figures)


def feasible(
    view: View,
    norms: NDArray[np.floating],
    eps: float | None,
    *,
    images: NDArray[np.floating] | None = None,
    rounded: tuple[float, float] | None = None,
) -> Finding:
    """D16: every image lies inside ball and box, and survives rounding to 8 bits.

    Args:
        view: The attack.
        norms: (count,) distances from the clean images.
        eps: Radius; None where only the box binds.
        images: Attacked images that are kept.
        rounded: AUROC of kept images before and after rounding to 8 bits.
    """
    outside = 0.0 if eps is None else float(np.mean(~(norms <= eps * (1 + SLACK) + _LAST_PLACE)))
    figures = {"share_outside": outside, "largest_norm": float(np.max(norms[np.isfinite(norms)], initial=0.0))}
    words = [f"{outside:.1%} of the images lie outside the ball" if outside else "every image lies inside the ball"]
    verdict = Verdict.FAIL if outside > 0 else Verdict.PASS
    if images is not None:
        wrong = float(np.mean(~((images >= 0) & (images <= 1)).reshape(len(images), -1).all(axis=1)))
        figures["share_outside_the_box"] = wrong
        kept = f"{wrong:.1%} of {len(images)} kept ones lie outside the box"
        words.append(kept if wrong else f"{len(images)} kept ones inside the box")
        verdict = Verdict.FAIL if wrong > 0 else verdict
    if rounded is not None:
        before, after = rounded
        figures |= {"auroc": before, "rounded_auroc": after}
        undone = abs(after - before) > ROUNDED + _ROUNDING
        words.insert(0 if undone else len(words), f"rounding to 8 bits makes {view.unit} {after:.3f} of {before:.3f}")
        verdict = worst([verdict, Verdict.WARN if undone else Verdict.PASS])
    return CHECKS["D16"].finding(verdict, "; ".join(words) + ".", side=view.side, figures=figures)


def covers_the_defence(left_out: tuple[str, ...]) -> Finding:
    """D17: the attack sees every component that the detector declares.

    Args:
        left_out: The components that it does not see.
    """
    figures = {"components_left_out": len(left_out)}
    if left_out:
        found = f"the attack does not see {', '.join(left_out)}, which the detector declares, so it is not adaptive."
        return CHECKS["D17"].finding(Verdict.FAIL, found, figures=figures)
    return CHECKS["D17"].finding(Verdict.PASS, "the attack sees the whole detector.", figures=figures)


def identity(clean_auroc: float | None, id_accuracy: float | None, recorded: RecordedSpec | None) -> Finding:
    """D19: clean figures are those that the card records; a clean AUROC below one half is a finding of its own.

    Args:
        clean_auroc: Mean over natural OOD sets; None where there is none.
        id_accuracy: None without a classifier.
        recorded: What the card records; None where it does not hold for this choice of images.
    """
    pairs = {
        "auroc": (clean_auroc, recorded.clean_auroc if recorded else None, AUROC_TOLERANCE),
        "id_accuracy": (id_accuracy, recorded.id_accuracy if recorded else None, ACCURACY_TOLERANCE),
    }
    figures = {name: now for name, (now, _, _) in pairs.items() if now is not None}
    known = {
        name: (now - then, tolerance)
        for name, (now, then, tolerance) in pairs.items()
        if now is not None and then is not None
    }
    figures |= {f"{name}_off_by": off for name, (off, _) in known.items()}
    for name, (off, tolerance) in known.items():
        if abs(off) > tolerance + _ROUNDING:
            found = f"the clean {name.replace('_', ' ')} is {off:+.3f} off what the card records."
            return CHECKS["D19"].finding(Verdict.FAIL, found, figures=figures)
    if clean_auroc is not None and clean_auroc < CHANCE:
        found = f"the clean AUROC is {clean_auroc:.3f}: worse than chance."
        return CHECKS["D19"].finding(Verdict.WARN, found, figures=figures)
    if not known:
        return CHECKS["D19"].skipped("the card records no figures for this choice of images.")
    return CHECKS["D19"].finding(Verdict.PASS, "clean figures are those that the card records.", figures=figures)


def _ties(scores: NDArray[np.floating]) -> float:
    return 1.0 - len(np.unique(scores)) / len(scores)


def _piled(scores: NDArray[np.floating], extreme: float) -> float:
    """Share of scores at an extreme beyond the one that has to lie there."""
    return float(np.mean(scores == extreme)) - 1.0 / len(scores)
