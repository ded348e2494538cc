"""The side `between`: which pairs are walked, and what is said of the paths."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from bench import metrics
from bench.cards.threat import Side
from bench.datasets.base import ImageSet, sample_ids
from bench.errors import CellError
from bench.evaluation.between import points_between, walk_between
from bench.testing.closed_forms import SHAPE, QuadraticScore
from bench.threat_models.base import Context


class Middling(QuadraticScore):
    """High near the middle of the cube or far from it, by sign; two classes by the first pixel."""

    def __init__(self, sign: float = 1.0, classifies: bool = True) -> None:
        super().__init__(torch.full((36,), 0.5))
        self.sign, self.classifies = sign, classifies

    def score(self, x, *, noise=None):
        return self.sign * super().score(x)

    def logits(self, x):
        first = 8.0 * (x[:, 0, 0, 0] - 0.5)
        return torch.stack([-first, first], dim=1) if self.classifies else None


def world(detector, threshold: float, *, pairs: int = 30, points: int = 9, wrong: int = 0):
    """A planned cell, images and clean cell, as far as `walk_between` looks at them; `wrong` labels are wrong."""
    images = (255 * Context(Side.BETWEEN, seed=2).uniform(torch.arange(20), 0, SHAPE)).to(torch.uint8)
    test = ImageSet("test", images, (images[:, 0, 0, 0] > 127).long(), sample_ids("test", 20), "")
    test.labels[:wrong] = 1 - test.labels[:wrong]
    pixels = test.pixels()
    logits = detector.logits(pixels)
    samples = pd.DataFrame(
        {
            "id": test.ids.numpy(),
            "set": "test",
            "label": test.labels.numpy(),
            "predicted": -1 if logits is None else logits.argmax(dim=1).numpy(),
            "clean_score": detector.score(pixels).numpy(),
        }
    )
    planned = SimpleNamespace(
        params={"pairs": pairs, "points": points},
        label="tiny",
        detector=SimpleNamespace(thresholds=SimpleNamespace(source="calibration", recall=0.95)),
        ingredients=SimpleNamespace(seed=3, micro_batch=16),
    )
    clean = SimpleNamespace(meta=SimpleNamespace(thresholds={"calibration_tpr95": threshold}), samples=samples)
    return planned, detector, SimpleNamespace(test=test), clean


def test_paths_lead_between_right_and_accepted_images_of_different_classes():
    planned, detector, images, clean = world(Middling(), -3.2, wrong=4)
    paths = walk_between(planned, detector, images, clean).paths
    samples = clean.samples.set_index("id")
    for side in ("from", "to"):
        ends = samples.loc[paths[f"id_{side}"]]
        assert (ends["clean_score"] >= -3.2).all() and (ends["predicted"] == ends["label"]).all()
        assert (ends["label"].to_numpy() == paths[f"label_{side}"].to_numpy()).all()
        assert np.allclose(ends["clean_score"], paths[f"score_{side}"], rtol=1e-5)  # sums over another batch shape
    assert (paths["label_from"] != paths["label_to"]).all()
    pairs = {frozenset(pair) for pair in zip(paths["id_from"], paths["id_to"], strict=True)}
    assert len(pairs) == len(paths) > 5


def test_no_more_paths_are_walked_than_asked_for_and_the_seed_draws_them():
    planned, *rest = world(Middling(), -9.0, pairs=7)
    first, again = (walk_between(planned, *rest).paths for _ in range(2))
    assert len(first) == 7 and first.equals(again)
    planned.ingredients.seed = 4
    assert not walk_between(planned, *rest).paths.equals(first)


def test_figures_are_those_of_every_image_on_every_path_computed_one_by_one():
    planned, detector, images, clean = world(Middling(-1.0), 1.5)
    walked = walk_between(planned, detector, images, clean)
    by_id = dict(zip(images.test.ids.tolist(), images.test.pixels(), strict=True))
    scores, confidences, middles = [], [], []
    for _, path in walked.paths.iterrows():
        a, b = by_id[path["id_from"]], by_id[path["id_to"]]
        on_path = torch.stack([alpha * b + (1 - alpha) * a for alpha in np.linspace(0, 1, 9)])
        scores.append(detector.score(on_path).tolist())
        confidences.append(detector.logits(on_path).softmax(dim=1)[:, path["label_to"]].tolist())
        middles.append(float(detector.score((0.5 * a + 0.5 * b)[None])))
    figures, table = walked.figures, np.array(scores)
    assert figures.score == pytest.approx(table.mean(axis=0), rel=1e-5)
    assert figures.confidence_to == pytest.approx(np.array(confidences).mean(axis=0), rel=1e-5)
    assert figures.accepted == pytest.approx((table >= 1.5).mean(axis=0))
    assert figures.accepted_throughout == pytest.approx((table >= 1.5).all(axis=1).mean())
    assert 0 < figures.accepted_throughout < 1
    assert figures.midpoint_auroc == pytest.approx(metrics.auroc(clean.samples["clean_score"], middles))
    assert walked.paths["least_score"].to_numpy() == pytest.approx(table.min(axis=1), rel=1e-5)


@pytest.mark.parametrize(("sign", "throughout"), [(1.0, 1.0), (-1.0, 0.0)])
def test_a_concave_score_accepts_every_path_and_a_convex_one_can_refuse_all(sign, throughout):
    detector = Middling(sign)
    planned, _, images, clean = world(detector, 0.0)
    lowest = float(clean.samples["clean_score"].min())
    clean.meta.thresholds["calibration_tpr95"] = lowest
    found = walk_between(planned, detector, images, clean).figures
    if sign > 0:
        assert found.accepted_throughout == throughout
    else:
        assert found.accepted_throughout < 1.0 and found.midpoint_auroc > 0.9


def test_a_detector_without_classes_walks_between_labels():
    planned, detector, images, clean = world(Middling(classifies=False), -9.0)
    walked = walk_between(planned, detector, images, clean)
    assert walked.figures.confidence_from == walked.figures.confidence_to == ()
    assert (walked.paths["label_from"] != walked.paths["label_to"]).all()


def test_no_usable_pair_is_one_sentence():
    with pytest.raises(CellError, match="no two images of different classes"):
        walk_between(*world(Middling(), 1e9))


def test_ends_of_a_path_are_the_images_themselves():
    first, second = torch.rand(2, 3, *SHAPE)
    points = points_between(first, second, torch.linspace(0, 1, 5))
    assert torch.equal(points[:, 0], first) and torch.equal(points[:, -1], second)
    assert torch.allclose(points[:, 2], (first + second) / 2)
