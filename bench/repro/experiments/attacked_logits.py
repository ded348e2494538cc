"""All logits of one image as it is and after each attack, from the images that cells of the same entry keep."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.cards.base import Name
from bench.datasets.track import Track
from bench.detectors.loading import load_detector
from bench.errors import UsageError
from bench.repro.claims import Measured, Ref
from bench.repro.experiments import ExperimentArgs, Outcome, Surroundings
from bench.repro.panels import picture

if TYPE_CHECKING:
    from bench.evaluation.results import Cell


class Args(ExperimentArgs):
    """Of `attacked-logits`.

    Attributes:
        detector: Whose logits.
        track: On which.
        label: The image is the first of this class among those that every run attacked.
        runs: Runs of the entry, each of one attack, by the name of a row.
        percentile: Of the class thresholds, which have a row of their own.
    """

    detector: str
    track: str
    label: int = Field(default=0, ge=0)
    runs: dict[str, Name] = Field(min_length=1, max_length=12)
    percentile: float = Field(default=1.0, ge=0, lt=100)


def measured(args: Args, surroundings: Surroundings) -> Outcome:
    """Rows: "thresholds", "original" and those of `runs`; columns "class 0" and so on, and "largest".

    An attack that did not change the class has no figures, as in the paper.

    Raises:
        UsageError: A run has not one attack, keeps no images, or none of the class.
    """
    data = Track(surroundings.catalog.track(args.track), surroundings.data_dir)
    spec = surroundings.catalog.detector_spec(args.detector, args.track)
    detector = load_detector(spec, data.card, surroundings.catalog, surroundings.device)
    attacked = {row: _attack(run, surroundings) for row, run in args.runs.items()}
    chosen = _first_of(args.label, list(attacked.values()))
    test = data.set("test")
    original = test.pixels()[test.ids == chosen]
    images = {"original": original, **{row: _image(cell, chosen) for row, cell in attacked.items()}}
    figures: dict[Ref, Measured] = {}
    for row, image in images.items():
        with torch.no_grad():
            logits = detector.logits(image)
        if logits is None:
            raise UsageError(f"'{args.detector}' has no logits; name another detector.")
        if row == "original" or _changed(attacked[row], chosen):
            figures |= _row(row, {label: float(value) for label, value in enumerate(logits[0])})
    first = next(iter(args.runs.values()))
    clean = [cell for planned, cell in surroundings.cells(first) if not planned.attacks]
    for found in clean[0].meta.rejection if clean else ():
        if found.percentile == args.percentile:
            figures |= _row("thresholds", found.thresholds)
    shown = picture(", ".join(images), [torch.cat(list(images.values())).numpy()])
    return Outcome(figures, (shown,))


def _row(row: str, values: dict[int, float]) -> dict[Ref, Measured]:
    found: dict[Ref, Measured] = {(row, f"class {k}"): Measured(v, v, v) for k, v in values.items()}
    largest = max(values.values())
    return {**found, (row, "largest"): Measured(largest, largest, largest)}


def _attack(run: str, surroundings: Surroundings) -> "Cell":
    found = [cell for planned, cell in surroundings.cells(run) if planned.attacks]
    if len(found) != 1:
        raise UsageError(f"run '{run}' has {len(found)} attacks stored; attacked logits are of one.")
    if "images" not in found[0].arrays:
        raise UsageError(f"run '{run}' keeps no images; name a run on the side 'fool'.")
    return found[0]


def _first_of(label: int, cells: "list[Cell]") -> int:
    """The id of the first test image of a class that all cells keep, and that is right as it is."""
    kept = None
    for cell in cells:
        rows = cell.samples.iloc[cell.arrays["image_rows"]]
        right = rows[(rows["set"] == "test") & (rows["label"] == label) & (rows["predicted"] == label)]
        ids = list(right.sort_values("index")["id"])
        kept = ids if kept is None else [one for one in kept if one in set(ids)]
    if not kept:
        raise UsageError(f"no test image of class {label} is kept by every run; attack more images.")
    return int(kept[0])


def _changed(cell: "Cell", chosen: int) -> bool:
    """Whether the attack changed the class, as the cell has it: DeepFool ends where two logits are all but equal."""
    row = cell.samples[(cell.samples["set"] == "test") & (cell.samples["id"] == chosen)].iloc[0]
    return bool(row["attacked_predicted"] != row["label"])


def _image(cell: "Cell", chosen: int) -> Tensor:
    rows = cell.samples.iloc[cell.arrays["image_rows"]]
    (at,) = np.flatnonzero((rows["id"] == chosen) & (rows["set"] == "test"))
    return torch.from_numpy(np.array(cell.arrays["images"][at], copy=True))[None].float()
