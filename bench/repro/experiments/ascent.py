"""Images that ascent on detectors makes of seed images, and what another detector says of them."""

from typing import Annotated

import torch
from pydantic import Field, StringConstraints
from torch import Tensor

from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.evaluation.generating import ascended
from bench.metrics import delong, threshold_at_tpr
from bench.repro.claims import Measured, Ref
from bench.repro.experiments import ExperimentArgs, Outcome, Surroundings
from bench.repro.panels import picture
from bench.repro.shares import share

SHOWN = 8
"""Images of each set in the picture."""

_Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]


class Args(ExperimentArgs):
    """Of `ascent`; lengths in [0, 1] pixel units (L2).

    Attributes:
        rows: Detectors by the name of a row of the table.
        track: On which.
        seeds: The sets from which is started.
        judge: Another detector, of another kind, which says how much what was made is like the test images.
        count: Images of each set.
        steps: Of ascent.
        step_size: Length of a step.
        radius: How far an image may go; None for anywhere.
    """

    rows: dict[_Title, str] = Field(min_length=1, max_length=8)
    track: str
    seeds: tuple[str, ...] = Field(min_length=1, max_length=6)
    judge: str
    count: int = Field(default=64, ge=2, le=1000)
    steps: int = Field(default=200, ge=1, le=10_000)
    step_size: float = Field(default=0.1, gt=0)
    radius: float | None = Field(default=None, gt=0)


def measured(args: Args, surroundings: Surroundings) -> Outcome:
    """Columns are "accepted SET", "judged SET" and "moved SET", the row "seeds" is of the images as they are.

    Accepted is the share that the judge accepts at the threshold of 95 % of the calibration images; judged is the
    judge's AUROC of test images against what was made, 0.5 where it cannot tell them apart, and 1 where all lie below.
    """
    data = Track(surroundings.catalog.track(args.track), surroundings.data_dir)
    judge = _loaded(args.judge, data, surroundings)
    test = _scores(judge, data.set("test").limited(500).pixels())
    threshold = threshold_at_tpr(_scores(judge, data.set("calibration").limited(500).pixels()).numpy())
    starts = {name: data.set(name).limited(args.count).pixels() for name in args.seeds}
    figures: dict[Ref, Measured] = {}
    rows = [torch.cat([starts[name][:SHOWN] for name in args.seeds])]

    def judged(row: str, name: str, images: Tensor) -> None:
        scores = _scores(judge, images)
        found = delong(test.numpy(), scores.numpy(), name=name)
        figures[row, f"judged {name}"] = Measured(found.auroc, found.low, found.high)
        figures[row, f"accepted {name}"] = share(int((scores >= threshold).sum()), len(scores))

    for name, images in starts.items():
        judged("seeds", name, images)
    for row, detector in args.rows.items():
        maker = _loaded(detector, data, surroundings)
        made = {}
        for name, images in starts.items():
            made[name] = _ascended(maker, images, args)
            judged(row, name, made[name])
            moved = float((made[name] - images).flatten(1).norm(dim=1).mean())
            figures[row, f"moved {name}"] = Measured(moved, moved, moved)
        rows.append(torch.cat([made[name][:SHOWN] for name in args.seeds]))
    names = ", then ".join(args.rows)
    shown = picture(f"seeds ({', '.join(args.seeds)}), then {names}", [row.numpy() for row in rows])
    return Outcome(figures, (shown,))


def _ascended(maker: Detector, images: Tensor, args: Args) -> Tensor:
    parts = torch.split(images, 64)
    made = [ascended(maker, x, steps=args.steps, step_size=args.step_size, radius=args.radius) for x in parts]
    return torch.cat(made).detach()


def _loaded(name: str, data: Track, surroundings: Surroundings) -> Detector:
    spec = surroundings.catalog.detector_spec(name, data.card.name)
    return load_detector(spec, data.card, surroundings.catalog, surroundings.device)


@torch.no_grad()
def _scores(detector: Detector, x: Tensor) -> Tensor:
    return torch.cat([detector.score(part).double() for part in torch.split(x, 128)])
