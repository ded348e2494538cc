"""Scores of pytorch-ood behind the scoring interface, and their agreement with the library called by hand."""

import copy
import re
from types import SimpleNamespace

import pytest
import torch

from bench.detectors.adapters.parts import Parts
from bench.detectors.adapters.pytorch_ood import PytorchOOD, library_detector
from bench.detectors.boundary import admit
from bench.detectors.energy import Energy
from bench.errors import CardError, InputError, UsageError
from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase

library = pytest.importorskip("pytorch_ood.detector")

IN_DOUBLE = "check_gradient_is_the_gradient"
"""Gram's code takes powers in float32 whatever it is given, in which steps of 1e-6 drown."""

UNSAVED = "check_saved_and_loaded_it_gives_the_same_bits"
"""What the library fits is not in the detector's state."""


@pytest.fixture
def unfitted(make_detector, linear_network):
    """On a classifier that is right: each class's bright row is its logit."""

    def make(name, **params):
        detector = make_detector(PytorchOOD, network=linear_network, detector=name, **params)
        with torch.no_grad():
            rows = detector.network.network.linear.weight.mul_(0.1).view(3, 8, 8)
            for label in range(3):
                rows[label, 2 * label] += 1.0
        return detector

    return make


@pytest.fixture
def fitted(unfitted, training_data):
    return lambda name, **params: unfitted(name, **params).fit(training_data)


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["MaxSoftmax", "Mahalanobis", "ODIN", "Gram"])
def test_a_library_score_keeps_the_contract(name, check, fitted, images):
    if check.__name__ == UNSAVED and name != "MaxSoftmax":
        pytest.skip("fitted whenever it is loaded")
    if check.__name__ == IN_DOUBLE and name == "Gram":
        pytest.skip("its code is of float32; longer steps agree, as is asked below")
    check(DetectorCase(fitted(name), images))


@pytest.mark.parametrize(
    "name",
    ["ASH", "DICE", "EnergyBased", "Entropy", "fDBD", "GEN", "GMM", "GradNorm", "GradUncertainty", "KLMatching", "KNN",
     "LTS", "MahalanobisODIN", "MaxLogit", "MultiMahalanobis", "NCI", "NNGuide", "PNML", "ReAct", "RMD",
     "SCALE", "SHE", "TemperatureScaling", "ViM", "VRA"],
)  # fmt: skip
def test_every_other_score_that_a_classifier_is_enough_for_is_finite_and_tells_images_apart(name, fitted, images):
    scores = fitted(name).score(images)
    assert scores.shape == (len(images),)
    assert scores.isfinite().all() and scores.std() > 0


WHITE = (
    "ASH", "DICE", "EnergyBased", "Entropy", "fDBD", "GEN", "GMM", "GradNorm", "Gram", "KLMatching", "LTS",
    "Mahalanobis", "MaxLogit", "MaxSoftmax", "MultiMahalanobis", "NCI", "NNGuide", "ODIN", "PNML", "ReAct", "RMD",
    "SCALE", "SHE", "TemperatureScaling", "ViM", "VRA",
)  # fmt: skip


@pytest.mark.parametrize("name", WHITE)
def test_a_score_whose_gradient_agrees_with_differences_is_white_box_and_says_so(
    name, fitted, make_detector, images, training_data
):
    detector = fitted(name)
    if name in ("ASH", "SCALE"):  # they keep the largest features, and those of this classifier are pixels with ties
        detector = make_detector(PytorchOOD, detector=name).fit(training_data)
    assert detector.info.differentiable
    assert detector.remarks == (
        f"pytorch-ood's {name} is attacked white-box: its gradient agrees with central differences.",
    )
    leaf = images.clone().requires_grad_(True)
    scores = detector.score(leaf)
    (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    assert bool(gradient.any()) and bool(gradient.isfinite().all())
    torch.testing.assert_close(scores.detach(), detector.score(images))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("KNN", r"its gradient cannot be followed \(RuntimeError: Can't call numpy"),
        ("OpenMax", r"its gradient cannot be followed \(RuntimeError: Can't call numpy"),
        ("MahalanobisODIN", "its gradient does not reach the images"),
    ],
)
def test_one_that_leaves_torch_or_cuts_the_graph_for_good_is_a_black_box_and_says_why(name, why, fitted, images):
    detector = fitted(name)
    assert not detector.info.differentiable
    assert len(detector.remarks) == 1
    assert re.match(f"pytorch-ood's {name} is a black box to attacks: {why}", detector.remarks[0])
    assert not detector.score(images.clone().requires_grad_(True)).requires_grad


def test_the_gradient_is_that_of_the_native_score(fitted, images):
    detector = fitted("EnergyBased")
    ours = Energy(detector.network, shape=(1, 8, 8), classes=3, params=Energy.Params())
    found = []
    for score in (detector.score, ours.score):
        leaf = images.clone().requires_grad_(True)
        found += torch.autograd.grad(score(leaf).sum(), leaf)
    torch.testing.assert_close(*found)


def test_a_wrong_gradient_makes_a_black_box(unfitted, training_data, monkeypatch):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            return logits.clone()

        @staticmethod
        def backward(ctx, slope):
            return 2.0 * slope

    there = library.MaxLogit.predict_logits
    monkeypatch.setattr(library.MaxLogit, "predict_logits", lambda self, logits: there(self, Doubled.apply(logits)))
    detector = unfitted("MaxLogit").fit(training_data)
    assert not detector.info.differentiable
    assert "its gradient agrees with central differences in 0% of directions" in detector.remarks[0]


@pytest.mark.parametrize("name", ["Gram", "MultiMahalanobis", "ReAct"])
def test_no_graph_is_kept_from_one_call_to_the_next(name, fitted, images):
    detector = fitted(name)
    assert detector.score(images.clone().requires_grad_(True)).requires_grad
    copy.deepcopy(detector)  # which tensors with a graph refuse


def test_behind_the_boundary_what_the_fit_has_found_out_holds(unfitted, training_data, images):
    for name, white in (("ViM", True), ("KNN", False)):
        detector = admit(unfitted(name), f"detector '{name}'", fitted=False)
        detector.fit(training_data)
        assert detector.info.differentiable is white
        assert detector.score(images.clone().requires_grad_(True)).requires_grad is white
        assert f"pytorch-ood's {name} is" in detector.remarks[0]


def test_what_the_library_fitted_changes_its_type_with_the_detector(fitted, images):
    detector = fitted("Mahalanobis")
    before = detector.score(images)
    wide = copy.deepcopy(detector).double()
    assert wide.score(images.double()).dtype == torch.float64
    torch.testing.assert_close(wide.score(images.double()).float(), before, rtol=1e-3, atol=1e-3)
    assert detector.score(images).dtype == torch.float32


def test_hooks_of_the_library_see_the_penultimate_features(make_detector, images, training_data):
    scores = make_detector(PytorchOOD, detector="NACUE").fit(training_data).score(images)
    assert scores.isfinite().all() and scores.std() > 0


def test_the_sign_is_turned(fitted, images):
    detector = fitted("EnergyBased")
    by_hand = library.EnergyBased(detector.network).predict(images)
    assert torch.equal(detector.score(images), -by_hand)
    ours = Energy(detector.network, shape=(1, 8, 8), classes=3, params=Energy.Params())
    assert torch.allclose(detector.score(images), ours.score(images), rtol=1e-5)


def test_a_fit_sees_the_training_images_in_unit_range(fitted, images, training_data):
    detector = fitted("Mahalanobis")
    by_hand = library.Mahalanobis(None)
    features = detector.network.activations(training_data.train.pixels())["penultimate"]
    by_hand.fit_features(features, training_data.train.labels)
    expected = -by_hand.predict_features(detector.network.activations(images)["penultimate"])
    assert torch.allclose(detector.score(images), expected, rtol=1e-4)


def test_a_limit_is_the_most_images_that_a_fit_sees(fitted, images):
    assert not torch.allclose(fitted("KNN", limit=60).score(images), fitted("KNN").score(images))


def test_arguments_of_the_library_can_be_given(fitted, images):
    warm = fitted("EnergyBased", args={"t": 100.0}).score(images)
    assert not torch.allclose(warm, fitted("EnergyBased").score(images))


def test_a_score_that_depends_on_batch_mates_is_taken_image_by_image(fitted, images):
    detector = fitted("OpenMax")
    assert detector._alone and not fitted("KNN")._alone
    assert torch.equal(detector.score(images)[:1], detector.score(images[:1]))


def test_fitting_and_scoring_leave_the_global_generator_alone(unfitted, images, training_data):
    detector = unfitted("Gram")  # its fit draws a split
    before = torch.get_rng_state()
    detector.fit(training_data).score(images)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fit_is_the_same_every_time(unfitted, images, training_data):
    detector = unfitted("Gram")
    first = detector.fit(training_data).score(images)
    torch.rand(1)
    assert torch.equal(detector.fit(training_data).score(images), first)


@pytest.mark.parametrize("name", ["RankFeat", "MCD"])
def test_a_score_that_is_constant_on_this_classifier_is_refused(name, fitted):
    with pytest.raises(UsageError, match="gives every image the same score"):
        fitted(name)


@pytest.mark.parametrize(("name", "argument"), [("MCM", "text_embeddings"), ("WeightedEBO", "weights")])
def test_what_a_classifier_does_not_have_is_asked_for_by_name(name, argument, fitted):
    with pytest.raises(UsageError, match=f"needs '{argument}'"):
        fitted(name)


def test_an_argument_that_the_library_does_not_take_is_one_sentence(fitted):
    with pytest.raises(CardError, match="ODIN has no argument 'magnitude'; its arguments: model"):
        fitted("ODIN", args={"magnitude": 1})


def test_an_unknown_detector_lists_the_nearest_ones():
    with pytest.raises(UsageError, match="'Mahalanobiss'; did you mean Mahalanobis or"):
        library_detector("Mahalanobiss")
    with pytest.raises(UsageError, match="'Maha'; did you mean Mahalanobis"):  # little more than half of the name
        library_detector("Maha")
    with pytest.raises(UsageError, match="'odin_preprocessing'"):  # a function, not a detector
        library_detector("odin_preprocessing")


def test_another_version_than_the_cards_is_refused():
    with pytest.raises(CardError, match=r"pytorch-ood 0\.0\.1 is asked for and"):
        library_detector("KNN", "0.0.1")


def test_an_unfitted_score_says_so(unfitted, images):
    with pytest.raises(InputError, match="must be fitted before"):
        unfitted("KNN").score(images)


def test_a_class_without_images_is_one_sentence(unfitted, training_data):
    train = training_data.train
    train.labels[train.labels == 1] = 2
    with pytest.raises(UsageError, match="Mahalanobis cannot be fitted to 600 images of 3 classes"):
        unfitted("Mahalanobis").fit(training_data)


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (AssertionError(), r"AssertionError: without a word\)"),
        (ValueError("two\n  lines"), r"ValueError: two lines\)"),
        (ValueError("x" * 999), r"ValueError: x{200}\)"),
    ],
)
def test_whatever_the_library_raises_is_one_short_sentence(unfitted, training_data, monkeypatch, raised, reason):
    detector = unfitted("KNN")

    def fit(loader):
        raise raised

    monkeypatch.setattr(detector, "_make", lambda: SimpleNamespace(fit=fit))
    with pytest.raises(UsageError, match=reason):
        detector.fit(training_data)


def test_a_classifier_whose_logits_are_not_linear_in_its_features_is_told(make_detector):
    class Bent(type(make_detector(Energy).network.network)):
        def activations(self, x):
            found = super().activations(x)
            return {**found, "logits": found["logits"] ** 3}

    network = make_detector(Energy, network=Bent).network
    with pytest.raises(UsageError, match="no linear layer"):
        _ = Parts(network, 3, (1, 8, 8), chained=False, hooked=False).linear


def test_vim_keeps_half_of_the_features_dimensions_and_dice_drops_nine_tenths_of_the_weights(make_detector):
    network = make_detector(Energy).network
    parts = Parts(network, 3, (1, 8, 8), chained=False, hooked=False)
    features = network.activations(torch.zeros(1, 1, 8, 8))["penultimate"].flatten(1).shape[1]
    assert features >= 6  # so that a third of it is another number
    assert (parts.d, parts.p) == (features // 2, 0.9)
    assert (parts.num_classes, parts.w.shape, parts.b.shape) == (3, (3, features), (3,))


@pytest.mark.parametrize("name", ["GradNorm", "MaxSoftmax"])
def test_the_library_leaves_which_weights_take_gradients_as_it_was(name, fitted, images):
    detector = fitted(name)
    for asked in (True, False):
        for parameter in detector.parameters():
            parameter.requires_grad_(asked)
        detector.score(images)
        assert [parameter.requires_grad for parameter in detector.parameters()] == [asked] * 2
