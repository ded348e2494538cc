"""Every score against its paper's formula, written out image by image in float64."""

import numpy as np
import pytest
import torch

from bench.detectors.energy import Energy
from bench.detectors.gaussian import TiedGaussians
from bench.detectors.mahalanobis import Mahalanobis
from bench.detectors.odin import ODIN
from bench.detectors.scores.base import margins
from bench.detectors.scores.entropy import Entropy
from bench.detectors.scores.fdbd import FDBD
from bench.detectors.scores.gen import GEN
from bench.detectors.scores.gradnorm import GradNorm
from bench.detectors.scores.klm import KLM
from bench.detectors.scores.knn import KNN
from bench.detectors.scores.maxlogit import MaxLogit
from bench.detectors.scores.nci import NCI
from bench.detectors.scores.nnguide import NNGuide
from bench.detectors.scores.openmax import SHIFT, OpenMax, weibull
from bench.detectors.scores.residual import Residual
from bench.detectors.scores.residuals import principal_dimensions
from bench.detectors.scores.rmds import RMDS
from bench.detectors.scores.shaping import SMALLEST_SUM, _sharpening
from bench.detectors.scores.she import SHE
from bench.detectors.scores.temperature import TemperatureScaling, best_temperature
from bench.detectors.scores.vim import ViM
from bench.errors import UsageError


class Case:
    """A fitted detector in float64, and what it has seen, as arrays."""

    def __init__(self, detector, data, images):
        self.detector = detector.fit(data).double()
        self.weight = detector.network.network.linear.weight.detach().numpy()
        self.bias = detector.network.network.linear.bias.detach().numpy()
        self.h, self.z = self.seen(images)
        self.train, self.train_logits = self.seen(data.train.pixels())
        self.labels = data.train.labels.numpy()
        self.held_out, self.held_out_logits = self.seen(data.calibration.pixels())
        self.held_out_labels = data.calibration.labels.numpy()
        with torch.no_grad():
            self.given = self.detector.score(images.double()).numpy()

    def seen(self, images):
        with torch.no_grad():
            found = self.detector.network.activations(images.double())
        return found["penultimate"].numpy(), found["logits"].numpy()

    def is_scored(self, expected, rtol=1e-5):
        """Statistics are kept in float32, so that float64 scores hold five digits or more."""
        np.testing.assert_allclose(self.given, np.asarray(expected), rtol=rtol, atol=1e-7)


@pytest.fixture
def case(make_trained, training_data, images):
    return lambda method, **params: Case(make_trained(method, **params), training_data, images)


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


def test_knn_of_an_image_of_the_bank_is_zero_at_k_1_with_a_finite_gradient(make_trained, training_data):
    detector = make_trained(KNN, k=1).fit(training_data)
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


def test_vim_without_any_residual_is_refused(make_trained, training_data):
    class Flat(type(make_trained(Energy).network.network)):
        def activations(self, x):
            found = super().activations(x)
            return {**found, "penultimate": 0 * found["penultimate"], "logits": 0 * found["logits"] + self.linear.bias}

    detector = make_trained(ViM, network=Flat)
    with torch.no_grad():
        detector.network.network.linear.bias.zero_()
    with pytest.raises(UsageError, match="no training image has anything outside ViM's principal subspace"):
        detector.fit(training_data)


def softmax(z):
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def test_entropy_is_minus_the_logarithm_of_the_softmaxs_entropy(case):
    found = case(Entropy)
    found.is_scored([-np.log(-(p * np.log(p)).sum()) for p in softmax(found.z)])


def test_entropy_tells_confident_images_apart_and_keeps_their_gradient():
    score = Entropy(None, shape=(1, 8, 8), classes=3, params=Entropy.Params())
    logits = torch.tensor(
        [[1000.0, 0.0, 0.0], [100.0, 0.0, 0.0], [101.0, 0.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True
    )
    scores = score.score_logits(logits)
    (gradient,) = torch.autograd.grad(scores.sum(), logits)
    # far out, H = sum of exp(d) (1 - d) over the others
    expected = [d - np.log(2 * (1 + d)) for d in (1000.0, 100.0, 101.0)] + [-np.log(np.log(3))]
    np.testing.assert_allclose(scores.detach().numpy(), expected, rtol=1e-5)
    assert bool(gradient.isfinite().all()) and gradient[1, 0].item() == pytest.approx(1 - 1 / 101, rel=1e-3)


@pytest.mark.parametrize(("gamma", "top"), [(0.1, 100), (1.0, 3), (0.5, 2)])
def test_gen_is_minus_the_logarithm_of_the_generalised_entropy(case, gamma, top):
    found = case(GEN, gamma=gamma, top=top)
    largest = np.sort(softmax(found.z))[:, ::-1][:, :top]
    found.is_scored(-np.log(((largest * (1 - largest)) ** gamma).sum(axis=1)))


def test_gen_tells_confident_images_apart():
    score = GEN(None, shape=(1, 8, 8), classes=3, params=GEN.Params(gamma=1.0, top=100))
    logits = torch.tensor([[50.0, 0.0, 0.0], [60.0, 0.0, 0.0]])
    np.testing.assert_allclose(score.score_logits(logits).numpy(), [50 - np.log(4), 60 - np.log(4)], rtol=1e-5)


def test_gradnorm_is_the_size_of_the_gradient_that_a_pass_backward_gives(case):
    found = case(GradNorm, temperature=2.0)
    head, expected = found.detector.network.network.linear, []
    for h in torch.from_numpy(found.h):
        weight = head.weight.detach().clone().requires_grad_(True)
        loss = -torch.log_softmax((weight @ h + head.bias.detach()) / 2.0, dim=0).mean()
        expected.append(float(torch.autograd.grad(loss, weight)[0].abs().sum()))
    found.is_scored(expected)


def test_klm_is_minus_the_divergence_from_the_nearest_typical_softmax_of_calibration_images(case):
    found = case(KLM)
    held_out, predicted = softmax(found.held_out_logits), found.held_out_logits.argmax(axis=1)
    typical = [held_out[predicted == k].mean(axis=0) for k in range(3)]
    found.is_scored([max(-(p * np.log(p / d)).sum() for d in typical) for p in softmax(found.z)], rtol=1e-4)


def test_temperature_scaling_is_the_log_odds_at_the_likeliest_temperature(case, training_data):
    training_data.calibration.labels[::9] = 1  # so that the classifier has errors
    found = case(TemperatureScaling)

    def likelihood(temperature):
        p = softmax(found.held_out_logits / temperature)
        return np.log(p[np.arange(len(p)), found.held_out_labels]).sum()

    temperature = float(found.detector.fitted["temperature"])
    assert 0.011 < temperature < 90
    assert likelihood(temperature) > max(likelihood(temperature * 1.01), likelihood(temperature * 0.99))
    top = softmax(found.z / temperature).max(axis=1)
    found.is_scored(np.log(top / (1 - top)))


@pytest.mark.parametrize(("part", "ratio"), [(SMALLEST_SUM, 1.0), (2.0 * SMALLEST_SUM, 1.5), (0.0, 1.0)])
def test_features_without_a_sum_are_not_sharpened(part, ratio):
    features = torch.tensor([[part, part / 2.0, -1.0]], dtype=torch.float64)
    kept = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert float(_sharpening(features, kept)) == pytest.approx(np.exp(ratio))


def test_a_classifier_without_an_error_gets_the_coldest_temperature():
    logits, labels = 5.0 * torch.eye(3, dtype=torch.float64), torch.arange(3)
    assert best_temperature(logits, labels) == pytest.approx(0.01)
    assert best_temperature(-logits, labels) == pytest.approx(100.0)


def test_a_temperature_at_the_limit_is_told_also_by_a_state_that_was_loaded(make_trained, training_data):
    detector, other = (make_trained(TemperatureScaling) for _ in range(2))
    assert detector.remarks == ()
    detector.fit(training_data)  # no calibration image is classified wrong
    other.load_state_dict(detector.state_dict())
    assert other.remarks == detector.remarks and "the limit of the search" in detector.remarks[0]


def test_nnguide_is_the_energy_times_the_mean_guided_similarity(case):
    found = case(NNGuide, k=6)
    bank = [logsumexp(z) * unit(t) for t, z in zip(found.train, found.train_logits, strict=True)]
    means = [np.mean(sorted((unit(h) @ b for b in bank), reverse=True)[:6]) for h in found.h]
    found.is_scored(np.array(means) * logsumexp(found.z))


def test_she_is_the_product_with_the_mean_of_the_rightly_predicted_images_of_the_class(case):
    found = case(SHE)
    right = found.train_logits.argmax(axis=1) == found.labels
    assert 0 < right.sum() < len(right)
    patterns = [found.train[right & (found.labels == k)].mean(axis=0) for k in range(3)]
    found.is_scored([h @ patterns[z.argmax()] for h, z in zip(found.h, found.z, strict=True)])


def squared_distance(h, mean, covariance):
    return (h - mean) @ np.linalg.inv(covariance) @ (h - mean)


def test_rmds_is_the_nearest_class_distance_relative_to_that_of_all_images(case):
    found = case(RMDS)
    means = [found.train[found.labels == k].mean(axis=0) for k in range(3)]
    within = np.cov((found.train - np.array(means)[found.labels]).T, bias=True)
    whole = found.train.mean(axis=0), np.cov(found.train.T, bias=True)
    nearest = [min(squared_distance(h, m, within) for m in means) - squared_distance(h, *whole) for h in found.h]
    found.is_scored(-np.array(nearest), rtol=1e-3)  # of two distances of which each holds 1e-5


def test_fdbd_is_the_mean_distance_to_the_boundaries_relative_to_that_from_the_mean(case):
    found = case(FDBD)
    mean, expected = found.train.mean(axis=0), []
    for h, z in zip(found.h, found.z, strict=True):
        y = z.argmax()
        others = [k for k in range(3) if k != y]
        distances = [abs(z[y] - z[k]) / np.linalg.norm(found.weight[y] - found.weight[k]) for k in others]
        expected.append(np.mean(distances) / np.linalg.norm(h - mean))
    found.is_scored(expected)


def test_nci_is_the_alignment_with_the_predicted_class_and_the_features_size(case):
    found = case(NCI, alpha=0.3)
    mean, expected = found.train.mean(axis=0), []
    for h, z in zip(found.h, found.z, strict=True):
        alignment = (h - mean) @ found.weight[z.argmax()] / np.linalg.norm(h - mean)
        expected.append(alignment + 0.3 * np.abs(h).sum())
    found.is_scored(expected)


@pytest.mark.parametrize("alpha", [2, 10])
def test_openmax_is_the_log_odds_of_a_known_class_among_revised_logits(case, alpha):
    found = case(OpenMax, tail=20, alpha=alpha)
    right = found.train_logits.argmax(axis=1) == found.labels
    means = [found.train_logits[right & (found.labels == k)].mean(axis=0) for k in range(3)]
    tails = [
        np.sort(np.linalg.norm(found.train_logits[right & (found.labels == k)] - means[k], axis=1))[-20:]
        for k in range(3)
    ]
    ranks, expected = min(alpha, 3), []
    for z in found.z:
        revised = z.copy()
        for rank, k in enumerate(np.argsort(-z)[:ranks]):
            shape, scale = weibull_by_search(tails[k] - tails[k].min() + SHIFT)
            shifted = np.linalg.norm(z - means[k]) - tails[k].min() + SHIFT
            revised[k] = z[k] * (1 - (ranks - rank) / ranks * (1 - np.exp(-((shifted / scale) ** shape))))
        unknown = softmax(np.append(revised, (z - revised).sum()))[-1]
        expected.append(np.log((1 - unknown) / unknown))
    found.is_scored(expected, rtol=1e-3)


def weibull_by_search(values):
    """The likeliest shape on a grid that is narrowed around its best point, and its scale."""

    def likelihood(shape):
        scale = values.max() * np.mean((values / values.max()) ** shape) ** (1 / shape)
        return np.sum(np.log(shape / scale) + (shape - 1) * np.log(values / scale) - (values / scale) ** shape), scale

    low, high = 1e2, 1e7
    for _ in range(40):
        grid = np.geomspace(low, high, 21)
        best = max(range(21), key=lambda i: likelihood(grid[i])[0])
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 20)]
    return grid[best], likelihood(grid[best])[1]


def test_the_tail_of_openmax_is_fitted_as_scipy_fits_it():
    from scipy.stats import weibull_min

    above = np.random.default_rng(0).gamma(2.0, 1.0, 25)
    above -= above.min()
    shape, location = weibull(above)
    theirs, _, scale = weibull_min.fit(above + SHIFT, shape, floc=0, scale=location + SHIFT)
    assert (shape, location) == (pytest.approx(theirs, rel=1e-3), pytest.approx(scale - SHIFT, abs=1e-2))


def test_a_tail_of_equal_distances_is_a_step():
    shape, location = weibull(np.zeros(5))
    assert shape == 1e8 and location == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (KLM, "the network predicts class 1 for no calibration image"),
        (SHE, "the network rightly predicts class 1 for no training image"),
        (RMDS, r"no training image has label \[1\]"),
        (OpenMax, "the network rightly predicts class 1 for no training image"),
    ],
)
def test_a_class_without_images_is_refused(method, sentence, make_trained, training_data):
    detector = make_trained(method)
    with torch.no_grad():
        detector.network.network.linear.bias[1] -= 1e3  # never predicted
    training_data.train.labels[training_data.train.labels == 1] = 2
    with pytest.raises(UsageError, match=sentence):
        detector.fit(training_data)


def test_a_class_with_too_few_images_for_a_tail_is_refused(make_trained, training_data):
    with pytest.raises(UsageError, match="OpenMax's tail has 500; choose a smaller tail"):
        make_trained(OpenMax, tail=500).fit(training_data)


def test_a_temperature_of_images_without_labels_is_refused(make_trained, training_data):
    training_data.calibration.labels[0] = -1
    with pytest.raises(UsageError, match="calibration set has images without labels"):
        make_trained(TemperatureScaling).fit(training_data)


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


def test_the_ratio_of_sums_is_1_where_no_feature_is_positive(make_trained):
    shaping = make_trained(Energy, shaping={"kind": "ash-s", "percentile": 50}).shaping
    features = torch.tensor([[-1.0, -2.0, -3.0, -4.0], [0.0, 0.0, 0.0, 0.0]])
    shaped, _ = shaping(features, torch.zeros(3, 4))
    torch.testing.assert_close(shaped[0], torch.tensor([-1.0, -2.0, 0.0, 0.0]) * np.e)
    assert shaped[1].tolist() == [0.0] * 4


def test_of_equal_features_ash_keeps_the_first_units_in_every_batch(make_trained):
    shaping = make_trained(Energy, shaping={"kind": "ash-b", "percentile": 50}).shaping
    features = torch.zeros(1, 400)  # wide enough for a sort that is not stable to show it
    features[0, 7] = 2.0
    for count in (1, 7):
        shaped, _ = shaping(features.repeat(count, 1), torch.zeros(3, 400))
        assert shaped[-1, :200].tolist() == pytest.approx([0.01] * 200) and not bool(shaped[-1, 200:].any())


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


def test_matched_features_and_classes_of_a_shaped_score(make_trained, training_data, images):
    detector = make_trained(Energy, shaping={"kind": "react", "percentile": 70}).fit(training_data)
    plain = detector.network.activations(images)
    clipped = torch.minimum(plain["penultimate"], detector.shaping.threshold)
    assert torch.equal(detector.features(images, "penultimate"), clipped)
    assert torch.equal(detector.features(images, "logits"), detector.network.network.linear(clipped))
    assert torch.equal(detector.logits(images), plain["logits"])  # the classifier's own decisions


# --------------------------------------------------------------------------- by class


@pytest.mark.parametrize("method", [SHE, FDBD, NCI, ODIN])
def test_the_score_is_that_of_the_predicted_class(method, case, images):
    found = case(method)
    with torch.no_grad():
        by_class = found.detector.class_scores(images.double())
    predicted = found.z.argmax(axis=1)
    found.is_scored(by_class[torch.arange(len(images)), predicted].numpy())
    assert len(set(predicted)) > 1 and by_class.shape == (len(images), 3)


@pytest.mark.parametrize("shaping", [None, {"kind": "react", "percentile": 70}])
@pytest.mark.parametrize("method", [SHE, FDBD, NCI])
def test_a_margin_is_the_logit_less_the_largest_other_one_that_the_score_sees(method, shaping, case, images):
    detector = case(method, shaping=shaping).detector
    with torch.no_grad():
        scores, margins = detector.class_scores_and_margins(images.double())
        logits = detector.features(images.double(), "logits")
        assert torch.equal(scores, detector.class_scores(images.double()))
        chosen = scores.gather(1, margins.argmax(dim=1, keepdim=True)).squeeze(1)
        assert torch.equal(chosen, detector.score(images.double()))
    for own, given in zip(logits.tolist(), margins.tolist(), strict=True):
        others = [max(own[:k] + own[k + 1 :]) for k in range(3)]
        assert given == pytest.approx([z - other for z, other in zip(own, others, strict=True)])


def test_of_equal_logits_no_class_has_a_margin_and_a_single_class_always_has():
    assert margins(torch.tensor([[2.0, 2.0, 1.0]])).tolist() == [[0.0, 0.0, -1.0]]
    assert margins(torch.tensor([[2.0]])).tolist() == [[torch.inf]]


def test_klm_is_the_best_of_the_classes(case, images):
    found = case(KLM)
    with torch.no_grad():
        found.is_scored(found.detector.class_scores(images.double()).amax(dim=1).numpy())


@pytest.mark.parametrize("params", [{}, {"magnitude": 0.01}, {"layers": "logistic"}])
def test_mahalanobis_of_a_class_takes_the_distance_to_it_in_every_layer(case, images, params):
    found = case(Mahalanobis, **params)
    steps = found.detector.params.magnitude
    with torch.no_grad():
        by_class = found.detector.class_scores(images.double())
        points = [images.double()] * 2
        if steps:
            points = [
                p + steps * g.sign() for p, g in zip(points, found.detector._layer_gradients(points[0]), strict=True)
            ]
        layers = [found.detector._class_distances(p)[i] for i, p in enumerate(points)]
        expected = sum(w * layer for w, layer in zip(found.detector.weights, layers, strict=True))
        nearest = sum(w * layer.amax(dim=1) for w, layer in zip(found.detector.weights, layers, strict=True))
    torch.testing.assert_close(by_class, expected)
    found.is_scored(nearest.numpy())
    if bool((found.detector.weights >= 0).all()):
        assert bool((by_class.amax(dim=1) <= nearest + 1e-9).all())


def test_distances_by_class_are_those_to_every_mean():
    gaussians = TiedGaussians(2, 2)
    gaussians.set(torch.tensor([[0.0, 0.0], [10.0, 0.0]]).double(), torch.eye(2).double())
    assert gaussians.by_class(torch.tensor([[3.0, 4.0]])).tolist() == [pytest.approx([-25.0, -65.0])]


def test_ash_b_says_that_its_gradient_is_that_of_unshaped_features(make_trained, training_data, images):
    shaped, plain = make_trained(Energy, shaping={"kind": "ash-b", "percentile": 50}), make_trained(Energy)
    plain.network.load_state_dict(shaped.network.state_dict())
    features, _ = shaped._unshaped(images)
    features = features.detach().requires_grad_(True)
    head, upstream = shaped.network.network.linear, torch.randn(len(images), 8)
    values, _ = shaped.shaping(features, head.weight)
    (gradient,) = torch.autograd.grad(values, features, upstream)
    assert torch.equal(gradient, upstream)
    assert "as if the features were not shaped" in shaped.info.approximate_gradient
    assert plain.info.approximate_gradient == Energy.info.approximate_gradient == ""


def test_fdbd_between_classes_whose_weights_are_alike_is_finite(make_trained, training_data, images):
    detector = make_trained(FDBD)
    with torch.no_grad():
        detector.network.network.linear.weight[1] = detector.network.network.linear.weight[0]
        detector.network.network.linear.bias[1] = detector.network.network.linear.bias[0]
    detector.fit(training_data)
    leaf = images.clone().requires_grad_(True)
    score = detector.score(leaf)
    (gradient,) = torch.autograd.grad(score.sum(), leaf)
    assert bool(score.isfinite().all()) and bool(gradient.isfinite().all())
