"""Glow's scores against the change of variables, the Bayes sum and the PNG files themselves."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cards.catalog import Catalog
from bench.detectors.glow import LEVELS, Glow, png_bits
from bench.detectors.loading import build_detector
from bench.errors import InputError
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase

SHAPE, CLASSES = (1, 8, 8), 3
SETTINGS = {
    "base": {},
    "split": {"prior": "split"},
    "unconditional": {"prior": "none"},
    "without-noise": {"noise_channels": False},
    "complexity": {"score": "complexity"},
}


def make(**params):
    """A tiny Glow away from its start."""
    torch.manual_seed(0)
    params = Glow.Params(blocks=(1, 1), hidden=(4, 6), **params)
    detector = Glow(None, shape=SHAPE, classes=CLASSES, params=params)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return detector.eval()


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SETTINGS)
def test_glow_keeps_the_contract(name, check, images):
    check(DetectorCase(make(**SETTINGS[name]), images))


@pytest.mark.parametrize("name", ["base", "split", "without-noise"])
def test_likelihoods_are_those_of_the_change_of_variables_by_autograd(name, images):
    detector = make(**SETTINGS[name]).double()
    x, w = images[:1].double(), detector.noise_channels

    def latent_vector(pixels):  # pixels, and the noise in units of its own range
        draws = torch.cat([torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64), pixels[None, 1:]], dim=1)
        latents, _ = detector.flow(detector.flow_input(pixels[None, :1], draws))
        return torch.cat([z.flatten() for z in latents])

    point = torch.cat([x, torch.full((1, w, 8, 8), 0.5, dtype=torch.float64)], dim=1)[0]
    jacobian = torch.autograd.functional.jacobian(latent_vector, point).reshape(point.numel(), point.numel())
    leaving, top = detector.flow(detector.flow_input(x))[0]
    # The Jacobian is that from [0, 1] pixels: a level is 1/255 wide there, and the mass of a level's bin is asked for.
    density = torch.linalg.slogdet(jacobian).logabsdet - 64 * math.log(LEVELS - 1)
    density = density + detector.flow.priors[0](leaving, staying(detector, x))
    expected = density + detector.prior(top.flatten(1))
    torch.testing.assert_close(detector.class_log_likelihoods(x), expected, rtol=1e-9, atol=1e-9)
    score = ((expected.logsumexp(dim=1) - math.log(CLASSES)) / (64 * math.log(2))).squeeze()
    torch.testing.assert_close(detector.score(x).squeeze(), score, rtol=1e-9, atol=1e-9)


def staying(detector, x):
    v = detector.flow_input(x)
    h = torch.nn.functional.pixel_unshuffle(v, 2) if detector.flow.first_squeeze else v
    for block in detector.flow.levels[0]:
        h, _ = block(h)
    return torch.nn.functional.pixel_unshuffle(h, 2).chunk(2, dim=1)[1]  # after one block


def test_grey_levels_enter_the_flow_at_the_centres_of_256_bins():
    levels = torch.arange(256, dtype=torch.float64).view(256, 1, 1, 1) / 255
    entered = make(noise_channels=False).flow_input(levels).flatten()
    torch.testing.assert_close(entered, (torch.arange(256, dtype=torch.float64) + 0.5) / 256 - 0.5)


def test_draws_reach_the_edges_of_a_bin_and_of_the_noise():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    low = make().flow_input(x, torch.zeros(1, 2, 8, 8, dtype=torch.float64))
    high = make().flow_input(x, torch.ones(1, 2, 8, 8, dtype=torch.float64))
    torch.testing.assert_close((high - low)[:, 0], torch.full((1, 8, 8), 1 / 256, dtype=torch.float64))
    torch.testing.assert_close((high - low)[:, 1], torch.full((1, 8, 8), 2 / 256, dtype=torch.float64))


def test_noise_channels_are_in_the_middle_of_their_range_while_scoring(images):
    assert not make().flow_input(images)[:, 1:].any()


def test_a_uniform_model_needs_eight_bits_a_pixel(images, monkeypatch):
    detector = make(noise_channels=False, prior="none")
    monkeypatch.setattr(
        detector,
        "class_log_likelihoods",
        lambda x, draws=None: torch.full((len(x), 1), detector.log_volume, dtype=torch.float64),
    )
    torch.testing.assert_close(detector.bits_per_dim(images), torch.full((len(images),), 8.0))
    torch.testing.assert_close(detector.score(images), torch.full((len(images),), -8.0))


def test_bits_per_dim_are_the_mean_over_dequantised_images(images):
    detector = make().double()
    x = images.double()
    generator = torch.Generator().manual_seed(0)
    draws = [torch.rand(1, 2, 8, 8, generator=generator).double().expand(len(x), -1, -1, -1) for _ in range(4)]
    nats = torch.stack([detector.log_likelihood(x, draw) for draw in draws]).mean(dim=0)
    torch.testing.assert_close(detector.bits_per_dim(x), -nats / (64 * math.log(2)))


def test_logits_are_the_class_likelihoods_whose_mean_is_the_score(images):
    detector = make().double()
    logits = detector.logits(images.double())
    mixture = logits.logsumexp(dim=1) - math.log(CLASSES)
    torch.testing.assert_close(detector.score(images.double()), mixture / (64 * math.log(2)))


def test_without_classes_there_are_no_logits(images):
    assert make(prior="none").logits(images) is None
    with pytest.raises(InputError, match="no features at 'logits'"):
        make(prior="none").features(images, "logits")


def test_float32_scores_agree_with_float64(images):
    detector = make()
    single = detector.score(images)
    torch.testing.assert_close(single.double(), detector.double().score(images.double()), rtol=1e-5, atol=1e-6)


def test_features_are_the_latent_numbers(images):
    detector = make()
    assert detector.features(images, "score").shape == (12, 1)
    assert torch.equal(detector.features(images, "logits"), detector.logits(images))
    assert detector.features(images, "penultimate").shape == (12, math.prod(detector.flow.top_shape))
    assert detector.features(images, "all").shape == (12, 2 * 64)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_bits_are_the_lengths_of_files_that_hold_the_rounded_images(channels):
    x = torch.rand(3, channels, 8, 8)
    x[0] = 0.5
    given = png_bits(x)
    for image, bits in zip((255 * x).round().byte().permute(0, 2, 3, 1).numpy(), given.tolist(), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze()).save(buffer, "PNG", optimize=True)
        assert bits == 8 * len(buffer.getvalue())
        buffer.seek(0)
        assert np.array_equal(np.asarray(Image.open(buffer)), image.squeeze())
    assert given[0] < given[1]


def test_the_complexity_score_adds_the_bits_of_the_png_file(images):
    plain, corrected = make(), make(score="complexity")
    difference = corrected.score(images).double() - plain.score(images).double()
    torch.testing.assert_close(difference, png_bits(images) / 64, rtol=1e-6, atol=1e-6)


def test_the_gradient_of_the_complexity_score_is_that_of_the_likelihood(images):
    gradients = []
    for detector in (make(), make(score="complexity")):
        leaf = images.clone().requires_grad_(True)
        gradients.append(torch.autograd.grad(detector.score(leaf).sum(), leaf)[0])
    assert torch.equal(*gradients)
    assert make(score="complexity").info.approximate_gradient
    assert not make().info.approximate_gradient


def test_with_classes_the_logits_are_the_class_likelihoods(images):
    detector = make()
    torch.testing.assert_close(detector.logits(images), detector.class_log_likelihoods(images).float())


def test_a_split_prior_tells_classes_by_its_subspace_alone(images):
    detector = make(prior="split")
    top = detector.features(images, "penultimate")
    expected = -(top[:, None, :CLASSES] - torch.eye(CLASSES)).square().sum(dim=2) / (2 * 0.04)
    logits = detector.logits(images)
    torch.testing.assert_close(logits - logits.mean(1, keepdim=True), expected - expected.mean(1, keepdim=True))
    assert torch.equal(logits.argmax(1), top[:, :CLASSES].argmax(1))
    assert torch.equal(detector.features(images, "logits"), logits)
    with torch.no_grad():
        detector.prior.output.add_(3.0)  # what is known of the other latent numbers
    assert torch.equal(detector.logits(images), logits)
    whole = detector.class_log_likelihoods(images)
    assert (detector.score(images) * 64 * math.log(2) + math.log(CLASSES)).tolist() == pytest.approx(
        whole.logsumexp(1).tolist(), rel=1e-5
    )  # the likelihood is that of everything


def test_what_is_a_classifier_depends_on_the_prior():
    assert make().info.classifier
    assert make(prior="split").info.classifier
    assert not make(prior="none").info.classifier


def test_the_complexity_is_a_component_that_an_attack_may_leave_out():
    plain, complexity = make().info, make(score="complexity").info
    assert complexity.components == (*plain.components, "complexity")
    assert (plain.jumps, plain.approximate_gradient) == ("", "")
    assert complexity.jumps and complexity.approximate_gradient


CARD = Catalog().detector("glow")[0]
SHIPPED = [("glow", track) for track in CARD.tracks] + [
    (f"glow.{name}", track) for name, variant in CARD.variants.items() for track in variant.tracks or CARD.tracks
]


@pytest.mark.parametrize(("name", "track"), SHIPPED)
def test_shipped_settings_make_a_detector_of_less_than_a_million_and_a_half_bytes(name, track):
    catalog = Catalog()
    detector = build_detector(catalog.detector_spec(name, track), catalog.track(track), catalog)
    assert sum(4 * value.numel() for value in detector.state_dict().values()) < 1_500_000
