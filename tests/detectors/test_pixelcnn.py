"""PixelCNN++: its probabilities sum to 1, no pixel knows a later one, and every class has a component of its own."""

import itertools
import math

import pytest
import torch

from bench.detectors.networks.causal import CausalNetwork
from bench.detectors.pixelcnn import HALF, PixelCNN, log_mass
from bench.errors import InputError
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase

SHAPE, CLASSES = (1, 8, 8), 3


def pixelcnn(shape=SHAPE, classes=CLASSES, **params) -> PixelCNN:
    torch.manual_seed(2)
    settings = PixelCNN.Params(**{"width": 4, "blocks": (1, 1), **params})
    made = PixelCNN(None, shape=shape, classes=classes, params=settings).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.0)  # so that what a pixel knows counts
    return made


def levels() -> torch.Tensor:
    return torch.arange(256, dtype=torch.float64) / 255


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check, images):
    check(DetectorCase(pixelcnn(), images))


@pytest.mark.parametrize("mean", [-1.3, -1.0, -0.2, 0.0, 0.7, 1.0, 4.0])
@pytest.mark.parametrize("log_scale", [-7.0, -4.0, -1.0, 3.0])
def test_the_mass_of_all_grey_levels_is_one(mean, log_scale):
    mu, log_s = (torch.tensor(value, dtype=torch.float64) for value in (mean, log_scale))
    mass = log_mass(2 * levels() - 1, mu, log_s).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)


def test_the_mass_is_a_difference_of_two_sigmoids_and_all_beyond_an_end_counts_to_it():
    mu, log_s = torch.tensor(-0.6, dtype=torch.float64), torch.tensor(-1.5, dtype=torch.float64)
    v = 2 * levels() - 1
    ends = torch.sigmoid((torch.cat([v - HALF, v[-1:] + HALF]) - mu) * torch.exp(-log_s))
    ends[0], ends[-1] = 0, 1
    torch.testing.assert_close(log_mass(v, mu, log_s).exp(), ends.diff(), rtol=1e-10, atol=0)


def test_the_slope_has_no_corner_at_a_grey_level_within():
    mu, log_s = torch.tensor(-0.9, dtype=torch.float64), torch.tensor(-3.0, dtype=torch.float64)
    v = 2 * levels()[1:-1] - 1
    slopes = [torch.func.grad(lambda at: log_mass(at, mu, log_s).sum())(v + aside) for aside in (-1e-9, 1e-9)]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-5)


def test_between_grey_levels_the_mass_has_no_jump_and_a_finite_gradient():
    mu, log_s = torch.tensor(-0.9, dtype=torch.float64), torch.tensor(-3.0, dtype=torch.float64)
    for place in (-1.0, -1 + 2 * HALF, -1 + HALF, -1 + HALF / 2, 0.3, 1 - 2 * HALF, 1.0):
        v = torch.tensor([place - 1e-9, place, place + 1e-9], dtype=torch.float64).clamp(-1, 1).requires_grad_()
        mass = log_mass(v, mu, log_s)
        assert float((mass.detach() - mass.detach()[1]).abs().max()) < 1e-5  # a slope of thousands, by 1e-9
        (gradient,) = torch.autograd.grad(mass.sum(), v)
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 2, 1), (2, 1, 1)], ids=["a row", "a column", "two channels"])
def test_all_images_of_two_pixels_have_probabilities_that_sum_to_one(shape):
    """As they do only where no pixel knows itself or a later one."""
    detector = pixelcnn(shape, width=2, blocks=(1,))
    every = torch.tensor(list(itertools.product(range(256), repeat=2)), dtype=torch.float32).view(-1, *shape) / 255
    with torch.no_grad():
        by_class = detector.class_log_likelihoods(every)
        knows = by_class.view(256, 256, CLASSES).logsumexp(dim=0)
    torch.testing.assert_close(by_class.exp().sum(dim=0), torch.ones(CLASSES, dtype=torch.float64), rtol=1e-4, atol=0)
    assert float(knows.std()) > 0


@pytest.mark.parametrize("blocks", [(1,), (1, 1), (2, 1, 1)])
@pytest.mark.parametrize("place", [(0, 0), (0, 5), (3, 0), (3, 4), (4, 3), (5, 7), (7, 7)])
def test_a_pixel_knows_earlier_pixels_and_no_later_one(blocks, place):
    torch.manual_seed(1)
    network = CausalNetwork((2, 8, 8), 3, 4, blocks).double()
    v = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    row, column = place
    (gradient,) = torch.autograd.grad(network(v)[0, :, row, column].sum(), v)
    known = gradient.abs().sum(dim=(0, 1)).flatten()
    here = row * 8 + column
    assert float(known[here:].max()) == 0
    nearest = [here - 1] * (column > 0) + [here - 8] * (row > 0) + [here - 7] * (row > 0 and column < 7)
    assert all(float(known[index]) > 0 for index in nearest)


def test_logits_are_sums_over_the_pixels_and_the_score_the_mean_over_the_classes(images):
    detector = pixelcnn((3, 8, 8))
    x = images.expand(-1, 3, -1, -1)[:2].contiguous()
    x = (x + torch.tensor([0.0, 0.1, -0.1])[:, None, None]).clamp(0, 1)
    expected = torch.zeros(2, CLASSES, dtype=torch.float64)
    with torch.no_grad():
        outputs = detector.pixels(2 * x - 1).unflatten(1, (CLASSES, 9))
        for n, y, row, column in itertools.product(range(2), range(CLASSES), range(8), range(8)):
            red, green, blue = (2 * x[n, :, row, column] - 1).double()
            out = outputs[n, y, :, row, column].double()
            slopes = torch.tanh(out[6:])
            means = out[0], out[1] + slopes[0] * red, out[2] + slopes[1] * red + slopes[2] * green
            for value, mean, log_scale in zip((red, green, blue), means, out[3:6], strict=True):
                expected[n, y] += log_mass(value, mean, log_scale.clamp(min=-7.0))
        torch.testing.assert_close(detector.class_log_likelihoods(x), expected, rtol=1e-5, atol=1e-4)
        score = (expected.logsumexp(dim=1) - math.log(CLASSES)) / (192 * math.log(2))
        torch.testing.assert_close(detector.score(x).double(), score, rtol=1e-5, atol=1e-6)
        eight_bits = (x * 255).round() / 255
        torch.testing.assert_close(detector.bits_per_dim(x), -detector.score(eight_bits))


def test_a_class_has_a_component_of_its_own(images):
    detector = pixelcnn()
    with torch.no_grad():
        before = detector.logits(images)
        detector.pixels.last.bias[2:4] += 0.5  # mean and log-scale of the second class
        after = detector.logits(images)
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert bool((after[:, 1] != before[:, 1]).all())


def test_samples_are_drawn_from_the_components_of_equally_likely_classes():
    detector = pixelcnn((1, 1, 1), classes=2, width=2, blocks=(1,))
    with torch.no_grad():
        detector.pixels.last.weight.zero_()
        detector.pixels.last.bias.copy_(torch.tensor([-0.9, -4.0, 0.6, -4.0]))
    drawn = detector.sample(4000, torch.Generator().manual_seed(0)).flatten().double()
    assert torch.equal(drawn, detector.sample(4000, torch.Generator().manual_seed(0)).flatten().double())
    torch.testing.assert_close((drawn * 255).round(), drawn * 255, rtol=0, atol=1e-4)
    for middle in (0.05, 0.8):
        near = drawn[(drawn - middle).abs() < 0.2]
        assert len(near) / 4000 == pytest.approx(0.5, abs=0.03)  # four standard errors
        assert float(near.mean()) == pytest.approx(middle, abs=0.002)


def test_sides_that_cannot_be_halved_are_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"3 levels cannot be made for 6 x 8 images; give .* multiples of 4"):
        pixelcnn((1, 6, 8), blocks=(1, 1, 1))


def test_features_are_pooled_or_the_classes_likelihoods(images):
    detector = pixelcnn()
    pooled, logits = detector.features(images, "penultimate"), detector.features(images, "logits")
    assert pooled.shape == (len(images), 4)
    assert torch.equal(logits, detector.logits(images))
    assert torch.equal(detector.features(images, "all"), torch.cat([pooled, logits], dim=1))
    assert torch.equal(detector.features(images, "score")[:, 0], detector.score(images))
    with pytest.raises(InputError, match="no features at 'conv1'"):
        detector.features(images, "conv1")
