"""An entry: one table or figure of a paper, what is run for it, how it is laid out, and what the paper says of it.

One YAML file each, in a folder a paper below `benchmarks/papers/`; `paper.yaml` beside them names the paper.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import product
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from bench.cards.base import Card, Name
from bench.cards.threat import Goal, Loss, Side
from bench.evaluation.eps import parse_eps
from bench.repro.claims import Claim, Ref
from bench.repro.figures import CLEAN, Figure

Words = Annotated[str, StringConstraints(min_length=1, max_length=1500)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]
Detector = Annotated[str, StringConstraints(min_length=1, max_length=130)]
Published = Annotated[float, Field(allow_inf_nan=False)]


def _radii(value: Any) -> Any:
    """Radii as texts, each checked: `1`, `8/255`."""
    given = value if isinstance(value, list | tuple) else [value]
    texts = [str(one) if isinstance(one, int | float) and not isinstance(one, bool) else one for one in given]
    if all(isinstance(one, str) for one in texts):
        parse_eps(texts)
    return texts


Radii = Annotated[tuple[str, ...], BeforeValidator(_radii)]
Grid = dict[str, Annotated[tuple[Any, ...], Field(min_length=1, max_length=20)]]


class Scale(StrEnum):
    """At which size an entry is run: what is at hand, or the paper's own data, networks and counts."""

    SMALL = "small"
    PAPER = "paper"


class Train(Card):
    """A training of a run's detectors by their cards' recipes, with other arguments.

    Attributes:
        args: Over those of the recipe.
        grid: The same with several values each: every combination is trained.
        network: Over the arguments of the network.
    """

    args: dict[str, Any] = {}
    grid: Grid = {}
    network: dict[str, Any] = {}

    def variants(self) -> Iterator[dict[str, Any]]:
        """Every combination of arguments."""
        for args in _combinations(self.grid):
            yield {**self.args, **args}


CHANGEABLE = ("train", "calibration", "test", "ood", "outliers", "classes")
"""What a run may say of its track in place of what the card says."""


class Run(Card):
    """What is run: the settings of one `bench run`, and parameters that it has no option for.

    Attributes:
        id: What the layout calls it.
        params: Over those of the threat's card.
        params_grid: The same with several values each: every combination is run.
        score: Over those of the detectors' cards.
        score_grid: The same with several values each.
        train: The detectors are trained for this entry; None where they have weights.
        recall: Share of the clean ID images that the detection threshold accepts, in place of the card's.
        sets_of: Another track, of the same shape, whose sets are taken; the detectors stay those of `track`.
        sets: In place of sets of the track's card, as such a card would have them.
        micro_batch: The batch shape of scores and gradients, in place of the card's. A pass is padded to it: few images
            cost as much as it holds.
    """

    id: Name
    detector: tuple[Detector, ...] = Field(min_length=1, max_length=50)
    threat: Name = "clean"
    eps: Radii = ()
    track: Name
    ood: tuple[Name, ...] = ()
    without: tuple[Name, ...] = ()
    side: Side | None = None
    goal: Goal = Goal.MISCLASSIFY
    loss: Loss | None = None
    limit: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**31)
    params: dict[str, Any] = {}
    params_grid: Grid = {}
    score: dict[str, Any] = {}
    score_grid: Grid = {}
    early_stop: bool = True
    evidence: bool = True
    train: Train | None = None
    recall: float | None = Field(default=None, gt=0, le=1)
    sets_of: Name | None = None
    sets: dict[str, Any] = {}
    micro_batch: int | None = Field(default=None, ge=1, le=4096)

    @model_validator(mode="after")
    def _changes_what_may_change(self) -> Self:
        if wrong := sorted(set(self.sets) - set(CHANGEABLE)):
            raise ValueError(f"sets cannot change '{wrong[0][:40]}' of a track; allowed are {', '.join(CHANGEABLE)}")
        return self

    def variants(self) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]]:
        """Every combination of parameters of the threat, of the detectors and of their training."""
        trainings = [None] if self.train is None else list(self.train.variants())
        for params in _combinations(self.params_grid):
            for score in _combinations(self.score_grid):
                for training in trainings:
                    yield {**self.params, **params}, {**self.score, **score}, training


class Experiment(Card):
    """What no cell holds: one of `bench.repro.experiments`, with its arguments."""

    kind: Name
    args: dict[str, Any] = {}


class Shown(Card):
    """A histogram of what a run's cells hold of each image.

    Attributes:
        title: Above it.
        run: The run.
        detector: Its cells of this detector alone.
        params: Of cells whose threat has these parameters alone.
        score: Of cells whose detector has these.
        column: Of the cells' samples: a score, or a figure of the threat.
        sets: Which sets are shown; "test" is the ID one.
    """

    title: Title
    run: Name
    detector: Detector | None = None
    params: dict[str, Any] = {}
    score: dict[str, Any] = {}
    column: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
    sets: tuple[Name, ...] = Field(min_length=1, max_length=8)


def _combinations(grid: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


class Axis(Card):
    """A row or a column: what it is called, and which stored cell and which of its figures it is about.

    Attributes:
        name: What claims and published figures call it.
        title: What a reader sees; the name where there is none.
        run: Cells of this run alone.
        detector: Cells of this detector alone.
        eps: Cells of this radius alone.
        params: Cells whose threat has these parameters.
        score: Cells whose detector has these parameters.
        train: Cells whose detector was trained with these arguments.
        figure: What is shown of the cell.
        set: Of this OOD set; the mean over the track's natural sets where none is named.
        within: Of side `fool`: the radius within which is counted; anywhere in the box where none is named.
        percentile: Of the class thresholds.
    """

    name: Title
    title: Title | None = None
    run: Name | None = None
    detector: Detector | None = None
    eps: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    params: dict[str, Any] | None = None
    score: dict[str, Any] | None = None
    train: dict[str, Any] | None = None
    figure: Figure | None = None
    set: Name | None = None
    within: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    percentile: float | None = Field(default=None, ge=0, lt=100)

    @property
    def shown(self) -> str:
        """Its title."""
        return self.title or self.name


SELECTORS = ("run", "detector", "eps", "figure", "set", "within", "percentile")
"""What a row or its column may say, but not both."""

PARAMETERS = ("params", "score", "train")
"""What a row and its column may say together, of different parameters."""


class Setting(Card):
    """An entry at one scale: what is run, or why it cannot be.

    Attributes:
        about: Data, network and counts, in a sentence.
        runs: The grid.
        closed_form: One of `bench.repro.closed_forms`, which gives the figures where no cell does.
        args: Of the closed form.
        experiments: What else is measured, where a cell cannot hold it.
        histograms: Of what cells hold of each image.
        comparable: Data and networks are the paper's, so that its figures can be expected as numbers.
        sets: OOD sets by what the layout calls them; a name that is not here is the track's own.
        missing: Why nothing can be run.
    """

    about: Words | None = None
    runs: tuple[Run, ...] = Field(default=(), max_length=50)
    closed_form: Name | None = None
    args: dict[str, Any] = {}
    experiments: tuple[Experiment, ...] = Field(default=(), max_length=20)
    histograms: tuple[Shown, ...] = Field(default=(), max_length=12)
    comparable: bool = False
    sets: dict[Name, Name] = {}
    missing: Words | None = None

    @model_validator(mode="after")
    def _run_or_missing(self) -> Self:
        measured = bool(self.runs or self.experiments)
        if measured + (self.closed_form is not None) + (self.missing is not None) != 1:
            raise ValueError("give runs or experiments, or a closed form, or in 'missing' why there is neither")
        if self.missing is None and self.about is None:
            raise ValueError("give 'about': data, network and counts in a sentence")
        ids = [run.id for run in self.runs]
        if len(set(ids)) < len(ids):
            raise ValueError("every run must have an id of its own")
        if absent := sorted({one.run for one in self.histograms} - set(ids)):
            raise ValueError(f"a histogram names the run '{absent[0]}', which there is not")
        return self


class Cause(Card):
    """Why a claim of the paper does not come out.

    Attributes:
        text: The cause.
        tested: The command, or the figures, by which it was tested; None where it was not.
    """

    text: Words
    tested: Words | None = None


class Picture(Card):
    """A picture of the table: a line a row, over columns in their order.

    Attributes:
        columns: Their names.
        rows: Their names; all rows where none is named.
        y: What the figures are.
    """

    columns: tuple[Title, ...] = Field(min_length=2, max_length=30)
    rows: tuple[Title, ...] = ()
    y: Title


class Entry(Card):
    """One table or figure of a paper, or several of one kind.

    Attributes:
        name: Of the file too.
        items: As the paper numbers them.
        shows: What they show, in a sentence.
        source: Where the published figures stand; needed with them.
        rows: Of the table.
        columns: Of the table.
        published: Figures as printed, by row and column.
        tolerance: How far a figure may lie from the published one, beyond its own error, and still agree.
        claims: What the paper says of them.
        cause: Why a claim does not come out.
        picture: What is drawn of the table.
    """

    name: Name
    items: tuple[Title, ...] = Field(min_length=1, max_length=40)
    title: Title
    shows: Words
    small: Setting
    paper: Setting
    rows: tuple[Axis, ...] = Field(default=(), max_length=100)
    columns: tuple[Axis, ...] = Field(default=(), max_length=30)
    published: dict[Title, dict[Title, Published]] = {}
    source: Words | None = None
    tolerance: float = Field(default=0.005, ge=0, allow_inf_nan=False)
    claims: tuple[Claim, ...] = Field(default=(), max_length=50)
    cause: Cause | None = None
    picture: Picture | None = None

    def at(self, scale: Scale) -> Setting:
        """The entry at one scale."""
        return self.small if scale is Scale.SMALL else self.paper

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Self:
        for axis, kind in ((self.rows, "row"), (self.columns, "column")):
            names = [one.name for one in axis]
            if len(set(names)) < len(names):
                raise ValueError(f"every {kind} must have a name of its own")
        given = [(row, column) for row, figures in self.published.items() for column in figures]
        if self.picture is not None:
            rows = self.picture.rows or [one.name for one in self.rows]
            given += [(row, column) for row in rows for column in self.picture.columns]
        for ref in (*given, *(ref for claim in self.claims for ref in claim.refs())):
            self._check(ref)
        if self.published and self.source is None:
            raise ValueError("published figures need their source: 'Table 4', or the section of the text")
        if None in (self.small.missing, self.paper.missing) and not (self.rows and self.columns and self.claims):
            raise ValueError("what is run needs rows, columns and at least one claim")
        for row in self.rows:
            for column in self.columns:
                chosen(row, column)
        return self

    @model_validator(mode="after")
    def _knows_its_runs(self) -> Self:
        named = {one.run for one in (*self.rows, *self.columns) if one.run is not None}
        for setting, scale in ((self.small, "small"), (self.paper, "paper")):
            if setting.runs and (absent := sorted(named - {run.id for run in setting.runs})):
                raise ValueError(f"rows or columns name the run '{absent[0]}', which scale {scale} does not have")
        return self

    def _check(self, ref: Ref) -> None:
        row, column = ref
        if row not in {one.name for one in self.rows}:
            raise ValueError(f"there is no row '{row}'; rows are {', '.join(one.name for one in self.rows) or 'none'}")
        if column not in {one.name for one in self.columns}:
            known = ", ".join(one.name for one in self.columns) or "none"
            raise ValueError(f"there is no column '{column}'; columns are {known}")


def chosen(row: Axis, column: Axis) -> dict[str, Any]:
    """What a row and a column say together of their cell, without what neither says.

    Raises:
        ValueError: Both say the same thing in two ways.
    """
    found: dict[str, Any] = {}
    for name in SELECTORS:
        values = [value for axis in (row, column) if (value := getattr(axis, name)) is not None]
        if len(values) > 1:
            raise ValueError(f"row '{row.name}' and column '{column.name}' both say '{name}'; leave it to one of them")
        if values:
            found[name] = values[0]
    for name in PARAMETERS:
        found[name] = {**(getattr(row, name) or {}), **(getattr(column, name) or {})}
    if found.get("figure") in CLEAN and "eps" in found:
        raise ValueError(f"row '{row.name}' and column '{column.name}' ask for a clean figure at a radius")
    return found
