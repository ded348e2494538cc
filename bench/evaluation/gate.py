"""Whether a detector is the one that its card describes: asked before an attack is spent on it."""

from collections.abc import Iterable

from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import CellMeta
from bench.metrics.scores import Scores

AUROC_TOLERANCE = 0.02
ACCURACY_TOLERANCE = 0.01
REPEATED = 1e-2
"""Two scores of one image may be so far apart, in interquartile ranges of the clean ID scores: more is randomness."""
_ROUNDING = 1e-9  # recorded figures are decimals: a difference of exactly the tolerance passes


def identity_problem(planned: PlannedCell, clean: CellMeta) -> str | None:
    """The sentence that says how clean figures differ from those that the card records; None where they agree.

    Asked only at the track's own limit, for which the figures were recorded; the AUROC only where no OOD set is left
    out.

    Args:
        planned: Any cell of the detector.
        clean: The figures of its clean cell.
    """
    if planned.ingredients.limit != planned.track.default_limit:
        return None
    recorded = planned.detector.recorded
    measured = clean.mean.clean_auroc if clean.mean is not None and not clean.without else None
    checks = (
        ("clean AUROC over natural sets", measured, recorded.clean_auroc, AUROC_TOLERANCE),
        ("ID accuracy", clean.id_accuracy, recorded.id_accuracy, ACCURACY_TOLERANCE),
    )
    for what, now, then, tolerance in checks:
        if now is not None and then is not None and abs(now - then) > tolerance + _ROUNDING:
            return (
                f"the {what} is {now:.4f} and the card of '{planned.detector.name}' records {then:.4f} (allowed is a "
                f"difference of {tolerance:g}), so weights or data are not those of the card and nothing is attacked; "
                "restore them, or correct what the card records."
            )
    return None


def remarks(planned: PlannedCell, clean: CellMeta, scores: Iterable[Scores] = ()) -> list[str]:
    """What a reader of the clean cell should know.

    Args:
        planned: The cell.
        clean: Its figures.
        scores: Of every set.
    """
    notes = []
    values = {float(end) for part in scores for end in (part.min(), part.max())}
    if len(values) == 1:
        notes.append(
            f"every image of every set has the score {values.pop():g}: it tells nothing apart, so that its AUROC of "
            "0.5 is no measurement; another layer or network may give it something to tell."
        )
    if clean.asked_twice is not None and clean.asked_twice > REPEATED:
        notes.append(
            f"asked twice for one image, the detector gives scores {clean.asked_twice:.2g} interquartile ranges apart, "
            "and does not declare that it is random: no figure of it can be repeated, and attacks follow its noise; "
            "call eval() on its modules, or declare it (`random` of its DetectorInfo) and draw from `noise` alone."
        )
    if problem := identity_problem(planned, clean):
        notes.append(problem)
    if clean.mean is not None and clean.mean.clean_auroc < 0.5:
        notes.append(f"the clean AUROC over natural sets is {clean.mean.clean_auroc:.3f}: worse than chance.")
    return notes
