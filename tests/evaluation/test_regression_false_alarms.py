"""How often the regression check speaks up where nothing changed: scores re-drawn, and seeds of an attack varied."""

import numpy as np
import pytest

from bench.leaderboards.baseline import Samples, estimate
from bench.leaderboards.recording import record, recorded_cells
from bench.leaderboards.regression import compare

REPEATS, MOST = 200, 10  # at alpha 0.01 two alarms are expected, and more than ten come once in 100,000 times
SEEDS, EPS = range(6), "2,4"
SETS = ("test", "near", "far")


def with_scores(cell, scores, ids=None):
    """The same cell with other scores, as a baseline would hold it."""
    value, se = estimate(cell.figure, scores)
    samples = {name: Samples.of(part, ids or cell.samples[name].ids_sha256) for name, part in scores.items()}
    return cell.model_copy(update={"value": value, "se": se, "samples": samples})


def alarms(draw, tolerance=0.0):
    """How many of the repeats fail, with no tolerance, so that the tests alone decide."""
    found = 0
    for repeat in range(REPEATS):
        before, now = draw(np.random.default_rng(repeat))
        result = compare(before, {cell.identity: cell for cell in now}, tolerance=tolerance, alpha=0.01)
        found += any(cell.verdict not in ("unchanged", "missing") for cell in result.cells)
    return found


@pytest.fixture
def stored(cells):
    """What a baseline holds of a clean cell and of attacks at two radii."""
    return record(cells("net", "noise", EPS)).cells


def test_images_drawn_again_raise_no_more_alarms_than_were_asked_for(stored):
    def drawn(rng, side):
        found = []
        for cell in stored:
            scores = {name: rng.choice(part, len(part)) for name, part in cell.scores().items()}
            found.append(with_scores(cell, scores, side))
        return found

    assert alarms(lambda rng: (drawn(rng, "a" * 64), drawn(rng, "b" * 64))) <= MOST


def test_other_seeds_of_the_attack_raise_no_more_alarms_than_were_asked_for(cells):
    by_seed = [recorded_cells(cell) for seed in SEEDS for cell in cells("net", "noise", EPS, seed=seed)[1:]]
    attacks = [[found for (found,) in by_seed if found.identity.eps == eps] for eps in map(float, EPS.split(","))]
    assert all(len({found.value for found in several}) > 1 for several in attacks)
    scores = [{name: np.stack([one.scores()[name] for one in several]) for name in SETS} for several in attacks]

    def drawn(rng):
        """Each image's score by a seed of its own."""
        chosen = [{name: rng.permuted(part, axis=0)[0] for name, part in by_set.items()} for by_set in scores]
        return [with_scores(several[0], own) for several, own in zip(attacks, chosen, strict=True)]

    assert alarms(lambda rng: (drawn(rng), drawn(rng))) <= MOST


def test_a_real_loss_is_seen_in_every_repeat(stored):
    def drawn(rng, loss):
        found = []
        for cell in stored:
            spread = np.std(cell.scores()["test"])
            moved = {
                name: part + (name != "test") * loss * spread * rng.random(len(part)).astype(np.float32)
                for name, part in cell.scores().items()
            }
            found.append(with_scores(cell, moved))
        return found

    assert alarms(lambda rng: (drawn(rng, 0.0), drawn(rng, 5.0)), tolerance=0.005) == REPEATS
