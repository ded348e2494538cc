"""All checks of one cell: what stored cells say, and extra runs on fixed images for at most four times its cost."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.cards.catalog import Catalog, Kind
from bench.cards.threat import Goal, Norm, Side, ThreatCard
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.errors import BenchError, UsageError
from bench.evaluation.plan import CLEAN, PlannedCell
from bench.evaluation.results import Cell
from bench.evaluation.scoring import device_of
from bench.evaluation.stage import Stage
from bench.evaluation.workbench import Workbench
from bench.soundness import memory, probes, records
from bench.soundness.checklist import CHECKS
from bench.soundness.fooling import FoolLab, fool_views
from bench.soundness.lab import Allowance, Lab, cell_cost
from bench.soundness.runs import BLACK_QUERIES, Rivals, Run, Runs, as_tensor
from bench.soundness.standing import Standing, settled, standing_of
from bench.soundness.stored import Role, late_rise, of_cell, role_of, stored_checks
from bench.soundness.verdicts import Finding, Verdicts, one_each
from bench.soundness.view import TEST, View, attacked_rows, split, views
from bench.threat_models.base import Threat

IMAGES = 64
"""Fixed images of each set that extra runs attack, or fewer where they would cost too much."""

FEWEST = 8
"""Checks are left out rather than asked of fewer images."""

TIMES = 4.0
"""The most that the extra runs may cost, in units of the cell's own cost."""

_REPEATS = 4 + 2 * memory.QUESTIONS
"""Scores of an image by which D1 tells whether more counts than the image."""

_PLANNED = 0.85
"""Of that, what is planned: how long a run with an early stop takes is known afterwards only."""

ELSEWHERE = ("msp", "energy")
"""Undefended detectors, on the first of which other than the cell's own images are crafted for D12."""

Tell = Callable[[str, float], None]
"""Called with (the check at hand, share done in [0, 1])."""


@dataclass(frozen=True)
class Diagnosis:
    """What the checks found, and what they cost.

    Attributes:
        verdicts: One finding a check and side.
        standings: What the attacks of all checks together say of the figure, one a side.
        images: Of each set that extra runs attacked.
        cell_cost: What the cell cost, as `cell_cost` counts it.
        cost: What the extra runs cost.
        seconds: That the extra runs took.
    """

    verdicts: Verdicts
    standings: tuple[Standing, ...]
    images: int
    cell_cost: float
    cost: float
    seconds: float


def check_diagnosable(threat: ThreatCard, side: Side | None) -> None:
    """Raise unless the checks are about such attacks.

    Args:
        threat: The threat's card.
        side: The attacked side; None takes the threat's own.

    Raises:
        UsageError: Nothing is attacked on the side, or the threat has no ball, or one that the checks do not attack in.
    """
    side = threat.sides[0] if side is None else side
    if threat.name == CLEAN:
        raise UsageError("'clean' attacks nothing; name a threat with gradients, such as pgd-l2.")
    if side is Side.BETWEEN:
        raise UsageError(f"side '{side}' attacks nothing; give --side evade, alarm, both or fool.")
    if threat.norm in (Norm.L1, Norm.L0):
        raise UsageError(
            f"the checks attack in l2 or linf themselves, and '{threat.name}' works in {threat.norm}; choose one such "
            "as pgd-l2."
        )
    if not threat.members and role_of(threat) not in (Role.ITERATED, Role.ONE_STEP):
        raise UsageError(
            f"the checks are about attacks with gradients inside a ball, and '{threat.name}' is none; choose one such "
            "as pgd-l2."
        )


def is_diagnosable(threat: ThreatCard, side: Side | None) -> bool:
    """Whether it is a single attack on the score that the checks are about; arguments as in `check_diagnosable`."""
    if threat.members or side is Side.FOOL:
        return False
    try:
        check_diagnosable(threat, side)
    except UsageError:
        return False
    return True


def diagnose(
    planned: PlannedCell,
    cell: Cell,
    others: Sequence[Cell],
    workbench: Workbench,
    catalog: Catalog,
    *,
    device: str = "cpu",
    tell: Tell = lambda check, share: None,
) -> Diagnosis:
    """Every check of a cell that has been computed.

    Args:
        planned: The cell as it was asked for.
        cell: The same, computed.
        others: Further stored cells of the same detector; what they say costs nothing.
        workbench: Loads detector, images and threat.
        catalog: Where cards are found.
        device: Where the detector of D12 is put.
        tell: Hears of the progress.

    Raises:
        UsageError: The checks are not about such cells.
        CellError: A score of an extra run is not finite.
    """
    check_diagnosable(planned.threat, planned.ingredients.side)
    started = time.monotonic()
    stage = workbench.stage(planned)
    threat = workbench.threat(planned)
    cost = cell_cost(cell)
    allowance = Allowance(TIMES * cost)
    fools = planned.ingredients.side is Side.FOOL
    attacked: Sequence[View] = fool_views(cell, stage, threat) if fools else views(cell)
    sides = [(view, _rivals(planned, workbench, catalog, device)) for view in attacked]
    images = _images(cell, stage, threat, sides)
    stored = [] if fools else stored_checks([cell, *others], catalog)[cell.meta.key].findings
    found, standings = [*stored, *(of_cell(cell, catalog) if fools else ())], []
    for number, (view, rivals) in enumerate(sides):
        runs = _runs(cell, view, stage, threat, rivals, allowance, images)
        if number == 0:
            found.append(_same_twice(cell, runs))
        found += runs.inapplicable()
        plan = list(runs.all())
        for step, run in enumerate(plan):
            tell(run.check, (number + step / len(plan)) / len(sides))
            found += _asked(run, runs, view)
        found += _unasked(found, view)
        standings.append(standing_of(runs.lab.view, runs.reached))
    found.append(CHECKS["D18"].skipped("this is about the harness and not about a cell: `bench diagnose --controls`."))
    verdicts = Verdicts(key=cell.meta.key, findings=one_each(settled(one_each(found), standings)))
    return Diagnosis(verdicts, tuple(standings), images, cost, allowance.spent, time.monotonic() - started)


def _runs(
    cell: Cell, view: View, stage: Stage, threat: Threat, rivals: Rivals, allowance: Allowance, images: int
) -> Runs:
    rows = attacked_rows(cell, view)
    fools = view.side is Side.FOOL
    lab = (FoolLab if fools else Lab)(stage, threat, view.sample(images), allowance)
    norms = cell.samples["norm"].to_numpy(np.float64)[rows]
    kept = _kept(cell, attacked_rows(cell, lab.view)) if not cell.meta.early_stop else None

    def feasible(rounded: tuple[float, float]) -> Finding:
        arrays = cell.arrays.get("images") if len(rows) else None
        mine = None if arrays is None else arrays[np.isin(cell.arrays["image_rows"], rows)]
        return records.feasible(view, norms, cell.meta.eps, images=mine, rounded=rounded)

    return Runs(
        lab,
        cell,
        rivals,
        late=None if fools else late_rise(cell, view, rows),
        feasible=feasible,
        kept=None if kept is None else as_tensor(kept, lab),
    )


def _asked(run: Run, runs: Runs, view: View) -> list[Finding]:
    """What a run finds, or that it costs too much."""
    allowance = runs.lab.allowance
    if not allowance.affords(run.cost * runs.lab.view.count):
        why = f"it would cost more than {TIMES:g} times the cell; a larger --limit makes room."
        return [CHECKS[run.check].skipped(why, side=view.side)]
    return run.ask()


def _unasked(found: Sequence[Finding], view: View) -> list[Finding]:
    """The checks of a side that nothing was there for."""
    why = {
        "D5": "no other radius of the same attack is stored; `bench run --eps` with several makes a curve.",
        "D15": "the random points of D4 were not asked for.",
    }
    if view.side is Side.FOOL:
        why |= {
            "D13": "what an attack on decisions reports is judged anew from its images.",
            "D14": "a decision has no ties.",
            "D20": "it repairs the gradient of a score, and this attack is on decisions.",
        }
    asked = {finding.check for finding in found if finding.side is view.side}
    return [CHECKS[check].skipped(reason, side=view.side) for check, reason in why.items() if check not in asked]


def _images(cell: Cell, stage: Stage, threat: Threat, sides: Sequence[tuple[View, Rivals]]) -> int:
    """How many images of each set the extra runs may attack."""
    budget = _PLANNED * TIMES * cell_cost(cell)
    each = 0.0
    for view, rivals in sides:
        runs = _runs(cell, view, stage, threat, rivals, Allowance(0.0), 1)
        each += len(view.clean) * sum(run.cost for run in runs.all())
    return int(min(IMAGES, max(FEWEST, budget // max(each, 1.0))))


def _rivals(planned: PlannedCell, workbench: Workbench, catalog: Catalog, device: str) -> Rivals:
    def own(changes: Mapping[str, Any]) -> Threat:
        return workbench.threat(replace(planned, params={**planned.params, **changes}))

    return Rivals(own, _black_box(planned, workbench, catalog), _elsewhere(planned, catalog, device))


def _black_box(planned: PlannedCell, workbench: Workbench, catalog: Catalog) -> tuple[str, Threat] | None:
    """The first black box of the catalog in the cell's norm: square, where it is there."""
    cards = [catalog.threat(name) for name in sorted(catalog.names(Kind.THREAT))]
    fitting = [
        card
        for card in cards
        if role_of(card) is Role.BLACK_BOX
        and card.norm is planned.threat.norm
        and planned.ingredients.side in card.sides
        and "queries" in card.params
    ]
    if not fitting:
        return None
    card = fitting[0]
    params = {**card.params, "queries": min(BLACK_QUERIES, int(card.params["queries"]))}
    return card.name, workbench.threat(replace(planned, threat=card, params=params, ignored=()))


def _elsewhere(planned: PlannedCell, catalog: Catalog, device: str) -> tuple[str, Callable[[], Detector]] | None:
    """An undefended detector other than the cell's own, for images that are transferred.

    None where they would have to be accepted: by whose thresholds?
    """
    if planned.ingredients.goal is Goal.ACCEPT:
        return None
    for name in ELSEWHERE:
        if name == planned.detector.name:
            continue
        try:
            spec = catalog.detector_spec(name, planned.track.name)
            detector = load_detector(spec, planned.track, catalog, device)
        except BenchError:
            continue
        return name, lambda detector=detector: detector
    return None


def _same_twice(cell: Cell, runs: Runs) -> Finding:
    """D1 on ID and OOD images together; a random detector's attacked images are scored by fresh draws too."""
    lab = runs.lab
    found = scored_twice(cell, lab.stage)
    lab.allowance.spend(queries=3 * IMAGES + (1 + _REPEATS) * probes.SINGLES)
    if not lab.detector.info.random:
        return records.same_twice(found)
    finished = runs.finish()
    claimed, fresh = (
        lab.view.auroc(split(scores, lab.view)) for scores in (finished.scores, lab.score(finished.images, fresh=3))
    )
    return records.same_twice(found, claimed=claimed, fresh=fresh)


def scored_twice(cell: Cell, stage: Stage) -> dict[str, float]:
    """What was repeated -> the largest difference of scores of the same ID and OOD images, in IQRs; see `probes`."""
    sets = stage.images.sets()
    names = [TEST, *(cell.meta.mean.sets if cell.meta.mean is not None else cell.meta.sets)]
    each = -(-IMAGES // len(names))
    x = torch.cat([sets[name].pixels()[:each] for name in names]).to(device_of(stage.detector))
    asked = stage.detector, x, cell.meta.iqr or 1.0, cell.meta.micro_batch
    few = x[:: max(1, len(x) // probes.SINGLES)][: probes.SINGLES]
    return probes.differences(*asked) | memory.hidden_dependence(stage.detector, few, *asked[2:])


def bare_runs(cell: Cell, view: View, stage: Stage, threat: Threat, images: int) -> Runs:
    """The extra checks of one attacked side on so many images of each set, without rivals and without a limit.

    Args:
        cell: The cell.
        view: The attacked side.
        stage: Detector, images and clean cell.
        threat: The cell's attacker.
        images: Of each set.
    """
    return _runs(cell, view, stage, threat, Rivals(lambda changes: threat, None, None), Allowance(math.inf), images)


def _kept(cell: Cell, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """The attacked images of these rows of the samples; None where not all of them are kept."""
    if "images" not in cell.arrays:
        return None
    at = {int(row): position for position, row in enumerate(cell.arrays["image_rows"])}
    if any(int(row) not in at for row in rows):
        return None
    images: NDArray[np.float32] = cell.arrays["images"][[at[int(row)] for row in rows]]
    return images
