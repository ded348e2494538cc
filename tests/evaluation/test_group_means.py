"""Means of groups of OOD sets: over those that count, or over all where none does, and beside the main mean."""

import numpy as np
import pytest

from bench import metrics
from bench.cards.track import SetKind, TrackCard
from bench.evaluation.figures import OodScores, SetScores, group_means, mean_metrics, set_metrics
from bench.evaluation.keys import track_hash
from bench.evaluation.targets import Targets
from bench.evaluation.thresholds import Thresholds

RNG = np.random.default_rng(0)
NOTHING = Targets(None, None)


def side(shift: float, counts: bool) -> OodScores:
    clean = RNG.normal(-shift, size=50).astype(np.float32)
    return OodScores(clean, clean + np.float32(0.5), predicted=np.full(50, -1), counts=counts)


TEST = SetScores(*[RNG.normal(size=80).astype(np.float32)] * 2)
SIDES = {"a": side(1, True), "b": side(2, True), "c": side(3, False), "d": side(4, False)}


@pytest.fixture(scope="module")
def figures():
    from bench.cards.detector import ThresholdSpec

    thresholds = Thresholds.of(ThresholdSpec(), TEST.clean, np.full(80, -1), label="toy")
    return {
        name: set_metrics(TEST, one, targets=NOTHING, thresholds=thresholds, eps=None, name="toy")
        for name, one in SIDES.items()
    }


def means(figures, **groups):
    return group_means(groups, TEST, SIDES, figures, targets=NOTHING, name="toy")


def test_a_group_is_the_mean_of_its_sets_that_count(figures):
    found = means(figures, near=["a", "c"], far=["b"], both=["a", "b"])
    assert found["near"].sets == ("a",) and found["near"].auroc == pytest.approx(figures["a"].auroc)
    assert found["far"].clean_auroc == pytest.approx(figures["b"].clean_auroc)
    assert found["both"].auroc == pytest.approx((figures["a"].auroc + figures["b"].auroc) / 2)
    again = metrics.mean_over_sets(TEST.attacked, [SIDES["a"].attacked, SIDES["b"].attacked], name="toy")
    assert (found["both"].se, found["both"].low) == (again.se, again.low)


def test_a_group_of_which_no_set_counts_is_the_mean_of_all_of_it(figures):
    found = means(figures, noise=["c", "d"])["noise"]
    assert found.sets == ("c", "d")
    assert found.fpr95 == pytest.approx((figures["c"].fpr95 + figures["d"].fpr95) / 2)


def test_the_main_mean_knows_no_groups(figures):
    main = mean_metrics(TEST, SIDES, figures, targets=NOTHING, name="toy")
    assert main.sets == ("a", "b") and main == means(figures, every=list(SIDES))["every"]


NOISE = {"source": "uniform", "args": {"count": 4, "seed": 1, "shape": [3, 8, 8]}}


def card(**ood: dict[str, object]) -> TrackCard:
    return TrackCard.model_validate(
        {
            "name": "toy", "summary": "s", "shape": [3, 8, 8], "classes": 2, "train": NOISE, "calibration": NOISE,
            "test": NOISE, "ood": {name: NOISE | more for name, more in ood.items()},
        }
    )  # fmt: skip


def test_a_group_is_part_of_a_tracks_hash_and_its_absence_is_not():
    assert track_hash(card(a={})) == track_hash(card(a={"group": None}))
    assert track_hash(card(a={})) != track_hash(card(a={"group": "near"}))
    assert "group" not in card(a={}).ood["a"].model_dump()


def test_groups_are_read_from_the_sets_of_a_run_in_the_cards_order():
    from bench.datasets.track import Track
    from bench.evaluation.images import Images

    whole = card(a={"group": "near"}, b={}, c={"group": "far", "kind": SetKind.SYNTHETIC}, d={"group": "near"})
    images = Images.of(Track(whole), None)
    assert images.groups() == {"near": ["a", "d"], "far": ["c"]}
    part = whole.model_copy(update={"ood": {name: whole.ood[name] for name in ("b", "d")}})
    assert Images.of(Track(whole), None, part).groups() == {"near": ["d"]}
