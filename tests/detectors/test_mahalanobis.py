"""Mahalanobis scores against loops in float64, also where directions are nearly dead on an offset mean."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.detectors.fitting import evaluating
from bench.detectors.gaussian import RELATIVE_CUTOFF, RunningMoments, TiedGaussians
from bench.detectors.mahalanobis import Mahalanobis
from bench.detectors.msp import MSP
from bench.errors import NotFittableError, UsageError


def reference(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Class by class, sample by sample, with the same rule for dead directions."""
    classes = np.unique(labels)
    means = [train[labels == c].mean(axis=0) for c in classes]
    centred = np.concatenate([train[labels == c] - means[i] for i, c in enumerate(classes)])
    variances, directions = np.linalg.eigh(centred.T @ centred / len(train))
    keep = variances > RELATIVE_CUTOFF * variances[-1]
    precision = directions[:, keep] @ np.diag(1.0 / variances[keep]) @ directions[:, keep].T
    return np.array([max(-(f - m) @ precision @ (f - m) for m in means) for f in test])


def fitted(train: torch.Tensor, labels: torch.Tensor, batch: int = 100) -> TiedGaussians:
    moments = RunningMoments(train.shape[1], int(labels.max()) + 1)
    for start in range(0, len(train), batch):
        moments.add(train[start : start + batch], labels[start : start + batch])
    gaussians = TiedGaussians(train.shape[1], int(labels.max()) + 1)
    gaussians.set(*moments.estimate())
    return gaussians


def hard_features(offset: float) -> tuple[torch.Tensor, torch.Tensor]:
    """128 channels, mixed, of which 40 hardly move; variances of the others span five orders; all far from 0."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(1200) % 10
    scale = torch.logspace(0, -2.5, 88)
    live = torch.randn(1200, 88, generator=generator) * scale + torch.randn(10, 88, generator=generator)[labels] * scale
    dead = 1e-6 * torch.randn(1200, 40, generator=generator)
    mixing = torch.linalg.qr(torch.randn(128, 128, generator=generator))[0]
    return torch.cat([live, dead], dim=1) @ mixing + offset, labels


@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0])
def test_float32_scores_hold_1e4_of_the_float64_loop_with_dead_channels_on_an_offset(offset):
    features, labels = hard_features(offset)
    gaussians = fitted(features[:1000], labels[:1000])
    given = gaussians(features[1000:]).double().numpy()
    expected = reference(features[:1000].double().numpy(), labels[:1000].numpy(), features[1000:].double().numpy())
    assert np.abs(given / expected - 1).max() < 1e-4


def test_dead_directions_have_no_say():
    features, labels = hard_features(0.0)
    gaussians = fitted(features, labels)
    assert int((gaussians.whitening.abs().sum(dim=0) > 0).sum()) == 88


def test_directions_below_a_millionth_of_the_largest_variance_are_dropped():
    gaussians = TiedGaussians(3, 1)
    gaussians.set(torch.zeros(1, 3).double(), torch.diag(torch.tensor([1.0, 2e-6, 5e-7])).double())
    assert gaussians(torch.tensor([[1.0, 0, 0], [0, 1e-3, 0], [0, 0, 1.0]])).tolist() == pytest.approx([-1, -0.5, 0])


def test_the_distance_to_a_class_mean_is_zero():
    features, labels = hard_features(0.0)
    gaussians = fitted(features, labels)
    assert gaussians(features[labels == 4].mean(dim=0, keepdim=True)).item() == pytest.approx(0.0, abs=1e-4)


def test_with_unit_covariance_it_is_the_squared_euclidean_distance():
    gaussians = TiedGaussians(2, 2)
    gaussians.set(torch.tensor([[0.0, 0.0], [10.0, 0.0]]).double(), torch.eye(2).double())
    assert gaussians(torch.tensor([[3.0, 4.0], [9.0, 1.0]])).tolist() == pytest.approx([-25.0, -2.0])


def test_moments_do_not_depend_on_the_batches():
    features, labels = hard_features(100.0)
    one, many = fitted(features, labels, batch=1200), fitted(features, labels, batch=7)
    torch.testing.assert_close(one.means.square().sum(1), many.means.square().sum(1), rtol=1e-4, atol=1e-4)


def test_moments_are_those_of_scikit_learn():
    from sklearn.covariance import EmpiricalCovariance

    features, labels = torch.randn(300, 6).double(), torch.arange(300) % 3
    moments = RunningMoments(6, 3)
    moments.add(features[:50], labels[:50])
    moments.add(features[50:], labels[50:])
    means, covariance = moments.estimate()
    centred = features - torch.stack([features[labels == c].mean(0) for c in range(3)])[labels]
    oracle = EmpiricalCovariance(assume_centered=True).fit(centred.numpy()).covariance_
    np.testing.assert_allclose(covariance.numpy(), oracle, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(means[1], features[labels == 1].mean(0))


def test_a_class_without_images_is_named():
    moments = RunningMoments(2, 3)
    moments.add(torch.randn(10, 2), torch.zeros(10, dtype=torch.int64))
    with pytest.raises(UsageError, match=r"\[1, 2\]"):
        moments.estimate()


@pytest.mark.parametrize("classes", [1, 3])
def test_one_image_a_class_tells_nothing_of_what_varies_within_classes(classes):
    moments = RunningMoments(2, classes)
    moments.add(torch.randn(classes, 2), torch.arange(classes))
    with pytest.raises(NotFittableError, match="no class has more than one training image"):
        moments.estimate()
    moments.add(torch.randn(1, 2), torch.tensor([0]))
    assert bool(moments.estimate()[1].isfinite().all())


@pytest.mark.parametrize(("label", "sentence"), [(-1, "has no labels"), (3, "allowed are 0 to 2")])
def test_a_label_outside_the_classes_is_a_sentence(label, sentence):
    with pytest.raises(UsageError, match=sentence):
        RunningMoments(2, 3).add(torch.randn(1, 2), torch.tensor([label]))


def test_the_score_is_the_weighted_sum_over_pooled_layers(make_detector, training_data, images):
    detector = make_detector(Mahalanobis).fit(training_data)
    activations = detector.network.activations(training_data.train.pixels())
    inside = detector.network.activations(images)
    total = np.zeros(len(images))
    for name, weight in zip(("conv", "penultimate"), detector.weights.tolist(), strict=True):
        train, test = (a[name].detach().double() for a in (activations, inside))
        train, test = (t.mean(dim=(2, 3)) if t.ndim == 4 else t for t in (train, test))
        total += weight * reference(train.numpy(), training_data.train.labels.numpy(), test.numpy())
    np.testing.assert_allclose(detector.score(images).detach().numpy(), total, rtol=1e-4)


def test_averaged_layers_have_equal_spread_on_calibration_images(make_detector, training_data):
    detector = make_detector(Mahalanobis).fit(training_data)
    with torch.no_grad():
        layers = torch.stack(detector.layer_scores(training_data.calibration.pixels()), dim=1)
    spread = (layers * detector.weights).std(dim=0, correction=0)
    torch.testing.assert_close(spread, torch.full((2,), 0.5))


def test_logistic_weights_separate_calibration_images_from_outliers(make_detector, training_data):
    detector = make_detector(Mahalanobis, layers="logistic").fit(training_data)
    with torch.no_grad():
        inside, outside = (detector.score(s.pixels()) for s in (training_data.calibration, training_data.outliers))
    assert inside.median() > outside.max()


def test_logistic_weights_without_outliers_are_refused_in_a_sentence(make_detector, training_data):
    with pytest.raises(UsageError, match="needs training outliers"):
        make_detector(Mahalanobis, layers="logistic").fit(dataclasses.replace(training_data, outliers=None))


def test_fitting_leaves_the_network_and_its_mode_alone(make_detector, training_data):
    detector = make_detector(Mahalanobis).train()
    before = {k: v.clone() for k, v in detector.network.state_dict().items()}
    detector.fit(training_data)
    assert detector.training and detector.network.training
    assert all(torch.equal(v, before[k]) for k, v in detector.network.state_dict().items())


def test_fitting_reports_every_image_once(make_detector, training_data):
    seen = []
    make_detector(Mahalanobis).fit(training_data, progress=lambda done, total, note: seen.append((done, total)))
    assert seen[-1] == (800, 800)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_unfitted_it_scores_nan_and_no_number_that_could_pass_for_one(make_detector, images):
    assert bool(make_detector(Mahalanobis).score(images).isnan().all())


def test_each_layer_is_scored_at_its_own_preprocessed_point(make_detector, training_data, images):
    detector = make_detector(Mahalanobis, magnitude=0.01).fit(training_data).double()
    x = images.double()
    expected = []
    for layer in range(2):
        leaf = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(detector._distances(leaf)[layer].sum(), leaf)
        expected.append(detector._distances(x + 0.01 * gradient.sign())[layer])
    with torch.no_grad():
        given = detector.layer_scores(x)
    torch.testing.assert_close(torch.stack(given), torch.stack(expected))


def test_the_gradient_sums_those_at_each_layers_own_point(make_detector, training_data, images):
    detector = make_detector(Mahalanobis, magnitude=0.02).fit(training_data).double()
    x = images.double()
    steps = [0.02 * gradient.sign() for gradient in detector._layer_gradients(x)]
    direction = torch.randn_like(x)

    def frozen(point):
        with torch.no_grad():
            return sum(w * detector._distances(point + steps[i])[i] for i, w in enumerate(detector.weights))

    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(detector.score(leaf).sum(), leaf)
    difference = (frozen(x + 1e-6 * direction) - frozen(x - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close(difference, (gradient * direction).flatten(1).sum(dim=1), rtol=1e-5, atol=1e-6)


def test_a_step_raises_every_layers_score(make_detector, training_data, images):
    detector = make_detector(Mahalanobis, magnitude=0.001).fit(training_data).double()
    with torch.no_grad():
        before, after = detector._distances(images.double()), detector.layer_scores(images.double())
    assert all(bool((b > a).all()) for a, b in zip(before, after, strict=True))


def test_other_detectors_need_no_fit(make_detector, training_data, images):
    detector = make_detector(MSP)
    before = detector.score(images)
    assert torch.equal(detector.fit(training_data).score(images), before)


def test_evaluation_mode_lasts_as_long_as_it_is_asked_for_and_every_module_gets_its_own_back():
    module = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.ReLU()))
    module.train()
    module[1][0].eval()
    before = [part.training for part in module.modules()]
    assert len(set(before)) == 2
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == before
    with pytest.raises(ZeroDivisionError), evaluating(module):
        raise ZeroDivisionError
    assert [part.training for part in module.modules()] == before
