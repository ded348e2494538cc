"""Every score against its paper's formula, written out image by image in float64."""

import numpy as np
import pytest
import torch

from bench.detectors.energy import Energy
from bench.detectors.scores.knn import KNN
from bench.detectors.scores.maxlogit import MaxLogit
from bench.detectors.scores.residual import Residual
from bench.detectors.scores.residuals import principal_dimensions
from bench.detectors.scores.vim import ViM


class Case:
    """A fitted detector in float64, and what it has seen, as arrays."""

    def __init__(self, detector, data, images):
        self.detector = detector.fit(data).double()
        self.weight = detector.network.network.linear.weight.detach().numpy()
        self.bias = detector.network.network.linear.bias.detach().numpy()
        self.h, self.z = self.seen(images)
        self.train, self.train_logits = self.seen(data.train.pixels())
        self.labels = data.train.labels.numpy()
        with torch.no_grad():
            self.given = self.detector.score(images.double()).numpy()

    def seen(self, images):
        with torch.no_grad():
            found = self.detector.network.activations(images.double())
        return found["penultimate"].numpy(), found["logits"].numpy()

    def is_scored(self, expected, rtol=1e-5):
        """Statistics are kept in float32, so that float64 scores hold five digits or more."""
        np.testing.assert_allclose(self.given, np.array(expected), rtol=rtol, atol=1e-7)


@pytest.fixture
def case(make_detector, training_data, images):
    return lambda method, **params: Case(make_detector(method, **params), training_data, images)


def logsumexp(z):
    return np.log(np.exp(z).sum(axis=-1))


def test_maxlogit_is_the_largest_logit(case):
    found = case(MaxLogit)
    found.is_scored(found.z.max(axis=1))


def unit(h):
    return h / np.linalg.norm(h)


def test_knn_is_minus_the_distance_of_directions_to_the_kth_nearest(case):
    found = case(KNN, k=7)
    bank = [unit(t) for t in found.train]
    found.is_scored([-sorted(np.linalg.norm(unit(h) - b) for b in bank)[6] for h in found.h])


def test_a_small_bank_of_knn_holds_the_first_images(case):
    found = case(KNN, k=3, bank=20)
    bank = [unit(t) for t in found.train[:20]]
    found.is_scored([-sorted(np.linalg.norm(unit(h) - b) for b in bank)[2] for h in found.h])


def test_knn_of_an_image_of_the_bank_is_zero_at_k_1_with_a_finite_gradient(make_detector, training_data):
    detector = make_detector(KNN, k=1).fit(training_data)
    x = training_data.train.pixels()[:4].requires_grad_(True)
    score = detector.score(x)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    assert score.tolist() == pytest.approx([0.0] * 4, abs=1e-5)
    assert bool(gradient.isfinite().all())


def residuals(found, dimensions):
    """The paper's origin, and the eigenvectors past the leading ones."""
    origin = -np.linalg.pinv(found.weight) @ found.bias
    centred = found.train - origin
    values, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    minor = directions[:, np.argsort(values)[::-1][dimensions:]]
    return lambda h: np.linalg.norm((h - origin) @ minor)


@pytest.mark.parametrize("dimensions", [None, 1, 6])
def test_residual_is_minus_the_length_outside_the_principal_subspace(case, dimensions):
    found = case(Residual, dimensions=dimensions)
    length = residuals(found, dimensions or 4)
    found.is_scored([-length(h) for h in found.h], rtol=1e-4)


def test_vim_is_the_energy_less_the_virtual_logit(case):
    found = case(ViM, dimensions=3)
    length = residuals(found, 3)
    alpha = found.train_logits.max(axis=1).mean() / np.mean([length(t) for t in found.train])
    found.is_scored([logsumexp(z) - alpha * length(h) for h, z in zip(found.h, found.z, strict=True)])


def test_the_principal_subspace_has_the_papers_dimensions_and_leaves_one():
    assert [principal_dimensions(None, width) for width in (2048, 768, 512, 2)] == [1000, 512, 256, 1]
    assert principal_dimensions(64, 8) == 7


# --------------------------------------------------------------------------- shaping, on the energy


def energies(found, shaped, weight=None):
    weight = found.weight if weight is None else weight
    return [logsumexp(weight @ h + found.bias) for h in shaped]


def test_react_clips_at_a_percentile_of_all_training_activations(case):
    found = case(Energy, shaping={"kind": "react", "percentile": 70})
    threshold = np.percentile(found.train, 70)
    assert (found.h > threshold).any()
    found.is_scored(energies(found, np.minimum(found.h, threshold)))


def test_vra_sets_to_zero_what_is_low_and_clips_what_is_high(case):
    found = case(Energy, shaping={"kind": "vra", "low": 30, "high": 80})
    low, high = np.percentile(found.train, [30, 80])
    shaped = [[0.0 if v < low else min(v, high) for v in h] for h in found.h]
    assert (found.h < low).any() and (found.h > high).any()
    found.is_scored(energies(found, np.array(shaped)))


def ash(h, kind, percentile):
    """The paper's algorithms for features that are at least 0; sums are over positive parts."""
    kept = np.argsort(-h, kind="stable")[: len(h) - round(len(h) * percentile / 100)]
    s1, s2 = np.maximum(h, 0).sum(), np.maximum(h[kept], 0).sum()
    shaped = np.zeros_like(h)
    shaped[kept] = {"ash-p": h[kept], "ash-s": h[kept] * np.exp(s1 / s2), "ash-b": s1 / len(kept)}[kind]
    return shaped


@pytest.mark.parametrize("kind", ["ash-s", "ash-p", "ash-b"])
def test_ash_keeps_the_largest_features(case, kind):
    found = case(Energy, shaping={"kind": kind, "percentile": 60})
    found.is_scored(energies(found, [ash(h, kind, 60) for h in found.h]))


def test_scale_multiplies_all_features_by_the_exponential_of_the_ratio_of_sums(case):
    found = case(Energy, shaping={"kind": "scale", "percentile": 60})
    sums = [np.sort(np.maximum(h, 0))[::-1] for h in found.h]
    found.is_scored(energies(found, [h * np.exp(s.sum() / s[:3].sum()) for h, s in zip(found.h, sums, strict=True)]))


def test_the_ratio_of_sums_is_1_where_no_feature_is_positive(make_detector):
    shaping = make_detector(Energy, shaping={"kind": "ash-s", "percentile": 50}).shaping
    features = torch.tensor([[-1.0, -2.0, -3.0, -4.0], [0.0, 0.0, 0.0, 0.0]])
    shaped, _ = shaping(features, torch.zeros(3, 4))
    torch.testing.assert_close(shaped[0], torch.tensor([-1.0, -2.0, 0.0, 0.0]) * np.e)
    assert shaped[1].tolist() == [0.0] * 4


def test_of_equal_features_ash_keeps_the_first_units_in_every_batch(make_detector):
    shaping = make_detector(Energy, shaping={"kind": "ash-b", "percentile": 50}).shaping
    features = torch.tensor([[3.0, 0.0, 0.0, 0.0]])
    for count in (1, 7):
        shaped, _ = shaping(features.repeat(count, 1), torch.zeros(3, 4))
        assert shaped[-1].tolist() == [1.5, 1.5, 0.0, 0.0]


def test_dice_drops_the_weights_that_contribute_least(case):
    found = case(Energy, shaping={"kind": "dice", "sparsity": 60})
    contributions = found.weight * found.train.mean(axis=0)
    sparse = np.where(contributions > np.percentile(contributions, 60), found.weight, 0.0)
    assert 0 < (sparse != 0).sum() < sparse.size / 2
    found.is_scored(energies(found, found.h, sparse))


def test_shaping_composes_with_any_score(case):
    found = case(KNN, k=4, shaping={"kind": "ash-p", "percentile": 50})
    bank = [unit(ash(t, "ash-p", 50)) for t in found.train]
    found.is_scored([-sorted(np.linalg.norm(unit(ash(h, "ash-p", 50)) - b) for b in bank)[3] for h in found.h])


def test_matched_features_and_classes_of_a_shaped_score(make_detector, training_data, images):
    detector = make_detector(Energy, shaping={"kind": "react", "percentile": 70}).fit(training_data)
    plain = detector.network.activations(images)
    clipped = torch.minimum(plain["penultimate"], detector.shaping.threshold)
    assert torch.equal(detector.features(images, "penultimate"), clipped)
    assert torch.equal(detector.features(images, "logits"), detector.network.network.linear(clipped))
    assert torch.equal(detector.logits(images), plain["logits"])  # the classifier's own decisions
