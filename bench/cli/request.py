"""What `bench run` is asked to do: the options of the command line over those of a grid file over the defaults."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bench.cards.documents import Document, read_document
from bench.cards.errors import describe
from bench.cards.threat import Goal, Loss, Norm, Side
from bench.cli.options import comma_separated
from bench.detectors.precision import Precision, SearchPrecision
from bench.errors import CardError, UsageError
from bench.evaluation.planned import PlannedCell
from bench.evaluation.sets import SetChoice, chosen_sets
from bench.evaluation.spending import Evidence
from bench.evaluation.store_places import StorePlace, store_place

_SAID_BY_A_SUITE = frozenset({
    "threat", "eps", "ood", "without", "side", "goal", "loss", "limit", "restarts", "steps", "step_size", "evidence",
    "tolerance", "audit", "precision", "compile_copy", "nested", "micro_batch",
})  # fmt: skip
_SHARD = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def _names(value: Any) -> Any:
    """Names in a list, or in one text between commas."""
    parts = [value] if isinstance(value, str) else value
    return (
        comma_separated(parts) if isinstance(parts, list | tuple) and all(isinstance(p, str) for p in parts) else parts
    )


def _radii(value: Any) -> Any:
    """Radii as texts that `bench.evaluation.eps` reads: `1`, `8/255`, `l2:0.5,1`, or a mapping from norm to radii."""
    if isinstance(value, Mapping):
        if wrong := [str(norm) for norm in value if norm not in set(Norm)]:
            raise ValueError(f"must be the norms {', '.join(Norm)} before their radii, not {wrong[0]!r}")
        return [f"{norm}:{','.join(map(str, _listed(radii)))}" for norm, radii in value.items()]
    return [str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in _listed(value)]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise ValueError("must be auto, cpu, mps, cuda or cuda:NUMBER")
    return value


def _shard(value: Any) -> Any:
    """(2, 4) of a text such as 2/4."""
    if not isinstance(value, str):
        return value
    found = _SHARD.fullmatch(value)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError("must be a shard I/N with I from 1 to N, such as 2/4")
    return int(found[1]), int(found[2])


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Radii = Annotated[tuple[str, ...], BeforeValidator(_radii)]
Place = Annotated[StorePlace, BeforeValidator(store_place)]
Device = Annotated[str, Field(max_length=20), BeforeValidator(_device)]


class EngineName(StrEnum):
    """Where cells are computed."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class Hands:
    """Who computes.

    Attributes:
        workers: How many processes; None for as many as there is room for.
        engine: Where they run.
        address: Of a Ray cluster; None starts one here.
        gpus: The part of a GPU that each takes there; None for a whole one on a CUDA device.
    """

    workers: int | None = None
    engine: EngineName = EngineName.LOCAL
    address: str | None = None
    gpus: float | None = None


class RunRequest(BaseModel):
    """Every setting of a run, with the default of each; a grid file may hold any of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: Names = ()
    network: Annotated[str, Field(max_length=200)] | None = None
    threat: Names = ("pgd-l2",)
    eps: Radii = ()
    track: Names = ("digits",)
    suite: bool = False
    ood: Names | None = None
    without: Names = ()
    side: Side | None = None
    goal: Goal = Goal.MISCLASSIFY
    loss: Loss | None = None
    limit: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**31)
    restarts: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    step_size: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    early_stop: bool = True
    evidence: bool = True
    tolerance: float = Field(default=0.001, gt=0, le=0.1, allow_inf_nan=False)
    audit: float = Field(default=0.1, gt=0, le=1, allow_inf_nan=False)
    precision: Precision = Precision.FLOAT32
    compile_copy: bool = False
    nested: bool = False
    micro_batch: int | None = Field(default=None, ge=1, le=4096)
    device: Device = "auto"
    workers: int | None = Field(default=None, ge=1, le=1024)
    engine: EngineName = EngineName.LOCAL
    address: Annotated[str, Field(max_length=200)] | None = None
    gpus: float | None = Field(default=None, ge=0, le=16, allow_inf_nan=False)
    shard: Annotated[tuple[int, int], BeforeValidator(_shard)] = (1, 1)
    workspace: Path | None = None
    data_dir: Path | None = None
    out: Place = StorePlace(Path("runs"))

    def sets(self) -> SetChoice:
        """The OOD sets that the run is about."""
        return chosen_sets(self.ood, self.without)

    @model_validator(mode="after")
    def _of_one_engine(self) -> Self:
        for name in ("address", "gpus"):
            if getattr(self, name) is not None and self.engine is not EngineName.RAY:
                raise ValueError(f"--{name} is an option of --engine ray; name that engine, or leave it out")
        return self

    @model_validator(mode="after")
    def _of_one_suite(self) -> Self:
        if self.suite and (given := [name for name in self.model_fields_set if name in _SAID_BY_A_SUITE]):
            wrong = " and ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
            raise ValueError(f"--suite takes threats, radii, images and sets from the track's card; leave out {wrong}")
        return self

    def spending(self) -> Evidence | None:
        """On what evidence images get less than the full budget; None where all of them get it."""
        return Evidence(self.tolerance, self.audit) if self.evidence else None

    def search_precision(self) -> SearchPrecision:
        """How the first half of an attack's steps is made cheaper."""
        return SearchPrecision(self.precision, self.compile_copy)

    def hands(self) -> Hands:
        """Who computes."""
        return Hands(self.workers, self.engine, self.address, self.gpus)

    def part_of(self, cells: list[PlannedCell]) -> list[PlannedCell]:
        """The cells of a plan that are this command's shard; all shards together have each cell once."""
        number, count = self.shard
        return cells[number - 1 :: count]

    def overrides(self) -> dict[str, int | float | None]:
        """Parameters that take the place of those of the threats' cards; None keeps a card's own."""
        return {"steps": self.steps, "restarts": self.restarts, "step_size": self.step_size}


def read_request(options: Mapping[str, Any], grid: Path | None = None) -> RunRequest:
    """The request of a command line and, under it, a grid file.

    Args:
        options: Fields of `RunRequest`; None where the option was not given.
        grid: A YAML file of the same fields; `-` and `_` are the same in their names.

    Raises:
        UsageError: An option or a field of the file is unknown or has a value that is not allowed.
    """
    given = {name: value for name, value in options.items() if value is not None}
    from_file = _read_grid(grid) if grid is not None else {}
    try:
        request = RunRequest.model_validate({**from_file, **given})
    except ValidationError as error:
        raise UsageError("\n".join(_option_error(detail) for detail in error.errors(include_url=False))) from None
    if not request.detector:
        raise UsageError("no detector is named; give --detector NAME, as `bench list detectors` shows them, or 'all'.")
    return request


def _read_grid(path: Path) -> dict[str, Any]:
    try:
        document = _with_underscores(read_document(path))
    except CardError as error:
        raise UsageError(_about_a_grid(str(error))) from None
    try:
        RunRequest.model_validate(document.content)
    except ValidationError as error:
        raise UsageError(_about_a_grid("\n".join(describe(error, RunRequest, document)))) from None
    return document.content


def _with_underscores(document: Document) -> Document:
    def renamed(key: str | int) -> str | int:
        return key.replace("-", "_") if isinstance(key, str) else key

    lines = {(renamed(place[0]), *place[1:]): line for place, line in document.lines.items() if place}
    return replace(document, content={str(renamed(k)): v for k, v in document.content.items()}, lines=lines)


def _about_a_grid(sentence: str) -> str:
    return sentence.replace("; see `bench show` for one", "").replace("a card", "a grid file").replace("card", "file")


def _option_error(detail: Any) -> str:
    if not detail["loc"]:  # of several options together
        return str(detail["msg"]).removeprefix("Value error, ") + "."
    option = "--" + str(detail["loc"][0]).replace("_", "-")
    allowed = str(detail["msg"]).removeprefix("Value error, ").removeprefix("must be ").removeprefix("Input should be ")
    return f"{option} is {str(detail['input'])[:80]}; allowed is {allowed[:1].lower() + allowed[1:]}."
