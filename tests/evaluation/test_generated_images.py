"""Images that a detector makes: where ascent goes, and that samples are of the model's own density."""

import math

import pytest
import torch

from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.detectors.gbz import GBZ
from bench.detectors.glow import Glow
from bench.detectors.jem import JEM, JEMParams
from bench.detectors.networks.base import FromPixels
from bench.detectors.networks.small import SmallConvNet
from bench.errors import UsageError
from bench.evaluation.generating import ascended, chained, sampled

SHAPE = (1, 8, 8)


class Linear(Detector):
    info = DetectorInfo(classifier=False)

    def __init__(self) -> None:
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())
        self.weight = torch.nn.Parameter(torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)))

    def score(self, x, *, noise=None):
        return (x * self.weight).flatten(1).sum(1)


def glow(**params) -> Glow:
    torch.manual_seed(0)
    made = Glow(None, shape=SHAPE, classes=3, params=Glow.Params(blocks=(1, 2), hidden=(4, 6), **params))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def test_ascent_takes_steps_of_one_length_along_the_gradient():
    detector = Linear()
    x = torch.full((2, *SHAPE), 0.5)
    unit = detector.weight / detector.weight.norm()
    torch.testing.assert_close(ascended(detector, x, steps=3, step_size=0.2), x + 0.6 * unit)


def test_ascent_stays_in_the_box_and_within_its_radius():
    detector, x = Linear(), torch.rand(3, *SHAPE)
    far = ascended(detector, x, steps=400, step_size=2.0)
    assert torch.equal(far, (detector.weight > 0).float().expand_as(far))
    near = ascended(detector, x, steps=60, step_size=0.5, radius=0.7)
    assert (near - x).flatten(1).norm(dim=1).tolist() == pytest.approx([0.7] * 3, rel=1e-4)


@pytest.mark.parametrize("prior", ["classes", "split", "none"])
def test_what_a_flow_draws_has_the_latent_numbers_of_its_priors(prior):
    detector = glow(prior=prior)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        top = detector.prior.draw(400, generator)
        v = detector.flow.draw(top.view(400, *detector.flow.top_shape), generator)
        (leaving, found), _ = detector.flow(v)
        torch.testing.assert_close(found.flatten(1), top, atol=1e-3, rtol=1e-3)
        staying = found
        for block in reversed(detector.flow.levels[1]):
            staying = block.inverse(staying)
        mean, log_deviation = detector.flow.priors[0].convolution(staying).chunk(2, dim=1)
        residual = (leaving - mean) / (4.0 * torch.tanh(log_deviation / 4.0)).exp()
        # 400 images of 64 numbers: mean and variance have standard errors of 0.006 and 0.009.
        assert float(residual.mean()) == pytest.approx(0.0, abs=0.03)
        assert float(residual.var()) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("prior", ["classes", "split"])
def test_latent_numbers_are_drawn_as_often_as_their_density_says(prior):
    """E[1 / p(z)] over draws of p within a set is its volume: here the mean log-density against a direct estimate."""
    detector = glow(prior=prior)
    with torch.no_grad():
        z = detector.prior.draw(20_000, torch.Generator().manual_seed(4))
        density = detector.prior(z).logsumexp(dim=1) - math.log(3)
        # The mean score of a density at its own samples is 0; in one dimension of z, by central differences.
        step = torch.zeros_like(z)
        step[:, -1] = 1e-3
        up, down = (detector.prior(z + sign * step).logsumexp(dim=1) for sign in (1, -1))
        slope = (up - down) / 2e-3
    assert bool(density.isfinite().all())
    assert float(slope.mean()) == pytest.approx(0.0, abs=6 * float(slope.std()) / 20_000**0.5)
    assert float((slope * z[:, -1]).mean()) == pytest.approx(-1.0, abs=0.1)  # Stein: E[z d log p / dz] = -1


@pytest.mark.parametrize("detector", [glow(), glow(noise_channels=False)])
def test_samples_are_8_bit_images_and_the_seed_says_which(detector):
    one, again, other = (sampled(detector, 5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one.shape == (5, *SHAPE)
    assert torch.equal(one * 255, (one * 255).round())
    assert 0 <= one.min() <= one.max() <= 1
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_generative_classifier_decodes_codes_of_its_prior():
    detector = GBZ(None, shape=SHAPE, classes=2, params=GBZ.Params(channels=(4, 4), hidden=6, latent=3, samples=2))
    z = torch.randn((4, 3), generator=torch.Generator().manual_seed(2))
    assert torch.equal(sampled(detector, 4, torch.Generator().manual_seed(2)), detector.decode(z))


def test_chains_of_a_jem_climb_its_density_and_stay_in_the_box():
    torch.manual_seed(0)
    detector = JEM(FromPixels(SmallConvNet((4, 4), 8, 2, size=8)), shape=SHAPE, classes=2, params=JEMParams())
    start = torch.rand((30, *SHAPE), generator=torch.Generator().manual_seed(5))
    end = chained(detector, 30, torch.Generator().manual_seed(5), steps=200, step_size=1.0)
    assert end.shape == start.shape
    assert 0 <= end.min() <= end.max() <= 1
    with torch.no_grad():
        assert detector.log_density(end).mean() > detector.log_density(start).mean()


def test_a_detector_without_a_model_of_images_is_refused_in_a_sentence():
    with pytest.raises(UsageError, match="Linear has no samples of its own; use --how ascent"):
        sampled(Linear(), 1, torch.Generator())
    with pytest.raises(UsageError, match="Linear is no energy-based model"):
        chained(Linear(), 1, torch.Generator(), steps=1, step_size=0.1)
