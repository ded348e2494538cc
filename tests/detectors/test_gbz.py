"""The generative classifier GBZ: its importance weights in a loop, and where its integrals are known."""

import math

import pytest
import torch
from torch.distributions import Normal
from torch.nn.functional import silu

from bench.detectors.gbz import GBZ
from bench.errors import InputError
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase

SHAPE, CLASSES = (1, 8, 8), 3


def gbz(**params: object) -> GBZ:
    torch.manual_seed(2)
    given = GBZ.Params(**{"channels": (4, 6), "hidden": 7, "latent": 3, "samples": 4, **params})
    made = GBZ(None, shape=SHAPE, classes=CLASSES, params=given).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.0)  # so that z counts
    return made


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check, images):
    check(DetectorCase(gbz(), images))


def test_class_scores_are_means_of_importance_weights_sample_by_sample(images):
    detector = gbz()
    expected = torch.zeros(len(images), CLASSES)
    with torch.no_grad():
        for i, image in enumerate(images):
            features = silu(detector.encoder(image[None]))[0]
            for label in range(CLASSES):
                mean, log_std = detector.inference(torch.cat([features, torch.eye(CLASSES)[label]])).chunk(2)
                posterior, weights = Normal(mean, log_std.exp()), 0.0
                for draw in detector.draws:
                    z = mean + log_std.exp() * draw
                    error = float((torch.sigmoid(detector.decoder(z[None]))[0] - image).square().sum())
                    of_label = float(torch.softmax(detector.classifier(z), dim=0)[label])
                    ratio = float((Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)).sum())
                    weights += math.exp(-error + ratio) * of_label / len(detector.draws)
                expected[i, label] = math.log(weights)
        torch.testing.assert_close(detector.logits(images), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(detector.score(images), expected.exp().sum(dim=1).log(), atol=1e-4, rtol=1e-4)


def test_where_the_code_says_nothing_the_density_is_that_of_the_mean_image(images):
    detector = gbz(samples=20_000, latent=1)
    with torch.no_grad():
        for part in (detector.decoder, detector.classifier, detector.inference):
            for parameter in part.parameters():
                parameter.zero_()
        detector.classifier[-1].bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
        pixels = -(images - 0.5).flatten(1).square().sum(dim=1)
        of_label = torch.log_softmax(detector.classifier[-1].bias, dim=0)
        exact = pixels[:, None] + of_label
        # q is the prior: every sample has the same weight.
        torch.testing.assert_close(detector.logits(images), exact, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(detector.score(images), pixels, atol=1e-4, rtol=1e-4)
        # q is wider and off: weights vary and their mean does not. Their variance is below 1, so 20,000 give 0.7 %.
        detector.inference[-1].bias.copy_(torch.tensor([0.3, 0.2]))
        torch.testing.assert_close(detector.logits(images), exact, atol=0.02, rtol=0)


def test_it_draws_the_same_samples_every_time_it_is_made(images):
    assert torch.equal(gbz().draws, gbz().draws)
    assert torch.equal(gbz().score(images), gbz().score(images))
    assert "draws" not in gbz().state_dict()


def test_features_are_the_encoders_and_the_class_scores(images):
    detector = gbz()
    features, logits = detector.features(images, "penultimate"), detector.features(images, "logits")
    assert features.shape == (len(images), 7)
    assert torch.equal(logits, detector.logits(images))
    assert torch.equal(detector.features(images, "all"), torch.cat([features, logits], dim=1))
    with pytest.raises(InputError, match="no features at 'conv1'"):
        detector.features(images, "conv1")
