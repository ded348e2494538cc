"""What an entry measures where a cell cannot hold it: simulations, curves of trainings, images, logits.

Each kind is a module with `Args` and `measured`, found by the name that an entry gives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.cards.catalog import Catalog
from bench.cards.errors import first_problem
from bench.errors import UsageError, unknown_name
from bench.repro.claims import Measured, Ref
from bench.repro.entry import Experiment
from bench.repro.panels import Panel

if TYPE_CHECKING:
    from bench.evaluation.planned import PlannedCell
    from bench.evaluation.results import Cell

KINDS = ("ascent", "class-scores", "attacked-logits", "matching", "plane", "training")
"""The names; the module of each has underscores for hyphens."""


class ExperimentArgs(BaseModel):
    """Base of an experiment's arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Surroundings:
    """What an experiment may use.

    Attributes:
        catalog: Where cards and weights are found.
        data_dir: Where data files lie; None for the default.
        root: Of the store.
        cells: The stored cells of a run of the same entry, by its id, each with its plan.
        device: Where to compute.
    """

    catalog: Catalog
    data_dir: Path | None
    root: Path
    cells: "Callable[[str], list[tuple[PlannedCell, Cell]]]"
    device: str = "cpu"


@dataclass(frozen=True)
class Outcome:
    """What an experiment came to.

    Attributes:
        figures: By row and column.
        panels: What is drawn of it.
        seconds: That it took beside its own time, as trainings that were done before.
    """

    figures: dict[Ref, Measured] = field(default_factory=dict)
    panels: tuple[Panel, ...] = ()
    seconds: float = 0.0


def run_experiments(experiments: Sequence[Experiment], surroundings: Surroundings) -> Outcome:
    """All experiments of an entry, their figures and panels together.

    Raises:
        UsageError: There is no such experiment, its arguments are wrong, or two give the same figure.
    """
    figures: dict[Ref, Measured] = {}
    panels: list[Panel] = []
    seconds = 0.0
    for experiment in experiments:
        found = _one(experiment, surroundings)
        if twice := sorted(set(found.figures) & set(figures)):
            raise UsageError(f"two experiments give {' / '.join(twice[0])}; name rows or columns of them otherwise.")
        figures |= found.figures
        panels += found.panels
        seconds += found.seconds
    return Outcome(figures, tuple(panels), seconds)


def checked_args(experiment: Experiment) -> Any:
    """The arguments of an experiment, as its module reads them.

    Raises:
        UsageError: There is no such experiment, or its arguments are wrong.
    """
    try:
        return _module(experiment).Args.model_validate(experiment.args)
    except ValidationError as error:
        wrong = first_problem(error, "its arguments")
        raise UsageError(f"experiment '{experiment.kind}': {wrong}; correct the entry.") from None


def _one(experiment: Experiment, surroundings: Surroundings) -> Outcome:
    outcome: Outcome = _module(experiment).measured(checked_args(experiment), surroundings)
    return outcome


def _module(experiment: Experiment) -> Any:
    if experiment.kind not in KINDS:
        raise UsageError(str(unknown_name("experiment", experiment.kind, KINDS)).partition(" `bench list")[0])
    return import_module(f"{__name__}.{experiment.kind.replace('-', '_')}")
