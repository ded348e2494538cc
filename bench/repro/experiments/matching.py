"""Feature matching from single starting images: the loss along the way, and what the features came to."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field, StringConstraints
from torch import Tensor

from bench.cards.threat import Norm
from bench.datasets.track import Track
from bench.detectors.loading import load_detector
from bench.errors import UsageError
from bench.metrics import delong
from bench.repro.claims import Measured, Ref
from bench.repro.experiments import ExperimentArgs, Outcome, Surroundings
from bench.repro.panels import Panel, PanelKind, Series, histogram, line, picture
from bench.threat_models import geometry
from bench.threat_models.matching import relative_error

SHOWN = 8
_BETA_1, _BETA_2, _TINY = 0.9, 0.999, 1e-8  # Adamax's own defaults
_Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]


class Args(ExperimentArgs):
    """Of `matching`.

    Attributes:
        detector: Which is attacked.
        track: On which.
        starts: Starting images by the name of a row: "board-N", "spiral", "noise", or "set:NAME", the first image of an
            OOD set.
        guides: So many test images lead, each from the same start.
        match: The features, as `Detector.features` names them.
        eps: L2 radius, in pixel units.
        steps: Of Adamax, of length `eps` / 100.
    """

    detector: str
    track: str
    starts: dict[_Title, str] = Field(min_length=1, max_length=8)
    guides: int = Field(default=16, ge=2, le=500)
    match: str = "logits"
    eps: float = Field(default=10.0, gt=0)
    steps: int = Field(default=1000, ge=1, le=20_000)


def measured(args: Args, surroundings: Surroundings) -> Outcome:
    """Algorithm 1 of Liang et al. (2020) from one image at a time: the columns are "matched", "mape" and "loss left".

    "matched" is the AUROC of the guides against what was made of the start, by the detector's score of the closest
    match; "mape" is in per cent, the mean over the guides; "loss left" is J of the closest match over J at the start,
    the median over the guides.
    """
    data = Track(surroundings.catalog.track(args.track), surroundings.data_dir)
    spec = surroundings.catalog.detector_spec(args.detector, args.track)
    detector = load_detector(spec, data.card, surroundings.catalog, surroundings.device)
    guides = data.set("test").limited(args.guides).pixels()
    figures: dict[Ref, Measured] = {}
    losses: list[Series] = []
    errors: dict[str, list[float]] = {}
    panels: list[Panel] = []
    rows = [guides[:SHOWN].numpy()]
    for row, start in args.starts.items():
        first = _start(start, data)
        x, curve, features, target = _matched(detector, first.expand_as(guides), guides, args)
        with torch.no_grad():
            inside, outside = detector.score(guides).double(), detector.score(x).double()
        found = delong(inside.numpy(), outside.numpy(), name=row)
        mape = 100 * relative_error(features, target)
        left = float((curve.amin(dim=0) / curve[0]).median())
        figures[row, "matched"] = Measured(found.auroc, found.low, found.high)
        figures[row, "mape"] = Measured(float(mape.mean()), float(mape.min()), float(mape.max()))
        figures[row, "loss left"] = Measured(left, left, left)
        errors[row] = mape.tolist()
        mean = (curve / curve[0]).median(dim=1).values
        every = max(1, len(mean) // 200)
        losses.append(line(row, range(0, len(mean), every), mean[::every].clamp_min(1e-12).log10().tolist()))
        panels.append(_scatter(row, features[0], target[0]))
        rows.append(torch.cat([first, x[: SHOWN - 1]]).numpy())
    shown = picture(f"guides, then of {', '.join(args.starts)}: the start and what it became", rows)
    loss = Panel(kind=PanelKind.LINES, title="J over its start, median", x="step", y="log10", series=tuple(losses))
    return Outcome(figures, (shown, loss, histogram("MAPE, per cent", "MAPE, per cent", errors), *panels))


def _scatter(row: str, features: Tensor, target: Tensor) -> Panel:
    """z_out of one image against its z_in, at most 600 numbers of them."""
    every = max(1, len(target) // 600)
    series = line(row, target[::every].tolist(), features[::every].tolist())
    return Panel(kind=PanelKind.POINTS, title=f"features, {row}", x="z in", y="z out", series=(series,))


def _matched(detector: torch.nn.Module, x: Tensor, guides: Tensor, args: Args) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The closest matches, J at every step of every guide, and the features of both."""
    with torch.no_grad():
        target = detector.features(guides, args.match)  # type: ignore[operator]
    y, mean, largest = x.clone(), torch.zeros_like(x), torch.zeros_like(x)
    closest, least, curve = x.clone(), torch.full((len(x),), torch.inf), []
    for step in range(args.steps + 1):
        y = y.detach().requires_grad_(True)
        loss = (detector.features(y, args.match) - target).square().sum(dim=1)  # type: ignore[operator]
        (gradient,) = torch.autograd.grad(loss.sum(), y)
        y, loss = y.detach(), loss.detach()
        curve.append(loss)
        closer = loss < least
        closest, least = torch.where(closer[:, None, None, None], y, closest), torch.where(closer, loss, least)
        down = geometry.direction(gradient, Norm.L2)
        mean = _BETA_1 * mean + (1 - _BETA_1) * down
        largest = torch.maximum(_BETA_2 * largest, down.abs() + _TINY)
        ahead = y - args.eps / 100 * mean / (largest * (1 - _BETA_1 ** (step + 1)))
        y = geometry.project(ahead, x, Norm.L2, args.eps)
    with torch.no_grad():
        features = detector.features(closest, args.match)  # type: ignore[operator]
    return closest, torch.stack(curve), features, target


def _start(kind: str, data: Track) -> Tensor:
    """(1, C, H, W) one starting image."""
    channels, height, width = data.card.shape
    if kind.startswith("set:"):
        return data.set(kind.removeprefix("set:")).limited(1).pixels()
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    if kind.startswith("board-") and kind.removeprefix("board-").isdecimal():
        cells = max(1, int(kind.removeprefix("board-")))
        image = ((rows * cells // height + columns * cells // width) % 2).astype(np.float32)
        return torch.from_numpy(image).expand(1, channels, height, width).contiguous()
    if kind == "spiral":
        y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
        turn = np.arctan2(y, x) + 2 * np.pi * np.hypot(x, y) / 8
        phases = 2 * np.pi * np.arange(channels) / 3  # three colours, a third of a turn apart
        image = (0.5 + 0.5 * np.sin(turn + phases[:, None, None])).astype(np.float32)
        return torch.from_numpy(image)[None]
    if kind == "noise":
        return torch.from_numpy(np.random.default_rng(0).random((1, channels, height, width), dtype=np.float32))
    raise UsageError(f"start '{kind[:60]}' is not known; allowed are board-N, spiral, noise and set:NAME.")
