"""Every detector keeps the contract, and the contract catches detectors that break it."""

import pytest
import torch

from bench.detectors.base import DetectorInfo
from bench.detectors.energy import Energy
from bench.detectors.gat import GAT
from bench.detectors.mahalanobis import Mahalanobis
from bench.detectors.msp import MSP
from bench.detectors.odin import ODIN
from bench.detectors.oe import OE
from bench.detectors.scores.base import margins
from bench.errors import InputError
from bench.testing.detectors import (
    DETECTOR_CHECKS,
    DetectorCase,
    check_detector,
    check_saved_and_loaded_it_gives_the_same_bits,
)

SETTINGS = {
    "msp": (MSP, {}),
    "msp-probability": (MSP, {"score": "probability"}),
    "energy": (Energy, {"temperature": 2.0}),
    "odin": (ODIN, {}),
    "odin-large-step": (ODIN, {"temperature": 10.0, "magnitude": 0.02}),
    "mahalanobis": (Mahalanobis, {}),
    "mahalanobis-step": (Mahalanobis, {"magnitude": 0.005}),
    "mahalanobis-logistic": (Mahalanobis, {"layers": "logistic"}),
    "oe": (OE, {}),
    "oe-msp": (OE, {"score": "msp"}),
    "gat": (GAT, {}),
}


@pytest.fixture(params=list(SETTINGS))
def case(request, make_detector, training_data, images):
    method, params = SETTINGS[request.param]
    detector = make_detector(method, **params).fit(training_data)
    ood = training_data.outliers.pixels()[:8] if method is Mahalanobis else None
    inside = training_data.calibration.pixels()[:8] if method is Mahalanobis else images
    return DetectorCase(detector, inside, ood)


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_every_detector_keeps_the_contract(check, case):
    check(case)


class Wrong(Energy):
    """Breaks one rule at a time."""

    info = DetectorInfo(components=("classifier",))


class TwoColumns(Wrong):
    def score(self, x, *, noise=None):
        return self.network(x)[:, :2]


class Constant(Wrong):
    def score(self, x, *, noise=None):
        return 0 * super().score(x)


class LooksAtItsBatch(Wrong):
    def score(self, x, *, noise=None):
        score = super().score(x)
        return score - score.mean()


class BlamesRoundings(LooksAtItsBatch):
    info = DetectorInfo(components=("classifier",), roundings="a large sum")


class FeelsTheGradientMode(Wrong):
    def score(self, x, *, noise=None):
        return super().score(x) + float(torch.is_grad_enabled())


class TwoLogits(Wrong):
    def logits(self, x):
        return self.network(x)[:, :2]


class ScoresOfTwoClasses(Wrong):
    def class_scores(self, x):
        return self.network(x)[:, :2]


class CutClassScores(Wrong):
    def class_scores(self, x):
        return self.network(x.detach())


class BrokenClassScores(Wrong):
    def class_scores(self, x):
        return self.network(x) * torch.nan


class NoScoresBesideMargins(Wrong):
    def class_scores(self, x):
        return self.network(x)

    def class_scores_and_margins(self, x):
        return None, margins(self.network(x))


class OtherScoresBesideMargins(NoScoresBesideMargins):
    def class_scores_and_margins(self, x):
        return 2 * self.network(x), None


class MarginsOfTwoClasses(NoScoresBesideMargins):
    def class_scores_and_margins(self, x):
        return self.network(x), self.network(x)[:, :2]


class AllPredicted(NoScoresBesideMargins):
    def class_scores_and_margins(self, x):
        return self.network(x), self.network(x).exp()


class ScoreOfAnotherClass(NoScoresBesideMargins):
    def class_scores_and_margins(self, x):
        return self.network(x), margins(-self.network(x))


class CutMargins(NoScoresBesideMargins):
    def score_logits(self, logits):
        return logits.amax(dim=1)

    def class_scores_and_margins(self, x):
        return self.network(x), margins(self.network(x)).detach()


class ReversedObjective(Wrong):
    def objective(self, x):
        return -self.score(x)

    def score_and_objective(self, x):
        return self.score(x), self.objective(x)


class DetachedHalf(Wrong):
    def score(self, x, *, noise=None):
        return super().score(x) + super().score(x).detach()


class RootOfPixels(Wrong):
    def score(self, x, *, noise=None):
        return super().score(x) + x.flatten(1).sum(dim=1).sqrt()

    def score_and_objective(self, x):
        score = self.score(x)
        return score, score


class NanForOne(Wrong):
    def score(self, x, *, noise=None):
        score = super().score(x)
        return torch.where(score == score.max(), torch.nan, score)


class TakesSlightlyDarkerThanBlack(Wrong):
    def forward(self, x):
        if x.numel() == 0 or not x.is_floating_point() or x.shape[1:] != self.shape or x.max() > 1 or not x.min() >= -1:
            raise InputError("bad images")
        return self.score(x)


class DrawsGlobally(Wrong):
    def score(self, x, *, noise=None):
        torch.rand(1)
        return super().score(x)


class SwitchesToTraining(Wrong):
    def score(self, x, *, noise=None):
        self.network.train()
        return super().score(x)


class WritesIntoImages(Wrong):
    def score(self, x, *, noise=None):
        score = super().score(x.detach().clone())
        x.data.mul_(0.5)
        return score + 0 * x.flatten(1).sum(1)


class RoundsItsGradientAway(Wrong):
    """Right in float64: zero of a class is divided by next to zero."""

    def score_logits(self, logits):
        return ((logits[:, :1] - logits) / torch.tensor([1e-8, 1.0, 1.0])).sum(dim=1)


class RoundsTheGradientsOfClassesAway(Wrong):
    def class_scores(self, x):
        logits = self.network(x)
        return logits + 1e9 * (logits[:, :1] - logits[:, :1].clone())


class HiddenState(Wrong):
    scale = 1.0

    def score(self, x, *, noise=None):
        return self.scale * super().score(x)


class TakesAnything(Wrong):
    def forward(self, x):
        return x.float().flatten(1).sum(1)


def case_of(detector, images):
    if isinstance(detector, HiddenState):
        detector.scale = 3.0
    return DetectorCase(detector, images)


BROKEN = [
    (TwoColumns, "check_scores_are_one_finite_number_an_image"),
    (NanForOne, "check_scores_are_one_finite_number_an_image"),
    (Constant, "check_scores_differ_between_images"),
    (LooksAtItsBatch, "check_scores_do_not_depend_on_batch_mates"),
    (FeelsTheGradientMode, "check_scores_are_the_same_without_gradients"),
    (TwoLogits, "check_logits_are_those_of_a_classifier"),
    (ScoresOfTwoClasses, "check_class_scores_are_one_a_class"),
    (CutClassScores, "check_class_scores_are_one_a_class"),
    (BrokenClassScores, "check_class_scores_are_one_a_class"),
    (NoScoresBesideMargins, "check_class_scores_are_one_a_class"),
    (OtherScoresBesideMargins, "check_class_scores_are_one_a_class"),
    (MarginsOfTwoClasses, "check_class_scores_are_one_a_class"),
    (AllPredicted, "check_class_scores_are_one_a_class"),
    (ScoreOfAnotherClass, "check_class_scores_are_one_a_class"),
    (CutMargins, "check_class_scores_are_one_a_class"),
    (BlamesRoundings, "check_scores_do_not_depend_on_batch_mates"),
    (ReversedObjective, "check_objective_orders_images_as_the_score_does"),
    (DetachedHalf, "check_gradient_is_the_gradient"),
    (RoundsItsGradientAway, "check_float32_gradient_is_that_of_float64"),
    (RoundsTheGradientsOfClassesAway, "check_float32_gradient_is_that_of_float64"),
    (RootOfPixels, "check_gradient_is_finite_everywhere"),
    (DrawsGlobally, "check_model_and_generator_are_untouched"),
    (SwitchesToTraining, "check_model_and_generator_are_untouched"),
    (WritesIntoImages, "check_images_are_untouched"),
    (HiddenState, "check_saved_and_loaded_it_gives_the_same_bits"),
    (TakesSlightlyDarkerThanBlack, "check_bad_images_are_refused"),
    (TakesAnything, "check_bad_images_are_refused"),
]


@pytest.mark.parametrize(("broken", "check"), BROKEN)
def test_the_contract_catches_a_broken_detector(broken, check, make_detector, images):
    case = case_of(make_detector(broken), images)
    chosen = next(c for c in DETECTOR_CHECKS if c.__name__ == check)
    with pytest.raises(AssertionError):
        chosen(case)


def test_the_contract_catches_a_score_of_the_wrong_sign(make_detector, training_data):
    class Upside(Mahalanobis):
        def score(self, x, *, noise=None):
            return -super().score(x)

    detector = make_detector(Upside).fit(training_data)
    with pytest.raises(AssertionError, match="not higher"):
        check_detector(detector, training_data.calibration.pixels()[:8], ood=training_data.outliers.pixels()[:8])


class DropsWhileTraining(Wrong):
    """Scores at random as long as nobody puts it into evaluation mode, as every network with dropout does."""

    def score(self, x, *, noise=None):
        score = super().score(x)
        return score * (1 + torch.arange(len(x))) if self.training else score


def test_a_detector_that_is_another_in_training_mode_is_saved_and_loaded_in_evaluation_mode(make_detector, images):
    check_saved_and_loaded_it_gives_the_same_bits(DetectorCase(make_detector(DropsWhileTraining).eval(), images))


def test_a_score_of_the_predicted_class_with_its_margins_keeps_the_contract(make_detector, images):
    class Whole(CutMargins):
        def class_scores_and_margins(self, x):
            return self.network(x), margins(self.network(x))

    check_detector(make_detector(Whole), images)


def test_every_check_has_a_detector_that_it_catches():
    caught = {check for _, check in BROKEN} | {"check_in_distribution_scores_are_higher"}
    assert caught == {check.__name__ for check in DETECTOR_CHECKS}


def test_check_detector_names_every_check_that_failed(make_detector, images):
    with pytest.raises(AssertionError, match="check_bad_images_are_refused: images with"):
        check_detector(make_detector(TakesAnything), images)


def test_check_detector_leaves_the_detector_in_its_mode(make_detector, images):
    detector = make_detector(Energy).train()
    check_detector(detector, images)
    assert detector.training
