"""MSP, energy, OE and GAT against their formulas, written out in float64."""

import math

import pytest
import torch

from bench.detectors.energy import Energy
from bench.detectors.gat import GAT
from bench.detectors.msp import MSP, log_odds, log_odds_of_each
from bench.detectors.oe import OE
from bench.errors import UsageError

LOGITS = 4.0 * torch.randn(50, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def top_probability(row: list[float]) -> float:
    return max(math.exp(z) for z in row) / sum(math.exp(z) for z in row)


def detector(method, **params):
    return method(None, shape=(1, 8, 8), classes=7, params=method.Params(**params))


def assert_close(given, expected):
    torch.testing.assert_close(given, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_msp_is_the_log_odds_of_the_top_class():
    expected = [math.log(p / (1 - p)) for p in map(top_probability, LOGITS.tolist())]
    torch.testing.assert_close(detector(MSP).score_logits(LOGITS), torch.tensor(expected).double(), rtol=1e-6, atol=0)


def test_msp_as_a_probability_is_the_largest_softmax_output():
    expected = [top_probability(row) for row in LOGITS.tolist()]
    assert_close(detector(MSP, score="probability").score_logits(LOGITS), expected)


def test_msp_as_a_probability_is_directed_by_the_log_odds():
    assert torch.equal(detector(MSP, score="probability").objective_logits(LOGITS), log_odds(LOGITS))


def test_log_odds_of_two_classes_are_the_difference_of_the_logits():
    logits = torch.tensor([[3.0, 1.0], [-2.0, 5.0]])
    assert log_odds(logits).tolist() == [2.0, 7.0]


def test_log_odds_do_not_saturate_where_the_probability_does():
    logits = torch.tensor([[100.0, 0.0, 0.0], [120.0, 0.0, 0.0]])
    assert detector(MSP, score="probability").score_logits(logits).tolist() == [1.0, 1.0]
    torch.testing.assert_close(log_odds(logits), torch.tensor([100.0, 120.0]) - math.log(2))


def test_the_gradient_of_the_log_odds_is_finite_where_logits_tie():
    logits = torch.zeros(1, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(log_odds(logits).sum(), logits)
    assert sorted(gradient[0].tolist()) == pytest.approx([-1 / 3, -1 / 3, -1 / 3, 1.0])


def test_the_log_odds_of_each_class_are_those_of_its_probability_and_the_largest_is_the_score():
    softmax = [[math.exp(z) / sum(map(math.exp, row)) for z in row] for row in LOGITS.tolist()]
    expected = [[math.log(p / (1 - p)) for p in row] for row in softmax]
    torch.testing.assert_close(log_odds_of_each(LOGITS), torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)
    assert torch.equal(log_odds_of_each(LOGITS).amax(dim=1), log_odds(LOGITS))


def test_the_log_odds_of_each_class_and_their_gradients_are_finite_where_the_top_class_is_certain_or_ties():
    logits = torch.tensor([[200.0, 0.0, -50.0], [3.0, 3.0, -200.0], [0.0, 0.0, 0.0]], requires_grad=True)
    each = log_odds_of_each(logits)
    (gradient,) = torch.autograd.grad(each.sum(), logits)
    assert each.isfinite().all()
    assert gradient.isfinite().all()
    torch.testing.assert_close(each[0], torch.tensor([200.0, -200.0, -250.0]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_energy_is_the_scaled_log_of_the_sum_of_exponentials(temperature):
    expected = [temperature * math.log(sum(math.exp(z / temperature) for z in row)) for row in LOGITS.tolist()]
    assert_close(detector(Energy, temperature=temperature).score_logits(LOGITS), expected)


def test_energy_of_large_logits_is_finite():
    assert detector(Energy).score_logits(torch.tensor([[1e4, 0.0]])).tolist() == [1e4]


def divergence_from_uniform(row: list[float]) -> float:
    total = sum(math.exp(z) for z in row)
    return -sum(math.log(math.exp(z) / total) for z in row) / len(row) - math.log(len(row))


def test_oe_is_the_cross_entropy_from_the_uniform_distribution_above_its_floor():
    assert_close(detector(OE).score_logits(LOGITS), [divergence_from_uniform(row) for row in LOGITS.tolist()])


def test_oe_is_lowest_at_equal_logits_and_finite_at_large_ones():
    assert detector(OE).score_logits(torch.full((1, 7), 3.0)).item() == 0.0
    assert detector(OE).score_logits(torch.tensor([[1e4, 0.0]])).item() == pytest.approx(5e3 - math.log(2))


def test_oe_tells_nearly_uniform_outputs_apart_in_single_precision():
    single = (1e-3 * LOGITS).float()
    scores = detector(OE).score_logits(single)
    expected = [torch.logsumexp(row, 0) - row.mean() - math.log(7) for row in single.double()]
    torch.testing.assert_close(scores.double(), torch.stack(expected), rtol=1e-3, atol=0)
    assert len(set(scores.tolist())) == len(scores)


@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0])
def test_the_gradient_of_oe_is_the_softmax_less_the_uniform_distribution(size: float) -> None:
    logits = (size * LOGITS).float().requires_grad_()
    (gradient,) = torch.autograd.grad(detector(OE).score_logits(logits).sum(), logits)
    expected = logits.detach().double().softmax(dim=1) - 1 / 7
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-7)


def test_the_msp_variant_of_oe_is_the_score_of_msp():
    assert torch.equal(detector(OE, score="msp").score_logits(LOGITS), detector(MSP).score_logits(LOGITS))


def test_gat_is_the_logit_itself():
    assert detector(GAT).score_logits(torch.tensor([[1.5], [-2.0]])).tolist() == [1.5, -2.0]


def test_score_and_objective_take_one_pass(make_detector, images):
    for method, params in [(MSP, {"score": "probability"}), (Energy, {})]:
        made = make_detector(method, **params)
        passes = []
        made.network.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        score, objective = made.score_and_objective(images)
        assert len(passes) == 1
        assert torch.equal(score, made.score(images).detach())
        assert torch.equal(objective, made.objective(images))


def test_a_detector_without_its_network_says_so(images):
    with pytest.raises(UsageError, match="MSP needs a network"):
        detector(MSP).score(images)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        Energy.Params(temperature=temperature)
