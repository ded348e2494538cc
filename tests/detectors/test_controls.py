"""The controls break exactly the checks that they are there to break, and the certificate is exact."""

import pytest
import torch

from bench.cards.threat import Norm
from bench.detectors.controls import CertifiedControl, NoisyControl, QuantisedControl, SaturatedControl
from bench.detectors.msp import MSP, log_odds
from bench.errors import UsageError
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase

SHAPE = (1, 8, 8)

BROKEN_BY_DESIGN = {
    # its gradient is zero, which no finite difference across a step of the grid confirms
    "quantised": {"check_gradient_is_the_gradient"},
    # scores are exactly 0 or 1: images are tied, and where the score is flat so is its gradient
    "saturated": {"check_scores_differ_between_images", "check_gradient_is_the_gradient"},
    "noisy": set(),
    "certified": set(),
}

MAY_BREAK = {
    # the ripple blows up the last place of float32; whether that depends on the batch is the matrix library's affair
    "noisy": {"check_scores_do_not_depend_on_batch_mates"},
}


def certified(training_data, centres: int = 6) -> CertifiedControl:
    params = CertifiedControl.Params(centres=centres)
    return CertifiedControl(None, shape=SHAPE, classes=3, params=params).eval().fit(training_data)


@pytest.fixture(params=list(BROKEN_BY_DESIGN))
def control(request, make_detector, training_data, images):
    """Name and case of a control."""
    detector = {
        "quantised": lambda: make_detector(QuantisedControl, grid=0.05),
        "saturated": lambda: make_detector(SaturatedControl, centre=-1.5, sharpness=1e4),
        "noisy": lambda: make_detector(NoisyControl),
        "certified": lambda: certified(training_data),
    }[request.param]()
    return request.param, DetectorCase(detector, images)


def test_a_control_breaks_the_checks_that_it_is_meant_to_break_and_no_others(control):
    name, case = control
    broken = set()
    for check in DETECTOR_CHECKS:
        try:
            check(case)
        except AssertionError:
            broken.add(check.__name__)
    assert broken - MAY_BREAK.get(name, set()) == BROKEN_BY_DESIGN[name]


def gradient(detector, images: torch.Tensor) -> torch.Tensor:
    leaf = images.clone().requires_grad_(True)
    return torch.autograd.grad(detector.score(leaf).sum(), leaf)[0]


def test_the_quantised_control_is_msp_rounded_to_its_grid_and_has_no_gradient(make_detector, images):
    detector = make_detector(QuantisedControl, grid=0.25)
    logits = detector.logits(images)
    assert torch.equal(detector.score(images), (log_odds(logits) / 0.25).round() * 0.25)
    assert int(torch.count_nonzero(gradient(detector, images))) == 0


def test_the_saturated_control_has_no_gradient_where_it_is_0_or_1(make_detector, images):
    torch.manual_seed(0)
    centre = float(make_detector(MSP).score(images).detach().median())
    torch.manual_seed(0)  # the same network
    detector = make_detector(SaturatedControl, centre=centre, sharpness=1e6)
    scores = detector.score(images).detach()
    flat = (scores == 0) | (scores == 1)
    assert int((scores == 0).sum()) > 0 and int((scores == 1).sum()) > 0
    assert int(torch.count_nonzero(gradient(detector, images)[flat])) == 0


def test_the_saturated_control_shows_an_attacker_nothing_but_its_score(make_detector, images):
    detector = make_detector(SaturatedControl)
    assert torch.equal(detector.objective(images), detector.score(images))


def test_the_noisy_control_blows_up_a_difference_in_the_last_place(make_detector, images):
    detector = make_detector(NoisyControl)
    step = 1e-4 * detector.direction.view(1, *SHAPE)  # about 1/300 of a grey level a pixel, one radian of ripple
    with torch.no_grad():
        change = (detector.score(images + step) - detector.score(images)).abs()
        spread = float(log_odds(detector.logits(images)).std())
    assert float(change.max()) > 0.1 * spread


def test_the_noisy_controls_gradient_lies_along_its_ripple(make_detector, images):
    detector = make_detector(NoisyControl)
    along = torch.nn.functional.cosine_similarity(gradient(detector, images).flatten(1), detector.direction[None])
    assert float(along.abs().median()) > 0.99


def test_the_noisy_controls_ripple_has_the_same_direction_for_ever(make_detector):
    """Another one would be another detector under the same name: the signs of the first numbers of seed 0."""
    direction = make_detector(NoisyControl).direction
    signs = 2 * torch.randint(2, (len(direction),), generator=torch.Generator().manual_seed(0)) - 1
    torch.testing.assert_close(direction * len(direction) ** 0.5, signs.float())


def test_the_noisy_control_strays_from_msp_by_its_amplitude_at_most(make_detector, images):
    detector = make_detector(NoisyControl, amplitude=0.5)
    ripple = (detector.score(images) - log_odds(detector.logits(images))).detach()
    assert 0.3 < float(ripple.abs().max()) <= 0.5 + 1e-5


def test_the_noisy_control_draws_only_from_the_noise_it_is_given(make_detector, images):
    detector = make_detector(NoisyControl)
    asked = []

    def noise(shape: tuple[int, ...]) -> torch.Tensor:
        asked.append(shape)
        return torch.randn(len(images), *shape)

    torch.manual_seed(1)
    first = detector.score(images, noise=noise)
    torch.manual_seed(1)
    again = detector.score(images, noise=noise)
    other = detector.score(images, noise=noise)
    assert asked == [()] * 3
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def test_weights_of_the_classifier_alone_fit_the_noisy_control(make_detector):
    assert set(make_detector(NoisyControl).state_dict()) == set(make_detector(MSP).state_dict())


def test_the_certified_score_is_the_distance_to_the_nearest_centre(training_data, images):
    detector = certified(training_data)
    expected = [-min(float((x.double() - c).norm()) for c in detector.centres.double()) for x in images.flatten(1)]
    assert detector.score(images).tolist() == pytest.approx(expected, rel=1e-5)


def test_one_centre_is_the_mean_of_the_training_images(training_data):
    centre = certified(training_data, centres=1).centres[0]
    torch.testing.assert_close(centre, training_data.train.pixels().flatten(1).mean(dim=0))


@pytest.mark.parametrize("eps", [0.0, 0.3, 1.5])
def test_a_straight_walk_to_the_nearest_centre_attains_the_l2_bound_inside_the_box(training_data, images, eps):
    detector = certified(training_data)
    flat = images.flatten(1)
    nearest = detector.centres[torch.cdist(flat, detector.centres).argmin(dim=1)]
    step = nearest - flat
    moved = (flat + step * (eps / step.norm(dim=1, keepdim=True)).clamp_max(1.0)).view_as(images)
    assert float(moved.min()) >= 0.0 and float(moved.max()) <= 1.0
    torch.testing.assert_close(detector.score(moved), detector.bound(images, Norm.L2, eps), atol=1e-5, rtol=0)


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.4])
def test_moving_every_pixel_towards_some_centre_attains_the_linf_bound(training_data, images, eps):
    detector = certified(training_data)
    flat = images.flatten(1)[:, None]
    towards = flat + (detector.centres - flat).clamp(-eps, eps)
    scores = torch.stack([detector.score(towards[:, k].reshape(images.shape)) for k in range(6)]).amax(dim=0)
    torch.testing.assert_close(scores, detector.bound(images, Norm.LINF, eps), atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", list(Norm))
def test_no_point_of_the_ball_scores_above_the_bound(training_data, images, norm):
    detector = certified(training_data)
    for _ in range(20):
        step = torch.randn_like(images) if norm is Norm.L2 else torch.rand_like(images) * 2 - 1
        if norm is Norm.L2:
            step /= step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        assert bool((detector.score(images + 0.5 * step) <= detector.bound(images, norm, 0.5) + 1e-5).all())


def test_the_bound_of_a_large_ball_is_the_largest_score_of_all(training_data, images):
    detector = certified(training_data)
    assert detector.bound(images, Norm.LINF, 1.0).tolist() == [0.0] * len(images)


def test_unfitted_it_scores_nan_and_no_number_that_could_pass_for_one(images):
    detector = CertifiedControl(None, shape=SHAPE, classes=3, params=CertifiedControl.Params(centres=2))
    assert bool(detector.score(images).isnan().all())


def test_the_gradient_at_a_centre_is_finite(training_data):
    detector = certified(training_data)
    centre = detector.centres[:1].view(1, *SHAPE)
    assert bool(gradient(detector, centre).isfinite().all())


def test_fewer_training_images_than_centres_are_one_sentence(training_data):
    with pytest.raises(UsageError, match="601 centres need as many training images, and there are 600"):
        certified(training_data, centres=601)
