"""The checks that stored cells answer without asking a detector: D1, D2, D4 to D6, D10 to D14, D16, D17, D19, D20."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from bench.cards.network import RecordedSpec
from bench.cards.threat import Knowledge, Side, ThreatCard
from bench.errors import UsageError
from bench.evaluation.keys import Cards
from bench.evaluation.results import Cell, CellMeta
from bench.soundness import comparisons, records
from bench.soundness.checklist import CHECKS
from bench.soundness.verdicts import SEVERITY, Finding, Verdicts, ordered
from bench.soundness.view import View, attacked_rows, views

_NO_GRADIENT = ("no-gradient", "non-finite")


class Role(Enum):
    """What a threat is to the checks."""

    NONE = auto()  # no attack on a score within a ball
    NOISE = auto()
    BLACK_BOX = auto()
    TRANSFER = auto()
    ONE_STEP = auto()
    ITERATED = auto()
    REPAIR = auto()


def role_of(card: ThreatCard) -> Role:
    """What a threat is to the checks, by what its card says of it."""
    if card.method is None or card.norm is None or card.min_norm:
        return Role.NONE
    if card.source is not None:
        return Role.TRANSFER
    if card.knowledge is Knowledge.SCORES:
        return Role.NOISE if card.method.endswith(":Noise") else Role.BLACK_BOX
    if card.knowledge is Knowledge.ANY:
        return Role.REPAIR
    if card.knowledge is Knowledge.GRADIENTS:
        return Role.ITERATED if "steps" in card.params else Role.ONE_STEP
    return Role.NONE


def stored_checks(cells: Iterable[Cell], cards: Cards) -> dict[str, Verdicts]:
    """Everything that these cells say about each other and themselves, by the cells' keys; clean cells are left out.

    Args:
        cells: Of one run or store; cells of other detectors, radii and threats are what a cell is compared with.
        cards: Where threats and detectors are found.
    """
    every = list(cells)
    roles = {name: _role(name, cards) for name in {cell.meta.threat for cell in every}}
    found = {}
    for cell in every:
        sides = views(cell)
        if not sides:
            continue
        others = [other for other in every if other is not cell and _same_images(other.meta, cell.meta)]
        findings = [*of_cell(cell, cards)]
        for view in sides:
            findings += _of_view(cell, view, roles[cell.meta.threat])
            if roles[cell.meta.threat] in (Role.ITERATED, Role.ONE_STEP):
                findings += _against(cell, view, others, roles)
        found[cell.meta.key] = Verdicts(key=cell.meta.key, findings=ordered(findings))
    return found


def recorded_for(meta: CellMeta, cards: Cards) -> RecordedSpec | None:
    """What the detector's card records; None where it says nothing of this choice of images."""
    try:
        if meta.limit != cards.track(meta.track).default_limit:
            return None
        recorded = cards.detector_spec(meta.detector, meta.track).recorded
        return recorded.model_copy(update={"clean_auroc": None}) if meta.without else recorded
    except UsageError:
        return None


def _role(name: str, cards: Cards) -> Role:
    try:
        return role_of(cards.threat(name))
    except UsageError:
        return Role.NONE


def of_cell(cell: Cell, cards: Cards) -> list[Finding]:
    """What is about no side: D1, D17 and D19."""
    meta = cell.meta
    repeated = [] if meta.asked_twice is None else [records.same_twice({"asked_twice": meta.asked_twice})]
    clean = meta.mean.clean_auroc if meta.mean is not None else None
    identity = records.identity(clean, meta.id_accuracy, recorded_for(meta, cards))
    return [*repeated, records.covers_the_defence(meta.leaves_out), identity]


def _of_view(cell: Cell, view: View, role: Role) -> list[Finding]:
    """What a cell says about itself on one side: D2, D6, D13, D14, D16."""
    rows = attacked_rows(cell, view)
    findings = [records.resolution(view), _kept_images(cell, view, rows)]
    if role in (Role.ITERATED, Role.ONE_STEP):
        status = cell.samples["status"].to_numpy()[rows]
        findings.append(records.usable_gradient(view, {"throughout": float(np.mean(np.isin(status, _NO_GRADIENT)))}))
    if role is Role.ITERATED:
        findings += [last_iterates(cell, view, rows), _late(cell, view, rows)]
    return findings


def last_iterates(cell: Cell, view: View, rows: NDArray[np.int64]) -> Finding:
    """D13 of a stored cell; `rows` are those of its samples that the view is about."""
    if "last_score" not in cell.samples:
        return CHECKS["D13"].skipped("the cell holds no scores of last iterates.", side=view.side)
    return records.last_against_best(view, cell.samples["last_score"].to_numpy(np.float64)[rows])


def late_rise(cell: Cell, view: View, rows: NDArray[np.int64]) -> float | None:
    """What the traces of a stored cell say for D6; None without traces."""
    traces = cell.arrays.get("trace")
    if traces is None or len(traces) != len(cell.samples):
        return None
    return comparisons.late_rise(traces[rows], cell.samples["clean_score"].to_numpy(np.float64)[rows], view)


def _late(cell: Cell, view: View, rows: NDArray[np.int64]) -> Finding:
    late = late_rise(cell, view, rows)
    if late is None:
        return CHECKS["D6"].skipped("the cell holds no traces.", side=view.side)
    return comparisons.converged_in_steps(view, None, late)


def _kept_images(cell: Cell, view: View, rows: NDArray[np.int64]) -> Finding:
    norms = cell.samples["norm"].to_numpy(np.float64)[rows]
    kept = None
    if "images" in cell.arrays and "image_rows" in cell.arrays:
        kept = cell.arrays["images"][np.isin(cell.arrays["image_rows"], rows)]
    return records.feasible(view, norms, cell.meta.eps, images=kept)


def _against(cell: Cell, view: View, others: Sequence[Cell], roles: Mapping[str, Role]) -> list[Finding]:
    """What other cells of the same images say about this one: D4, D5, D10 to D12, D20."""
    meta, findings = cell.meta, []
    here = [other for other in others if (other.meta.norm, other.meta.eps) == (meta.norm, meta.eps)]
    for other in here:
        rival = _scores(other, view)
        role = roles[other.meta.threat]
        if rival is None:
            continue
        if role is Role.NOISE:
            findings.append(comparisons.noise_does_not_win(view, rival))
        elif role is Role.BLACK_BOX:
            findings.append(comparisons.black_box_does_not_win(view, rival, name=other.meta.threat))
        elif role is Role.REPAIR:
            findings.append(comparisons.repair_does_not_win(view, rival))
        elif role is Role.TRANSFER:
            findings.append(comparisons.transfer_does_not_win(view, rival, name="other detectors"))
        elif role is Role.ONE_STEP and roles[meta.threat] is Role.ITERATED:
            findings.append(comparisons.iterating_helps(view, rival))
    curve = [(meta.eps, view)]
    for other in others:
        same = (other.meta.threat, other.meta.threat_hash, other.meta.norm) == (
            meta.threat,
            meta.threat_hash,
            meta.norm,
        )
        facing = [v for v in views(other) if v.side is view.side]
        if same and other.meta.eps != meta.eps and facing:
            curve.append((other.meta.eps, facing[0]))
    if len(curve) > 1 and all(eps is not None for eps, _ in curve):
        findings.append(comparisons.monotone_in_eps([(eps, v) for eps, v in curve if eps is not None]))
    return _worst_of_each(findings)


def _worst_of_each(findings: Sequence[Finding]) -> list[Finding]:
    """One finding a check, where several cells were compared with: the one that says most against the cell."""
    by_check: dict[str, Finding] = {}
    for finding in findings:
        known = by_check.get(finding.check)
        if known is None or SEVERITY.index(finding.verdict) > SEVERITY.index(known.verdict):
            by_check[finding.check] = finding
    return list(by_check.values())


def _scores(other: Cell, view: View) -> Mapping[str, NDArray[np.floating]] | None:
    """The other cell's attacked scores of the same images; None where it did not attack that side."""
    facing = [v for v in views(other) if v.side is view.side]
    if not facing or any(len(facing[0].attacked[name]) != len(part) for name, part in view.clean.items()):
        return None
    return {name: facing[0].attacked[name] for name in view.clean}


def _same_images(a: CellMeta, b: CellMeta) -> bool:
    """Whether two cells attack the same images of the same detector, with the same seed and stop."""

    def facts(meta: CellMeta) -> tuple[object, ...]:
        return (
            meta.detector,
            meta.detector_hash,
            meta.weights_sha256,
            meta.track,
            meta.track_hash,
            meta.limit,
            meta.seed,
            meta.early_stop,
            meta.without,
        )

    return facts(a) == facts(b) and (a.side is b.side or Side.BOTH in (a.side, b.side))
