"""The attack on every class in turn: hills of known tops, and what it costs."""

from dataclasses import replace

import pytest
import torch

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector, DetectorParams
from bench.detectors.msp import MSP
from bench.errors import NotApplicableError
from bench.testing.closed_forms import LinearScore
from bench.threat_models.base import Budget, Context, Status
from bench.threat_models.each_class import EachClass, EachClassParams, best_of_each
from bench.threat_models.pgd import PGD, PGDParams

SHAPE = (1, 2, 2)
CENTRES = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.8, 0.8], [0.2, 0.8, 0.2, 0.8]])
TOPS = torch.tensor([1.0, 3.0, 2.0])
BUDGET = Budget(Norm.L2, 1.5)  # everything is within reach


class Hills(Detector):
    """The height of the nearest hill: max over k of top_k - 10 |x - c_k|^2 where x is on it."""

    def __init__(self):
        super().__init__(None, shape=SHAPE, classes=3, params=DetectorParams())

    def class_scores(self, x):
        return TOPS - 10 * torch.stack([(x.flatten(1) - c).square().sum(dim=1) for c in CENTRES], dim=1)

    def score(self, x, *, noise=None):
        scores = self.class_scores(x)
        nearest = (scores - TOPS).argmax(dim=1, keepdim=True)  # its gradient leads to the top of this hill alone
        return scores.gather(1, nearest).squeeze(1)


X = (CENTRES[0] + torch.tensor([[0.02, 0.0, 0.0, 0.0], [0.0, 0.05, 0.0, 0.0]])).view(2, 1, 2, 2)
IDS = torch.tensor([3, 4])


def attack(threat, detector=None, x=X, ids=IDS, **context):
    return threat.run(detector or Hills(), x, ids=ids, budget=BUDGET, context=Context(Side.EVADE, **context))


def each(**params):
    return EachClass(EachClassParams(steps=60, **params))


def test_it_reaches_the_highest_hill_that_an_ascent_from_the_clean_image_misses():
    plain = attack(PGD(PGDParams(steps=60, restarts=1, step_size=0.02)))
    found = attack(each(step_size=2.0))
    assert plain.score_trace[:, -1].tolist() == pytest.approx([1.0, 1.0], abs=1e-3)
    assert found.score_trace[:, -1].tolist() == pytest.approx([3.0, 3.0], abs=1e-2)
    torch.testing.assert_close(found.images.flatten(1), CENTRES[1].expand(2, -1), atol=0.03, rtol=0)


def test_only_the_classes_with_the_largest_scores_at_the_clean_image_are_attacked():
    assert Hills().class_scores(X).argsort(dim=1, descending=True)[:, 0].tolist() == [0, 0]
    one = attack(each(classes=1))
    assert one.score_trace[:, -1].tolist() == pytest.approx([1.0, 1.0], abs=1e-2)
    two = attack(each(classes=2))
    assert two.score_trace[:, -1].tolist() == pytest.approx([2.0, 2.0], abs=1e-2)


def test_it_costs_its_steps_for_every_class_and_says_so():
    found = attack(each(restarts=2))
    assert found.gradients.tolist() == [3 * 2 * 60] * 2
    assert found.queries.tolist() == [3 * (1 + 2) + 1] * 2
    assert found.status == [Status.COMPLETED] * 2


def test_the_score_judges_and_never_the_score_of_a_class():
    found = attack(each())
    with torch.no_grad():
        again = Hills().score(found.images)
    assert torch.equal(again, found.score_trace[:, -1])
    assert bool((found.score_trace.diff(dim=1) >= 0).all())


def test_an_image_does_not_feel_the_others():
    whole, alone = (
        attack(each(restarts=2), micro_batch=4),
        attack(each(restarts=2), x=X[1:], ids=IDS[1:], micro_batch=4),
    )
    assert torch.equal(whole.images[1:], alone.images)
    assert torch.equal(whole.score_trace[1:], alone.score_trace)


def test_an_image_beyond_the_target_is_stopped_and_no_further_class_begun():
    found = attack(each(), stop_target=0.5)
    assert found.status == [Status.STOPPED] * 2 and found.gradients.tolist() == [0, 0]


def test_progress_is_of_the_images_and_not_of_the_pairs():
    told = []
    attack(each(), progress=lambda share, scores: told.append((share, scores.shape)))
    assert told[-1] == (1.0, (2,)) and {shape for _, shape in told} == {(2,)}


def test_a_score_of_no_class_is_refused_in_a_sentence():
    images = torch.rand(2, 1, 6, 6)
    with pytest.raises(NotApplicableError, match=r"LinearScore does not compare an image with one class.*choose pgd"):
        attack(each(), detector=LinearScore(), x=images)


class Broken(Hills):
    """NaN for one class everywhere, though not in the score."""

    def class_scores(self, x):
        return super().class_scores(x).masked_fill(torch.tensor([True, False, False]), torch.nan)

    def score(self, x, *, noise=None):
        return Hills().score(x)


def test_a_class_whose_score_is_not_finite_spoils_no_other():
    found = attack(each(), detector=Broken())
    assert found.score_trace[:, -1].tolist() == pytest.approx([3.0, 3.0], abs=1e-2)
    assert found.status == [Status.NON_FINITE] * 2
    two = attack(each(classes=2), detector=Broken())  # it is tried last
    assert two.status == [Status.COMPLETED] * 2


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        ([Status.FAILED, Status.FAILED], Status.FAILED),
        ([Status.FAILED, Status.COMPLETED], Status.NON_FINITE),
        ([Status.NO_GRADIENT, Status.COMPLETED], Status.COMPLETED),
        ([Status.NO_GRADIENT, Status.NO_GRADIENT], Status.NO_GRADIENT),
        ([Status.FAILED, Status.STOPPED], Status.STOPPED),
    ],
)
def test_one_status_stands_for_all_classes(statuses, together):
    found = attack(each(classes=2))
    single = replace(found, status=[statuses[0], statuses[0], statuses[1], statuses[1]], **twice(found))
    assert best_of_each(single, 2, 1.0).status == [together] * 2


def twice(found):
    names = ("images", "last_images", "score_trace", "gradients", "queries", "norm")
    return {name: torch.cat([getattr(found, name)] * 2) for name in names}


def test_the_best_of_each_image_is_chosen_by_the_attackers_sign():
    found = attack(each())
    doubled = type(found)(
        images=torch.cat([X, X + 0.1]),
        last_images=torch.cat([X, X + 0.1]),
        score_trace=torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [torch.nan, torch.nan]]),
        gradients=torch.tensor([1, 2, 3, 4]),
        queries=torch.tensor([1, 1, 1, 1]),
        norm=torch.arange(4.0),
        status=[Status.FAILED, Status.NO_GRADIENT, Status.COMPLETED, Status.FAILED],
    )
    up, down = best_of_each(doubled, 2, 1.0), best_of_each(doubled, 2, -1.0)
    assert up.norm.tolist() == [2.0, 1.0] and down.norm.tolist() == [0.0, 1.0]
    assert up.gradients.tolist() == [4, 6] and up.queries.tolist() == [3, 3]
    assert up.status == [Status.NON_FINITE] * 2
    assert up.score_trace.tolist() == [[0.0, 3.0], [0.0, 2.0]]


class Slopes(MSP):
    """Three logits: that of class 0 is flat and above the others at the image, from which class 2 rises the highest."""

    def __init__(self):
        super().__init__(None, shape=SHAPE, classes=3, params=MSP.Params())

    def scored_logits(self, x):
        flat = x.flatten(1)
        return torch.stack([0.5 + 0.1 * flat[:, 0], 0.2 * flat[:, 1], 8.0 * flat[:, 2] - 4.0], dim=1)


def test_of_the_largest_confidence_every_class_is_tried_also_those_that_are_not_the_largest_yet():
    x = torch.full((2, *SHAPE), 0.2)
    plain = attack(PGD(PGDParams(steps=60, restarts=1, step_size=0.02)), Slopes(), x)
    found = attack(each(), Slopes(), x)
    best = Slopes().score(torch.tensor([[[[0.0, 0.0], [1.0, 0.2]]]]))
    assert (plain.score_trace[:, -1] < 0.5 * best).all()
    torch.testing.assert_close(found.score_trace[:, -1], best.expand(2), atol=1e-2, rtol=0)
