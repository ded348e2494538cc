"""Training CCU: where the mixtures start, what the loss is, and what the steps keep."""

import math

import pytest
import torch

from bench.detectors.autoencoder import Autoencoder
from bench.detectors.ccu import CCU as CCUDetector
from bench.detectors.ccu import IsotropicMixture
from bench.errors import CardError
from bench.training.base import seeded
from bench.training.ccu import CCU, fit_mixture

SHAPE = (1, 8, 8)
ARGS = {"steps": 60, "batch_size": 16, "lr": 0.02, "fit_images": 64, "degrees": 0, "shift": 0, "scale": 0}


@pytest.fixture
def recipe(toy_data, tiny_network):
    def build(prior_ratio: float = 1.0, **args: object) -> CCU:
        torch.manual_seed(0)
        params = CCUDetector.Params(components=2, outlier_components=2, prior_ratio=prior_ratio)
        detector = CCUDetector(tiny_network(2), shape=SHAPE, classes=2, params=params)
        return CCU(detector, toy_data, {**ARGS, **args}, seed=0)

    return build


def run(recipe: CCU, steps: int) -> None:
    for number in range(steps):
        recipe.step(number, seeded(recipe.seed, "step", number))


def test_it_learns_the_classes_and_scores_outliers_low(recipe, toy_data):
    trained = recipe()
    run(trained, 60)
    assert trained.evaluate()["ID accuracy"] == 1.0
    with torch.no_grad():
        inside = trained.detector.score(toy_data.calibration.pixels())
        outside = trained.detector.score(toy_data.outliers.pixels())
    assert inside.min() > outside.max()


def test_mixtures_start_from_the_clusters_with_the_mean_of_their_variances():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4000) % 4 == 0  # a quarter
    spread = torch.where(labels, 0.1, 0.2)[:, None]
    images = torch.where(labels, 1.0, 5.0)[:, None] + spread * torch.randn(4000, 6, generator=generator)
    mixture = IsotropicMixture(2, 6)
    fit_mixture(mixture, images, 20, seed=0)
    order = mixture.means[:, 0].argsort()
    torch.testing.assert_close(
        mixture.means[order].detach(), torch.tensor([[1.0], [5.0]]).expand(2, 6), atol=0.03, rtol=0
    )
    torch.testing.assert_close(torch.softmax(mixture.weight_logits, 0)[order].detach(), torch.tensor([0.25, 0.75]))
    assert mixture.log_variances.detach().exp().tolist() == pytest.approx([0.025, 0.025], rel=0.05)


def test_the_first_step_fits_the_mixtures_and_later_ones_move_them_little(recipe):
    trained = recipe(mixture_lr=1e-4)
    before = trained.model.inside.means.detach().clone()
    run(trained, 1)
    started = trained.model.inside.means.detach().clone()
    run(trained, 20)
    moved = float((trained.model.inside.means.detach() - started).abs().max())
    assert float((started - before).abs().max()) > 0.1
    assert 0.0 < moved < 20 * 1e-4 * 1.5  # a step of Adam is at most about its learning rate


def test_components_of_the_outliers_stay_wider(recipe):
    trained = recipe(variance_ratio=3.0, mixture_lr=0.05)
    for number in range(10):
        run(trained, 1) if number == 0 else trained.step(number, seeded(0, "step", number))
        gap = trained.model.outside.log_variances.min() - trained.model.inside.log_variances.max()
        assert float(gap.detach()) >= math.log(3.0) - 1e-5  # float32


@pytest.mark.parametrize("prior_ratio", [1.0, 0.5])
def test_the_loss_weighs_outliers_by_lambda(recipe, prior_ratio):
    trained = recipe(prior_ratio)
    run(trained, 1)
    seen = []
    trained.update = lambda loss, lr: seen.append(float(loss.detach()))
    trained.step(1, seeded(0, "step", 1))
    generator = seeded(0, "step", 1)
    x, y = trained.labelled(generator)
    z = trained.unlabelled(len(x), generator)
    with torch.no_grad():
        (inside, p_x), (outside, p_z) = (trained.model.log_probabilities(images) for images in (x, z))
    loss_in = -sum(float(inside[i, y[i]] + p_x[i]) for i in range(len(x))) / len(x)
    loss_out = -sum(float(outside[i].mean() + p_z[i]) for i in range(len(x))) / len(x)
    assert seen[0] == pytest.approx((loss_in + prior_ratio * loss_out) / (1 + prior_ratio), rel=1e-5)


def test_a_resumed_training_ends_with_the_same_bits(recipe, trained_whole_and_resumed):
    whole, resumed = trained_whole_and_resumed(lambda: recipe(steps=8), at=4)
    for name, value in whole.detector.state_dict().items():
        assert torch.equal(value, resumed.detector.state_dict()[name]), name


def test_another_method_is_refused_in_a_sentence(toy_data):
    detector = Autoencoder(None, shape=SHAPE, classes=2, params=Autoencoder.Params())
    with pytest.raises(CardError, match="trains the method CCU, not Autoencoder"):
        CCU(detector, toy_data, {}, seed=0)


def test_fewer_images_than_components_are_one_sentence(recipe):
    with pytest.raises(CardError, match="fit_images is 1 and a mixture has 2 components; give as many"):
        recipe(fit_images=1)


@pytest.mark.parametrize(("inside", "outside"), [(2, 5), (5, 2)])
def test_the_larger_one_of_the_two_mixtures_says_how_many_images_are_needed(toy_data, tiny_network, inside, outside):
    params = CCUDetector.Params(components=inside, outlier_components=outside)
    detector = CCUDetector(tiny_network(2), shape=SHAPE, classes=2, params=params)
    with pytest.raises(CardError, match="fit_images is 4 and a mixture has 5 components"):
        CCU(detector, toy_data, {**ARGS, "fit_images": 4}, seed=0)


def test_as_many_images_as_components_are_enough(recipe):
    assert recipe(fit_images=2).args.fit_images == 2
