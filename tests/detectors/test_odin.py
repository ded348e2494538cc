"""ODIN against the paper's equations, and its gradient against finite differences at the preprocessed point."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.detectors.odin import ODIN, unsaturated_confidence


def paper_probability(row, temperature):
    top = max(row)
    return 1.0 / sum(math.exp((z - top) / temperature) for z in row)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0, 1000.0, 1e6])
def test_the_score_is_the_papers_probability_on_another_scale(temperature):
    logits = 4.0 * torch.randn(50, 7, dtype=torch.float64)
    given_scores = unsaturated_confidence(logits, temperature)
    for row, score in zip(logits.tolist(), given_scores.tolist(), strict=True):
        # p = 1 / (1 + (K - 1) exp(-score / T))
        assert 1 / (1 + 6 * math.exp(-score / temperature)) == pytest.approx(
            paper_probability(row, temperature), rel=1e-9
        )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-20, 20), min_size=3, max_size=3),
    st.lists(st.floats(-20, 20), min_size=3, max_size=3),
    st.sampled_from([1.0, 5.0, 50.0]),
)
def test_the_score_ranks_as_the_papers_probability(first, second, temperature):
    scores = unsaturated_confidence(torch.tensor([first, second], dtype=torch.float64), temperature)
    p, q = paper_probability(first, temperature), paper_probability(second, temperature)
    if abs(p - q) > 1e-9:
        assert (p > q) == bool(scores[0] > scores[1])


@pytest.mark.parametrize("temperature", [0.1, 1.0, 1000.0])
def test_the_score_in_float32_agrees_with_float64(temperature):
    logits = 10.0 * torch.randn(200, 10, dtype=torch.float64)
    exact = unsaturated_confidence(logits.float().double(), temperature)
    error = (unsaturated_confidence(logits.float(), temperature) - exact).abs() / exact.abs().clamp_min(1e-2)
    assert error.max() < 1e-5  # a few roundings of float32


def test_at_high_temperature_the_score_is_the_top_logit_above_the_mean_of_the_others():
    logits = torch.tensor([[5.0, 1.0, 0.0, 2.0]], dtype=torch.float64)
    assert unsaturated_confidence(logits, 1e9).item() == pytest.approx(5.0 - 1.0, abs=1e-6)


def test_preprocessing_moves_against_the_gradient_of_the_papers_loss(make_detector, images):
    detector = make_detector(ODIN, temperature=1000.0, magnitude=0.01).double()
    x = images.double().requires_grad_(True)
    log_softmax = torch.log_softmax(detector.network(x) / 1000.0, dim=1).amax(dim=1)
    (gradient,) = torch.autograd.grad(-log_softmax.sum(), x)
    torch.testing.assert_close(detector.preprocess(x), x - 0.01 * gradient.sign())


def test_the_step_raises_the_confidence(make_detector, images):
    detector = make_detector(ODIN, magnitude=0.001).double()
    with torch.no_grad():
        assert bool((detector.score(images.double()) > detector.confidence(images.double())).all())


def test_without_magnitude_there_is_no_step(make_detector, images):
    detector = make_detector(ODIN, magnitude=0.0)
    assert torch.equal(detector.score(images), detector.confidence(images))


def test_the_gradient_is_that_of_finite_differences_with_the_step_held_constant(make_detector, images):
    detector = make_detector(ODIN, magnitude=0.05).double()
    x = images.double()
    step = (detector.preprocess(x) - x).detach()
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(detector.score(leaf).sum(), leaf)
    direction = torch.randn_like(x)
    with torch.no_grad():
        up, down = detector.confidence(x + step + 1e-6 * direction), detector.confidence(x + step - 1e-6 * direction)
    expected = (gradient * direction).flatten(1).sum(dim=1)
    torch.testing.assert_close((up - down) / 2e-6, expected, rtol=1e-5, atol=1e-8)


def test_on_a_linear_network_the_gain_of_the_step_is_its_closed_form(make_detector, linear_network, images):
    detector = make_detector(ODIN, network=linear_network, temperature=1e9, magnitude=0.01).double()
    x = images.double()
    weight = detector.network.network.linear.weight
    with torch.no_grad():
        top = detector.network(x).argmax(dim=1)
        difference = torch.stack([weight[k] - (weight.sum(0) - weight[k]) / 2 for k in top])  # 3 classes: 2 others
        expected = detector.confidence(x) + 0.01 * difference.abs().sum(dim=1)
        torch.testing.assert_close(detector.score(x), expected, rtol=1e-6, atol=1e-6)


def test_nothing_is_clamped_after_the_step(make_detector):
    detector = make_detector(ODIN, magnitude=0.1)
    moved = detector.preprocess(torch.ones(4, 1, 8, 8))
    assert moved.max() > 1.0
