"""Nobody who attacks, chooses a threshold or a guide learns from ID test images.

The sets are exchanged one at a time. What comes out the same has not seen the set; what changes has.
"""

import numpy as np
import pytest
import torch
import yaml

from bench.cards.catalog import Catalog, Kind
from bench.cards.code.methods import import_method
from bench.cards.threat import Goal, Loss, Norm, Side
from bench.datasets.track import Track
from bench.detectors.loading import load_detector
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.images import Images
from bench.evaluation.orders import Order, context_of
from bench.evaluation.plan import plan
from bench.evaluation.results import Cell
from bench.evaluation.store import MemoryStore
from bench.evaluation.targets import Targets
from bench.threat_models.feature_matching import FeatureMatching

LED = {
    "feature-matching-l2",
    "feature-matching-linf",
    "matching-l2",
    "matching-linf",
    "interpolation-l2",
    "interpolation-linf",
}
"""The built-in threats on the score that are led by ID images."""

TO_A_THRESHOLD = {"ddn-l2", "fmn-linf", "sigma-zero"}
"""Those that end where the detector's threshold is, which comes from calibration images."""

SHORT = {
    "steps": 3, "restarts": 2, "points": 2, "nearest": 2, "drawn": 2, "queries": 12, "rounds": 2, "starts": 40,
    "guides_per_image": 2, "max_iterations": 8, "binary_search_steps": 2, "probes": 4,
    "longer": 1, "draws": 2, "pairs": 2,
}  # fmt: skip
BUILT_IN = Catalog(None)
THREATS = [BUILT_IN.threat(name) for name in BUILT_IN.names(Kind.THREAT)]
# A transfer attack needs other detectors of its track: those of the tiny one are in a card of its own.
ON_SCORES = [card.name for card in THREATS if card.method and Side.EVADE in card.sides and card.source is None]
ON_SCORES += ["transferred"]
ON_DECISIONS = [
    card.name for card in THREATS if card.method and Side.FOOL in card.sides and Side.EVADE not in card.sides
]


@pytest.fixture
def exchanged(write_world):
    """Runs cells of the tiny track with other images in one of its sets; early stops, which may not, change nothing."""

    def run(
        threat: str,
        *,
        other: tuple[str, ...] = (),
        detector: str = "halves",
        side: str = "evade",
        limit: int = 20,
        more: dict[str, object] | None = None,
    ) -> list[Cell]:
        catalog = Catalog(write_world())
        if other:
            path = catalog.workspace / "datasets/tiny.yaml"
            track = yaml.safe_load(path.read_text())
            for name in other:
                (track["ood"] if name in track["ood"] else track)[name]["args"]["seed"] = 77
            path.write_text(yaml.safe_dump(track, sort_keys=False))
            catalog = Catalog(catalog.workspace)
        card = catalog.threat(threat)
        overrides = {name: value for name, value in SHORT.items() if name in card.params}
        eps = None if card.min_norm or card.norm is None else [card.eps[0]]
        cells, store = [], MemoryStore()
        planned = plan(
            catalog, [detector], [threat], eps, ["tiny"], side=side, early_stop=False, micro_batch=32, limit=limit,
            overrides={**overrides, **(more or {})},
        )  # fmt: skip
        for outcome in run_plan(planned, store, catalog):
            assert isinstance(outcome, CellDone), outcome.sentence
            cells.append(store.get(outcome.planned.key))
        return cells

    return run


def attacked(cells: list[Cell]) -> np.ndarray:
    """Scores of the OOD sets after the attack."""
    samples = cells[-1].samples
    return samples.loc[~samples["set"].isin(["test", "calibration"]), "score"].to_numpy()


@pytest.mark.parametrize("threat", ON_SCORES)
def test_an_attack_on_the_score_of_ood_images_learns_nothing_from_test_images(threat, exchanged):
    usual, other = attacked(exchanged(threat)), attacked(exchanged(threat, other=("test", "train")))
    # The way to a threshold is told in units of the clean ID scores' spread, which rounds in another way.
    assert np.array_equal(usual, other) or (threat in TO_A_THRESHOLD and np.allclose(usual, other, rtol=0, atol=1e-5))
    assert np.array_equal(usual, attacked(exchanged(threat, other=("calibration",)))) != (
        threat in LED | TO_A_THRESHOLD
    )


def test_an_attack_that_asks_for_test_images_is_seen_to_learn_from_them(exchanged):
    """The positive control of the test above."""
    guides = {"guides": "test"}
    usual = attacked(exchanged("feature-matching-l2", more=guides))
    assert not np.array_equal(usual, attacked(exchanged("feature-matching-l2", other=("test",), more=guides)))
    assert np.array_equal(usual, attacked(exchanged("feature-matching-l2", other=("calibration",), more=guides)))


@pytest.mark.parametrize("threat", ON_DECISIONS)
def test_an_attack_on_the_decision_of_one_image_learns_nothing_from_the_others(threat, exchanged):
    few, many = (exchanged(threat, side="fool", limit=limit)[-1].samples.set_index("id") for limit in (6, 20))
    chosen = few.index[few["set"] == "test"]
    assert few.loc[chosen, "status"].ne("").any()
    assert few.loc[chosen, "score"].equals(many.loc[chosen, "score"])


@pytest.mark.parametrize("detector", ["halves", "train-by-class", "bright"])
def test_thresholds_and_percentiles_come_from_the_set_that_the_card_names_alone(detector, exchanged):
    source = "calibration" if detector == "halves" else "train"
    found = {}
    for other in ((), ("test", "near"), ("calibration",), ("train",)):
        [clean] = exchanged("clean", detector=detector, other=other)
        found[other] = clean.meta.thresholds, [r.thresholds for r in clean.meta.rejection]
    assert {other for other, value in found.items() if value != found[()]} == {(source,)}


def test_no_built_in_threat_reads_test_images():
    for card in THREATS:
        if card.method is not None:
            kind = import_method(card.method)
            assert not kind(kind.Params.model_validate(card.params)).reads_test, card.name


@pytest.mark.parametrize("guides", ["calibration", "test"])
@pytest.mark.parametrize("side", ["evade", "alarm", "fool"])
def test_the_pool_of_every_side_is_the_calibration_set_with_its_labels(guides, side, catalog):
    images = Images.of(Track(catalog.track("tiny"), workspace=catalog.workspace), 20)
    threat = FeatureMatching(FeatureMatching.Params(guides=guides))
    [planned, *_] = plan(catalog, ["halves"], ["pgd"], "0.3", ["tiny"], micro_batch=32)
    detector = load_detector(planned.detector, planned.track, catalog)
    order = Order(planned, detector, threat, images, {}, {}, Targets(None, None), lambda share, auroc: None)
    context = context_of(order, ["test"], Side(side), None)
    expected = images.test if guides == "test" else images.calibration
    assert torch.equal(context.pool, expected.pixels())
    assert torch.equal(context.pool_labels, expected.labels)


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("loss", [None, *Loss])
def test_an_attacker_of_decisions_is_told_goal_and_loss_of_the_run(goal, loss, catalog):
    images = Images.of(Track(catalog.track("tiny"), workspace=catalog.workspace), 20)
    planned = plan(
        catalog, ["halves"], ["fooling"], "0.3", ["tiny"], side="fool", goal=goal, loss=loss, micro_batch=1, seed=5
    )[-1]
    detector = load_detector(planned.detector, planned.track, catalog)
    order = Order(planned, detector, FeatureMatching(), images, {}, {}, Targets(None, None), lambda share, auroc: None)
    context = context_of(order, ["test"], Side.FOOL, None)
    usual = Loss.JOINT if goal is Goal.ACCEPT else Loss.MARGIN
    assert (context.goal, context.loss, context.seed, context.micro_batch) == (goal, loss or usual, 5, 1)
    assert torch.equal(context.labels, images.test.labels)


def test_distances_and_pool_of_a_cell_are_those_of_calibration_images(catalog):
    images = Images.of(Track(catalog.track("tiny"), workspace=catalog.workspace), 20)
    calibration, near = images.calibration.pixels(), images.ood["near"].pixels()
    assert torch.equal(images.pool(), calibration)
    expected = torch.cdist(near.flatten(1), calibration.flatten(1)).amin(dim=1)
    assert images.distances("near", Norm.L2) == pytest.approx(expected.numpy(), rel=1e-5)
