"""Curves of trainings: how figures stand at the beginning and at the end of each, and how long each took."""

import statistics
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from bench.repro.claims import Measured, Ref
from bench.repro.entry import Run, Train
from bench.repro.experiments import ExperimentArgs, Outcome, Surroundings
from bench.repro.panels import Panel, PanelKind, line
from bench.repro.trained import Curve, curve_of, train_missing, trained_specs

_Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]
_Figure = Annotated[str, StringConstraints(min_length=1, max_length=60)]


class Args(ExperimentArgs):
    """Of `training`.

    Attributes:
        detector: Whose recipe.
        track: On which.
        rows: The recipe's arguments, over those of the card, by the name of a row of the table.
        figures: What the curve holds, each of which has a panel. The columns are "FIGURE first", the mean of the first
            tenth of the curve, "FIGURE last", of the last tenth, "FIGURE at A" for every step of `at`, and "seconds".
        at: Steps, of which the nearest points of the curve are taken.
        ends: Which share of the curve an end is.
        sets: In place of sets of the track's card.
        against: What lies on the horizontal axis of the panels, a figure too; the step where none is named.
    """

    detector: str
    track: str
    rows: dict[_Title, dict[str, Any]] = Field(min_length=1, max_length=12)
    figures: tuple[_Figure, ...] = Field(min_length=1, max_length=6)
    at: tuple[int, ...] = ()
    ends: float = Field(default=0.1, gt=0, le=0.5)
    sets: dict[str, Any] = {}
    against: _Figure | None = None


def measured(args: Args, surroundings: Surroundings) -> Outcome:
    """Train what is missing, and read the curves; an interval is from the least to the largest of an end's points."""
    figures: dict[Ref, Measured] = {}
    curves: dict[str, Curve] = {}
    seconds = 0.0
    for row, given in args.rows.items():
        run = Run(id="curve", detector=(args.detector,), track=args.track, train=Train(args=given), sets=args.sets)
        seconds += train_missing(
            [run], surroundings.catalog, surroundings.root, surroundings.data_dir, device=surroundings.device
        )
        ((spec, _),) = trained_specs(run, surroundings.catalog, surroundings.root)
        curves[row] = curve = curve_of(surroundings.root, spec)
        figures[row, "seconds"] = Measured(curve.seconds, curve.seconds, curve.seconds)
        for name in args.figures:
            figures |= {(row, column): found for column, found in _ends(name, curve, args).items()}
    panels = [_panel(name, curves, args.against) for name in args.figures]
    return Outcome(figures, tuple(panels), seconds)


def _ends(name: str, curve: Curve, args: Args) -> dict[str, Measured]:
    values = curve.figures.get(name, ())
    if not values:
        return {}
    count = max(1, round(args.ends * len(values)))
    found = {f"{name} first": _spread(values[:count]), f"{name} last": _spread(values[-count:])}
    for at in args.at:
        nearest = min(range(len(values)), key=lambda i: abs(curve.steps[i] - at))
        found[f"{name} at {at}"] = _spread(values[nearest : nearest + 1])
    return found


def _spread(values: tuple[float, ...]) -> Measured:
    low, high = min(values), max(values)
    return Measured(min(max(statistics.fmean(values), low), high), low, high)  # a mean of equals may be rounded


def _panel(name: str, curves: dict[str, Curve], against: str | None) -> Panel:
    series = [
        line(row, curve.figures.get(against or "", curve.steps), curve.figures[name])
        for row, curve in curves.items()
        if name in curve.figures
    ]
    return Panel(kind=PanelKind.LINES, title=name, x=against or "step", y=name, series=tuple(series))
