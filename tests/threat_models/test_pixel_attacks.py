"""JSMA and local search change few pixels, the ones that their papers would change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.cards.threat import Loss, Side
from bench.testing.classifiers import CLASSES, LinearClassifier
from bench.testing.closed_forms import LinearScore
from bench.testing.fool_threats import FoolSetting, fool, judged, true_labels
from bench.testing.threats import Setting, attack, images
from bench.threat_models.base import Context
from bench.threat_models.jsma import JSMA, JSMAParams, Targets, best_pair, target_gradients
from bench.threat_models.local_search import LocalSearch, LocalSearchParams, around, cyclic
from bench.threat_models.nearest import changed_pixels

PIXELS = FoolSetting(None, None)
CORRECT = torch.tensor([0, 1, 2, 3, 5, 6])


# ------------------------------------------------------------------ JSMA


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 30), st.booleans())
def test_the_best_pair_is_the_one_that_trying_all_pairs_finds(seed: int, pixels: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    towards, away = torch.randn(2, 3, pixels, generator=generator)
    if ties:
        towards, away = towards.round(), away.round()
    movable = torch.rand(3, pixels, generator=generator) < 0.8
    first, second, exists = best_pair(towards, away, movable)
    for row in range(3):
        best = 0.0
        for p in range(pixels):
            for q in range(p + 1, pixels):
                alpha = float(towards[row, p] + towards[row, q])
                beta = float(away[row, p] + away[row, q])
                if movable[row, p] and movable[row, q] and alpha > 0 > beta:
                    best = max(best, -alpha * beta)
        assert bool(exists[row]) == (best > 0)
        if best > 0:
            p, q = int(first[row]), int(second[row])
            assert p != q and movable[row, p] and movable[row, q]
            found = -float(towards[row, p] + towards[row, q]) * float(away[row, p] + away[row, q])
            assert found == pytest.approx(best, rel=1e-5)


def test_the_gradients_are_those_of_the_target_and_of_all_others_together() -> None:
    detector = LinearClassifier().eval()
    x, _ = images()
    targets = torch.arange(len(x)) % CLASSES
    towards, away = target_gradients(detector, x, targets)
    rows = detector.rows.detach()
    assert torch.allclose(towards.flatten(1), rows[targets], atol=1e-6)
    assert torch.allclose(away.flatten(1), rows.sum(dim=0) - rows[targets], atol=1e-6)


@pytest.mark.parametrize("theta", [1.0, -1.0])
def test_jsma_fools_a_linear_classifier_within_its_pixels(theta: float) -> None:
    detector = LinearClassifier()
    result = fool(JSMA(JSMAParams(theta=theta, gamma=0.5)), detector, PIXELS)
    fooled = judged(detector, result.images, PIXELS)[CORRECT] > 0
    pixels = result.figures["pixels"]
    assert fooled.float().mean() >= 0.8
    assert pixels.max() <= 18
    assert torch.equal(pixels, changed_pixels(result.images, images()[0]))


@pytest.mark.parametrize("theta", [1.0, -1.0])
def test_jsma_is_what_the_papers_algorithm_does_to_one_image(theta: float) -> None:
    detector, gamma, wall = LinearClassifier(), 0.5, max(theta, 0.0)
    x, labels = images()[0], true_labels(detector)
    result = fool(JSMA(JSMAParams(theta=theta, gamma=gamma, targets=Targets.NEXT_BEST)), detector, PIXELS)
    rows = detector.rows.detach()
    for i in CORRECT.tolist():
        y, label = x[i].flatten().clone(), int(labels[i])
        logits = rows @ y
        target = max((k for k in range(CLASSES) if k != label), key=lambda k: logits[k])
        a, b = theta * rows[target], theta * (rows.sum(dim=0) - rows[target])
        for _ in range(int(gamma * 36 / 2)):
            free = [p for p in range(36) if y[p] != wall]
            pairs = [(p, q) for p in free for q in free if p < q and a[p] + a[q] > 0 > b[p] + b[q]]
            if not pairs or int((rows @ y).argmax()) != label:
                break
            p, q = max(pairs, key=lambda pair: -float((a[pair[0]] + a[pair[1]]) * (b[pair[0]] + b[pair[1]])))
            y[p], y[q] = wall, wall
        expected = y if int((rows @ y).argmax()) != label else x[i].flatten()
        assert torch.equal(result.images[i].flatten(), expected)


def test_trying_every_target_never_takes_more_pixels_than_the_next_best_alone() -> None:
    detector = LinearClassifier()
    alone, every = (
        fool(JSMA(JSMAParams(gamma=0.5, targets=t)), detector, PIXELS) for t in (Targets.NEXT_BEST, Targets.ALL)
    )
    alone_fooled, fooled = (judged(detector, result.images, PIXELS) > 0 for result in (alone, every))
    assert (fooled | ~alone_fooled).all()
    assert (every.figures["pixels"][alone_fooled] <= alone.figures["pixels"][alone_fooled]).all()


def test_a_theta_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError, match="no pixel would change"):
        JSMAParams(theta=0)


class Ties(LinearScore):
    """Class 0 by 0.5 on a black image; every pair of pixels that turns white takes 0.5 from its lead."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = 2

    def logits(self, x):
        lit = x.flatten(1).sum(dim=1)
        return torch.stack([0.5 - 0.125 * lit, 0.125 * lit], dim=1)


def test_jsma_goes_on_where_two_classes_are_level() -> None:
    x, (_, ids) = torch.zeros(7, 1, 6, 6), images()
    context = Context(Side.FOOL, labels=torch.zeros(7, dtype=torch.int64), micro_batch=4)
    result = JSMA().run(Ties(), x, ids=ids, budget=PIXELS.budget, context=context)
    # The first pair leaves the logits equal, which is no decision for the other class; the second one decides.
    assert result.figures["pixels"].tolist() == [4.0] * 7


# ------------------------------------------------------------------ local search


@given(st.floats(0, 1, width=32), st.floats(1.0009765625, 3, width=32))
def test_a_changed_pixel_is_multiplied_and_comes_in_again_at_the_other_end(value: float, factor: float) -> None:
    grown = factor * (value - 0.5)
    if grown > 0.5:
        grown -= 1
    elif grown < -0.5:
        grown += 1
    found = float(cyclic(torch.tensor([value]), factor))
    assert 0 <= found <= 1
    # Where the product is the end of the range itself, rounding decides at which end it comes in.
    assert found == pytest.approx(grown + 0.5, abs=1e-5) or abs(abs(factor * (value - 0.5)) - 0.5) < 1e-5


def test_the_squares_around_chosen_pixels_are_looked_at_next() -> None:
    chosen = torch.zeros(1, 6, 6, dtype=torch.bool)
    chosen[0, 0, 1] = chosen[0, 4, 4] = True
    expected = [
        any(abs(r - a) <= 1 and abs(c - b) <= 1 for a, b in ((0, 1), (4, 4))) for r in range(6) for c in range(6)
    ]
    assert around(chosen, 1).flatten().tolist() == expected


def test_a_round_that_looks_at_every_pixel_changes_those_that_help_most() -> None:
    detector = LinearScore()
    x, _ = images()
    params = LocalSearchParams(rounds=1, pixels=3, first_share=1.0, probes=36)
    result = attack(LocalSearch(params), detector, Setting(None, None), side=Side.EVADE)
    gain = (cyclic(x, 1.5) - x).flatten(1) * detector.weight.detach()
    for i in range(len(x)):
        best = gain[i].topk(3).indices
        expected = x[i].flatten().clone()
        expected[best] = cyclic(x[i], 1.5).flatten()[best]
        assert torch.equal(result.images[i].flatten(), expected)
    assert result.queries.tolist() == [38] * len(x)


@pytest.mark.parametrize("loss", [Loss.CE, Loss.MARGIN])
def test_local_search_fools_a_linear_classifier_with_scores_alone(loss: Loss) -> None:
    detector = LinearClassifier()
    params = LocalSearchParams(rounds=20, pixels=2, first_share=0.5, probes=36)
    setting = FoolSetting(None, None, loss=loss)
    result = fool(LocalSearch(params), detector, setting)
    assert (judged(detector, result.images, setting)[CORRECT] > 0).float().mean() >= 0.8
    assert (result.gradients == 0).all()
    assert result.figures["pixels"].max() < 36


def test_local_search_stops_at_the_first_image_that_fools() -> None:
    detector = LinearClassifier()
    one, many = (
        fool(LocalSearch(LocalSearchParams(rounds=rounds, pixels=2, probes=36)), detector, PIXELS)
        for rounds in (10, 40)
    )
    done = judged(detector, one.images, PIXELS) > 0
    assert done.any()
    assert torch.equal(one.images[done], many.images[done])
    assert torch.equal(one.queries[done], many.queries[done])
