"""The evidence that costs next to nothing: without it an attack that runs alone is held against nothing but itself."""

from collections.abc import Sequence

from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import Cell
from bench.evaluation.workbench import Workbench
from bench.soundness import records
from bench.soundness.diagnose import FEWEST, IMAGES, bare_runs, is_diagnosable, scored_twice
from bench.soundness.lab import cell_cost
from bench.soundness.verdicts import Finding, Verdicts, one_each
from bench.soundness.view import views

PROBES = ("D2", "D3", "D4")
"""Asked of the detector at fixed images, and at random points around them, which answer D15 too."""

SHARE = 0.1
"""Of a cell's own cost: what its probes may cost, unless they are about the fewest images."""


def cheap_checks(planned: PlannedCell, cell: Cell, workbench: Workbench) -> list[Finding]:
    """D1 of an attack on scores; D2 to D4 and D15 of one with gradients in a ball. Other cells have no part in it.

    Args:
        planned: The cell as it was asked for.
        cell: The same, computed.
        workbench: Loads detector, images and threat.

    Raises:
        BenchError: The detector or the images cannot be loaded, or a score is not finite.
    """
    sides = views(cell)
    if not sides:
        return []
    stage = workbench.stage(planned)
    found = [] if stage.detector.info.random else [records.same_twice(scored_twice(cell, stage))]
    if not is_diagnosable(planned.threat, planned.ingredients.side):
        return found
    threat = workbench.threat(planned)
    for view in sides:
        each = sum(run.cost for run in bare_runs(cell, view, stage, threat, 1).all() if run.check in PROBES)
        affordable = SHARE * cell_cost(cell) / (each * len(view.clean))
        runs = bare_runs(cell, view, stage, threat, int(min(IMAGES, max(FEWEST, affordable))))
        for run in runs.all():
            found += run.ask() if run.check in PROBES else []
    return found


def joined(verdicts: Verdicts, findings: Sequence[Finding]) -> Verdicts:
    """Verdicts with further findings; of two on one check and side the one that says more against the cell."""
    return Verdicts(key=verdicts.key, findings=one_each([*verdicts.findings, *findings]))
