"""The side `between`: straight ways from ID image to ID image of another class, and what the detector says of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import metrics
from bench.detectors.base import Detector
from bench.errors import CellError, DataError
from bench.evaluation.images import TEST, Images
from bench.evaluation.plan import PlannedCell
from bench.evaluation.results import BetweenMetrics, Cell
from bench.evaluation.scoring import Draws, class_logits, classes_of, device_of, score_images
from bench.evaluation.thresholds import Thresholds
from bench.metrics.paths import path_figures
from bench.metrics.scores import Scores, as_scores
from bench.randomness import derive_seed
from bench.threat_models.base import Acceptance
from bench.threat_models.interpolation import BetweenParams

_ENDS = 2000
"""Ends are drawn from at most so many images, so that their pairs can be listed."""

_HELD_BYTES = 64 * 2**20
"""Paths are scored together as long as their images stay within this size."""

MIDDLE = 0.5


@dataclass(frozen=True)
class Walked:
    """What came of a cell of the side `between`.

    Attributes:
        figures: Over all paths.
        paths: One row a path: ids and labels of its ends, their scores, the least score and where it is, the
            mid-point's score, the share of points that are accepted, and whether all are.
    """

    figures: BetweenMetrics
    paths: pd.DataFrame


def walk_between(planned: PlannedCell, detector: Detector, images: Images, clean: Cell) -> Walked:
    """Walk between accepted, correctly classified ID test images of different classes.

    "Conditional generative models are not robust" (2020), section 4.4: z(alpha) = alpha x_1 + (1 - alpha) x_0 at evenly
    spaced alphas from 0 to 1. The mid-point's AUROC is against all clean ID test images. Of a detector without classes,
    the ends are accepted images of different labels.

    Args:
        planned: The cell; its params are those of `Between`.
        detector: On the device on which to compute.
        images: The track's sets.
        clean: The clean cell of the same detector, track and limit.

    Raises:
        CellError: There are no two such images, or a score is not finite.
        DataError: The test set has no labels.
    """
    params = BetweenParams.model_validate(planned.params)
    thresholds = Thresholds.read(planned.detector.thresholds, clean.meta.thresholds)
    acceptance = Acceptance(thresholds.overall, thresholds.by_class)
    test = clean.samples[clean.samples["set"] == TEST]
    ends = _pairs(test, acceptance, params.pairs, planned)
    alphas = np.linspace(0.0, 1.0, params.points)
    walk = _Walk(planned, detector, images, acceptance)
    parts = [walk.along(chunk, np.append(alphas, MIDDLE)) for chunk in walk.chunks(ends, params.points + 1)]
    points = _Points.joined(parts)
    way, middle = points.part(slice(0, -1)), points.scores[:, -1]
    curves = path_figures(
        way.scores,
        way.thresholds,
        confidence_from=way.confidence_from,
        confidence_to=way.confidence_to,
        name=planned.label,
    )
    auroc = metrics.delong(as_scores(test["clean_score"].to_numpy()), middle, name=planned.label)
    figures = BetweenMetrics(
        paths=len(ends),
        alphas=_tuple(alphas),
        score=_tuple(curves.score),
        accepted=_tuple(curves.accepted),
        confidence_from=_tuple(curves.confidence_from),
        confidence_to=_tuple(curves.confidence_to),
        accepted_throughout=curves.accepted_throughout,
        midpoint_auroc=auroc.auroc,
        midpoint_se=auroc.se,
        midpoint_low=auroc.low,
        midpoint_high=auroc.high,
    )
    return Walked(figures, _table(test, ends, alphas, way, middle))


def _pairs(test: pd.DataFrame, acceptance: Acceptance, most: int, planned: PlannedCell) -> NDArray[np.int64]:
    """(P, 2) positions in the test set, distinct pairs of usable images of different labels, drawn by the seed."""
    labels, predicted = test["label"].to_numpy(np.int64), test["predicted"].to_numpy(np.int64)
    if (labels < 0).all():
        raise DataError(
            f"{planned.label}: the set 'test' has no labels, so which images are of different classes is not known; "
            "give it labels (a folder of class folders has them), or take another --side."
        )
    scores = torch.from_numpy(as_scores(test["clean_score"].to_numpy()).copy())
    limits = acceptance.of(torch.from_numpy(predicted.copy()), scores.dtype).numpy()
    right = (predicted == labels) | (predicted < 0)
    usable = np.flatnonzero((scores.numpy() >= limits) & right & (labels >= 0))
    rng = np.random.default_rng(derive_seed("between", planned.ingredients.seed))
    drawn = rng.permutation(usable)[:_ENDS]
    first, second = np.triu_indices(len(drawn), k=1)
    apart = np.flatnonzero(labels[drawn[first]] != labels[drawn[second]])
    if len(apart) == 0:
        raise CellError(
            f"{planned.label}: no two images of different classes are accepted and correctly classified, so there is "
            "no path to walk; raise --limit, or choose a detector that classifies better."
        )
    chosen = rng.choice(apart, size=min(most, len(apart)), replace=False)
    return np.stack([drawn[first[chosen]], drawn[second[chosen]]], axis=1)


@dataclass(frozen=True)
class _Points:
    """(P, A) numbers of images on P paths; None where the detector has no classes."""

    scores: Scores
    thresholds: Scores
    confidence_from: Scores | None
    confidence_to: Scores | None

    @classmethod
    def joined(cls, parts: list["_Points"]) -> "_Points":
        columns: dict[str, Any] = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
        joined: dict[str, Any] = {n: None if had[0] is None else np.concatenate(had) for n, had in columns.items()}
        return cls(**joined)

    def part(self, columns: slice) -> "_Points":
        chosen: dict[str, Any] = {name: had if had is None else had[:, columns] for name, had in vars(self).items()}
        return _Points(**chosen)


@dataclass(frozen=True)
class _Walk:
    planned: PlannedCell
    detector: Detector
    images: Images
    acceptance: Acceptance

    def chunks(self, ends: NDArray[np.int64], points: int) -> list[NDArray[np.int64]]:
        """The paths, so many at a time as memory allows."""
        size = max(1, _HELD_BYTES // (4 * points * self.images.test.images[0].numel()))
        return [ends[start : start + size] for start in range(0, len(ends), size)]

    def along(self, ends: NDArray[np.int64], alphas: NDArray[np.float64]) -> _Points:
        """Ask the detector of every image on these paths."""
        test, ingredients = self.images.test, self.planned.ingredients
        count, device = len(alphas), device_of(self.detector)
        first, second = (test.pixels(torch.from_numpy(ends[:, side])).to(device) for side in (0, 1))
        points = points_between(first, second, torch.from_numpy(alphas).to(first)).flatten(0, 1)
        ids = test.ids[torch.from_numpy(ends[:, 0])].repeat_interleave(count)
        shape = (len(ends), count)
        draws = Draws(ids, ingredients.seed)
        scores = score_images(self.detector, points, ingredients.micro_batch, draws).reshape(shape)
        logits = class_logits(self.detector, points, ingredients.micro_batch)
        if logits is None:
            overall = np.full(shape, self.acceptance.overall, dtype=scores.dtype)
            return _Points(scores, overall, None, None)
        limits = (
            self.acceptance.of(torch.from_numpy(classes_of(logits)), torch.from_numpy(scores).dtype)
            .numpy()
            .reshape(shape)
        )
        probabilities = torch.from_numpy(logits).softmax(dim=1).reshape(*shape, -1)
        confidence = [
            probabilities[torch.arange(len(ends)), :, test.labels[torch.from_numpy(ends[:, side])]].numpy()
            for side in (0, 1)
        ]
        return _Points(scores, limits, confidence[0], confidence[1])


def points_between(first: Tensor, second: Tensor, alphas: Tensor) -> Tensor:
    """(P, A, C, H, W) the images alpha * second + (1 - alpha) * first; at 0 and 1 they are the ends, bit for bit.

    Args:
        first: (P, C, H, W) in [0, 1].
        second: (P, C, H, W) in [0, 1].
        alphas: (A,) in [0, 1].
    """
    weights = alphas.view(1, -1, *(1,) * (first.ndim - 1))
    return torch.lerp(first[:, None], second[:, None], weights).clamp_(0.0, 1.0)


def _table(
    test: pd.DataFrame, ends: NDArray[np.int64], alphas: NDArray[np.float64], way: _Points, middle: Scores
) -> pd.DataFrame:
    ids, labels = test["id"].to_numpy(np.int64), test["label"].to_numpy(np.int64)
    accepted = way.scores >= way.thresholds
    return pd.DataFrame(
        {
            "id_from": ids[ends[:, 0]],
            "id_to": ids[ends[:, 1]],
            "label_from": labels[ends[:, 0]],
            "label_to": labels[ends[:, 1]],
            "score_from": way.scores[:, 0],
            "score_to": way.scores[:, -1],
            "least_score": way.scores.min(axis=1),
            "least_alpha": alphas[way.scores.argmin(axis=1)],
            "middle_score": middle,
            "accepted": accepted.mean(axis=1),
            "accepted_throughout": accepted.all(axis=1),
        }
    )


def _tuple(values: NDArray[np.float64] | None) -> tuple[float, ...]:
    return () if values is None else tuple(values.tolist())
