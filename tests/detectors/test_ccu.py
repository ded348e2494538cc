"""CCU against its definition in loops, and its certificate against points and attacks in the ball."""

import math

import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.ccu import CCU, IsotropicMixture
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase
from bench.threat_models.base import Context
from bench.threat_models.geometry import uniform_in_ball

CLASSES = 3


def set_mixture(mixture: IsotropicMixture, means: Tensor, sigma: float) -> None:
    """Centres on images, with unequal weights and unequal widths about sigma."""
    count = len(means)
    with torch.no_grad():
        mixture.means.copy_(means.flatten(1))
        mixture.log_variances.copy_(2 * math.log(sigma) + torch.linspace(-0.2, 0.2, count))
        mixture.weight_logits.copy_(torch.linspace(0.0, 1.0, count))


@pytest.fixture
def ccu(make_detector, training_data):
    """Centres on a few training images and outliers."""

    def build(sigma: float = 0.3, outlier_sigma: float = 0.4, prior_ratio: float = 1.0) -> CCU:
        detector = make_detector(CCU, components=4, outlier_components=3, prior_ratio=prior_ratio)
        set_mixture(detector.inside, training_data.train.pixels()[:4], sigma)
        set_mixture(detector.outside, training_data.outliers.pixels()[:3], outlier_sigma)
        return detector

    return build


@pytest.fixture
def mixed(training_data) -> Tensor:
    """(20, 1, 8, 8): calibration images, outliers, and points between them."""
    inside, outside = training_data.calibration.pixels()[:8], training_data.outliers.pixels()[3:11]
    return torch.cat([inside, outside, 0.5 * (inside + outside)[:4]])


def naive_log_density(mixture: IsotropicMixture, image: Tensor) -> float:
    weights = torch.softmax(mixture.weight_logits.double(), dim=0).tolist()
    terms = [
        math.log(weight) + multivariate_normal.logpdf(image.double().numpy(), mean.double().numpy(), float(variance))
        for weight, mean, variance in zip(
            weights, mixture.means.detach(), mixture.log_variances.detach().double().exp(), strict=True
        )
    ]
    top = max(terms)
    return top + math.log(sum(math.exp(t - top) for t in terms))


def naive_posteriors(detector: CCU, images: Tensor, prior_ratio: float) -> Tensor:
    """p(y|x) as the paper's formula says, with densities divided by the larger one."""
    rows = []
    for image in images:
        inside = naive_log_density(detector.inside, image.flatten())
        outside = naive_log_density(detector.outside, image.flatten())
        top = max(inside, outside)
        p_in, p_out = math.exp(inside - top), prior_ratio * math.exp(outside - top)
        softmax = torch.softmax(detector.logits(image[None])[0].detach().double(), dim=0)
        rows.append((softmax * p_in + p_out / CLASSES) / (p_in + p_out))
    return torch.stack(rows)


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check, ccu, training_data):
    check(DetectorCase(ccu(), training_data.calibration.pixels()[:8], training_data.outliers.pixels()[:8]))


def test_log_densities_are_those_of_a_loop_over_components(ccu, mixed):
    mixture = ccu().inside
    expected = [naive_log_density(mixture, x.flatten()) for x in mixed]
    assert mixture(mixed.flatten(1)).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("prior_ratio", [1.0, 0.2])
def test_posteriors_are_those_of_the_papers_formula(ccu, mixed, prior_ratio):
    detector = ccu(0.5, 0.55, prior_ratio)
    log_posterior, _ = detector.log_probabilities(mixed)
    torch.testing.assert_close(log_posterior.exp(), naive_posteriors(detector, mixed, prior_ratio), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_posterior.exp().sum(dim=1), torch.ones(len(mixed), dtype=torch.float64))


def test_the_density_of_images_is_the_weighted_mean_of_both(ccu, mixed):
    detector = ccu(prior_ratio=0.25)
    _, log_density = detector.log_probabilities(mixed)
    inside, outside = detector.inside(mixed.flatten(1)), detector.outside(mixed.flatten(1))
    torch.testing.assert_close(log_density.exp(), 0.8 * inside.exp() + 0.2 * outside.exp())


def test_the_score_is_a_log_odds_between_chance_and_certainty(ccu, mixed):
    detector = ccu(0.5, 0.55)
    confidence = naive_posteriors(detector, mixed, 1.0).amax(dim=1)
    expected = ((confidence - 1 / CLASSES) / (1 - confidence)).log()
    clear = (confidence - 1 / CLASSES > 1e-6) & (1 - confidence > 1e-6)  # where the formula itself loses no digits
    assert int(clear.sum()) >= 8
    torch.testing.assert_close(detector.score(mixed).double()[clear], expected[clear], atol=1e-3, rtol=1e-3)


def test_far_from_all_data_scores_differ_where_confidences_are_all_at_chance(ccu, mixed):
    detector = ccu(0.05, 0.1)
    noise = torch.rand(len(mixed), *detector.shape)
    confidence = detector.log_probabilities(noise)[0].exp().amax(dim=1).float()
    assert len(confidence.unique()) == 1
    assert len(detector.score(noise).unique()) == len(noise)


def test_equal_logits_score_finitely_with_finite_gradients(ccu, mixed):
    detector = ccu()
    torch.nn.init.zeros_(detector.network.network.linear.weight)
    torch.nn.init.zeros_(detector.network.network.linear.bias)
    leaf = mixed.clone().requires_grad_(True)
    score = detector.score(leaf)
    (gradient,) = torch.autograd.grad(score.sum(), leaf)
    assert bool(score.isfinite().all()) and bool(gradient.isfinite().all())


def test_the_bound_is_corollary_3_1_in_a_loop(ccu, mixed):
    detector, radius = ccu(), 0.4
    expected = []
    for image in mixed.flatten(1).double():
        sides = []
        for mixture, sign in ((detector.inside, -1), (detector.outside, 1)):
            weights = torch.softmax(mixture.weight_logits.double(), dim=0)
            total = 0.0
            for weight, mean, log_variance in zip(weights, mixture.means, mixture.log_variances, strict=True):
                distance = max(float((image - mean.double()).norm()) + sign * radius, 0.0)
                variance = float(log_variance.double().exp())
                total += float(weight) * math.exp(-(distance**2) / (2 * variance)) / (2 * math.pi * variance) ** 32
            sides.append(total)
        expected.append(math.log(sides[0]) - math.log(sides[1]))
    assert detector.bound(mixed, Norm.L2, radius).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_bound_in_the_papers_unit_is_the_corollarys_confidence(ccu, mixed):
    detector = ccu(0.8, 0.9)
    b = detector.bound(mixed, Norm.L2, 0.1).double().exp()
    confidence = (1 + CLASSES * b) / (CLASSES + CLASSES * b)
    back = ((confidence - 1 / CLASSES) / (1 - confidence)).log()
    torch.testing.assert_close(back, b.log())


@pytest.mark.parametrize("eps", [0.0, 0.01, 0.2, 1.0])
def test_no_random_point_of_the_ball_scores_above_the_bound(ccu, mixed, eps):
    detector = ccu()
    bound = detector.bound(mixed, Norm.L2, eps)
    for _ in range(20):
        step = torch.randn_like(mixed)
        step *= eps / step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        assert bool((detector.score(mixed + 0.999 * step) <= bound).all())


@pytest.mark.parametrize(("norm", "eps"), [(Norm.L1, 1.5), (Norm.L0, 4.0)])
def test_no_point_of_a_sparse_ball_scores_above_the_bound(ccu, mixed, norm, eps):
    detector, ids = ccu(), torch.arange(len(mixed))
    bound = detector.bound(mixed, norm, eps)
    for draw in range(20):
        points = uniform_in_ball(mixed, norm, eps, ids=ids, draw=draw, context=Context(Side.EVADE))
        assert bool((detector.score(points) <= bound).all())


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_no_projected_ascent_in_the_ball_scores_above_the_bound(ccu, mixed, norm):
    detector, eps = ccu(), 0.3 if norm is Norm.L2 else 0.05
    bound = detector.bound(mixed, norm, eps)
    before, x = detector.score(mixed), mixed.clone()
    for _ in range(30):
        leaf = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(detector.score(leaf).sum(), leaf)
        if norm is Norm.L2:
            lengths = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            moved = x + 0.1 * gradient / lengths - mixed
            moved *= (0.999 * eps / moved.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp_max(1.0)
        else:
            moved = (x + 0.02 * gradient.sign() - mixed).clamp(-eps, eps)
        x = mixed + moved
        assert bool((detector.score(x) <= bound).all())
    assert bool((detector.score(x) > before).all())


def test_the_certificate_is_attained_by_one_pair_of_centres_and_a_sure_classifier(ccu):
    detector = ccu()
    with torch.no_grad():
        for mixture, at in ((detector.inside, 0.75), (detector.outside, 0.25)):
            mixture.means.fill_(at)
            mixture.log_variances.fill_(math.log(0.1))
        detector.network.network.linear.bias.copy_(torch.tensor([200.0, 0.0, 0.0]))
    x, radius = torch.full((1, *detector.shape), 0.3), 0.8
    towards = x + radius / 8.0  # 64 pixels, each by an eighth of the radius: straight from one centre to the other
    assert float(detector.score(towards)) == pytest.approx(float(detector.bound(x, Norm.L2, radius)), rel=1e-5)


def test_the_linf_bound_is_the_l2_bound_of_the_ball_around_the_cube(ccu, mixed):
    detector = ccu()
    assert torch.equal(detector.bound(mixed, Norm.LINF, 0.05), detector.bound(mixed, Norm.L2, 0.05 * 8.0))


def test_far_away_wider_outliers_leave_chance(ccu):
    detector = ccu(0.3, 0.5)
    for distance in (10.0, 100.0):
        away = torch.full((1, *detector.shape), distance)
        assert float(detector.score(away)) < -100
        assert float(detector.log_probabilities(away)[0].exp().max()) == pytest.approx(1 / CLASSES)


def test_centres_begin_anywhere_in_the_unit_cube():
    mixture = IsotropicMixture(50, 40)
    with torch.no_grad():
        mixture.means.fill_(7.0)
    mixture.reset_parameters()
    means = mixture.means.detach()
    assert 0 <= means.min() < 0.01 and 0.99 < means.max() <= 1
    assert float(means.var()) == pytest.approx(1 / 12, rel=0.1)
