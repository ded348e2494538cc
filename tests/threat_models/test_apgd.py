"""Auto-PGD: the contract, closed forms, and the paper's algorithm written as plain loops."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from naive_projection import nearest
from torch import Tensor

from bench.cards.threat import Norm, Side, ThreatCard
from bench.detectors.base import Detector
from bench.testing.closed_forms import SHAPE, ClosedForm, LinearScore, MixtureScore, QuadraticScore, fixed_numbers
from bench.testing.threats import Check, Setting, attack, images, threat_checks
from bench.threat_models.apgd import APGD, APGDParams, AutoSteps, checkpoints
from bench.threat_models.base import Context, Status

FOLDER = Path(__file__).parents[2] / "threat_models"
BALLS = [Setting(Norm.L2, 0.7), Setting(Norm.LINF, 0.1)]


class Waves(ClosedForm):
    """A score that rises and falls many times within the ball."""

    def score(self, x, *, noise=None):
        flat = x.flatten(1)
        return (flat * (fixed_numbers(1) - 0.5).to(x)).sum(dim=1) + 0.15 * (5.0 * flat).sin().sum(dim=1)


class Cliff(LinearScore):
    """Linear until it is high, then without any gradient and lower than everywhere else."""

    def score(self, x, *, noise=None):
        rising = super().score(x)
        return torch.where(rising < 0.9, rising, -20.0)


@pytest.mark.parametrize("setting", BALLS, ids=lambda s: s.norm)
@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check: Check, setting: Setting) -> None:
    check(APGD(APGDParams(steps=9, restarts=3)), setting)


@pytest.mark.parametrize("check", threat_checks(gradient=True)[-2:], ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "setting",
    [Setting(n, e) for n, radii in ((Norm.L2, (0.05, 4.0)), (Norm.LINF, (4 / 255, 0.3))) for e in radii],
    ids=lambda s: f"{s.norm}-{s.eps:.3g}",
)
def test_with_its_full_budget_it_reaches_closed_form_optima(check: Check, setting: Setting) -> None:
    check(APGD(), setting)


def unit(gradient: Tensor, norm: Norm) -> Tensor:
    return gradient.sign() if norm is Norm.LINF else gradient / gradient.norm()


def algorithm_1(f: Callable[[Tensor], Tensor], x: Tensor, setting: Setting, params: APGDParams) -> tuple[Tensor, float]:
    """The best point and its value, of one image in float64, from the clean image; as the paper writes it."""
    norm, eps = setting.norm, setting.eps

    def at(y: Tensor) -> tuple[float, Tensor]:
        y = y.clone().requires_grad_(True)
        value = f(y)[0]
        return float(value.detach()), torch.autograd.grad(value, y)[0]

    def project(z: Tensor) -> Tensor:
        return nearest(z.flatten(1), x.flatten(1), setting).view_as(x)

    eta, alpha = params.step_size * eps, params.alpha
    values, steps_at, highest_at = [], [], []
    value, gradient = at(x)
    best, highest, slope = x, value, gradient
    before, y = x, x
    marks = (0, *checkpoints(params.steps))
    for k in range(params.steps):
        if k > 0:
            value, gradient = at(y)
            if value > highest:
                best, highest, slope = y, value, gradient
        values.append(value)
        if k in marks[1:]:
            since = marks[marks.index(k) - 1]
            rises = sum(values[i + 1] > values[i] for i in range(since, k))
            if rises < params.rho * (k - since) or (steps_at[since] == eta and highest_at[since] == highest):
                eta, y, gradient = eta / 2, best, slope
        steps_at.append(eta)
        highest_at.append(highest)
        z = project(y + eta * unit(gradient, norm))
        ahead = z if k == 0 else project(y + alpha * (z - y) + (1 - alpha) * (y - before))
        before, y = y, ahead
    value, _ = at(y)
    return (y, value) if value > highest else (best, highest)


@pytest.mark.parametrize("setting", BALLS, ids=lambda s: s.norm)
@pytest.mark.parametrize("detector", [Waves(), MixtureScore()], ids=["waves", "mixture"])
def test_it_is_algorithm_1_of_the_paper(detector: Detector, setting: Setting) -> None:
    params = APGDParams(steps=24, restarts=1)
    ours = attack(APGD(params), detector, setting)
    x, _ = images()
    for image, found in zip(x, ours.images, strict=True):
        best, highest = algorithm_1(detector.double().score, image[None].double(), setting, params)
        detector.float()
        # Signs turn by roundings where a pixel is at its optimum already, which its score does not feel.
        assert float(((found - best[0]).abs() < 1e-3).float().mean()) >= (0.9 if setting.norm is Norm.LINF else 1.0)
        assert float(detector.score(found[None])) == pytest.approx(highest, abs=2e-4)


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1) == ()
    assert checkpoints(5) == (2, 3, 4)


def test_one_step_is_a_step_of_twice_eps() -> None:
    result = attack(APGD(APGDParams(steps=1, restarts=1)), LinearScore(), Setting(Norm.LINF, 0.1))
    x, _ = images()
    expected = (x + 0.1 * (fixed_numbers(1) - 0.5).sign().view(SHAPE)).clamp(0, 1)
    assert torch.allclose(result.images, expected, atol=1e-6)


def test_costs_are_a_gradient_a_step_and_a_query_a_restart() -> None:
    result = attack(APGD(APGDParams(steps=7, restarts=3)), QuadraticScore(), BALLS[0])
    assert result.gradients.tolist() == [21] * 7
    assert result.queries.tolist() == [4] * 7


def test_a_step_off_a_cliff_is_taken_back_and_shortened() -> None:
    result = attack(APGD(APGDParams(steps=40, restarts=1)), Cliff(), Setting(Norm.L2, 3.0))
    low = LinearScore().eval().score(images()[0]) < 0.9
    assert low.sum() == 5
    assert (result.score_trace[low, -1] > 0.899).all()
    assert [status is Status.NO_GRADIENT for status in result.status] == (~low).tolist()


def test_fooling_a_classifier_raises_the_margin_of_a_wrong_class() -> None:
    class Classified(QuadraticScore):
        def logits(self, x: Tensor) -> Tensor:
            return torch.stack([self.score(x), -(x.flatten(1) - fixed_numbers(4)).square().sum(dim=1)], dim=1)

    detector = Classified().eval()
    x, ids = images()
    labels = detector.logits(x).argmax(dim=1)
    context = Context(Side.FOOL, labels=labels, micro_batch=4)
    result = APGD(APGDParams(steps=30, restarts=1)).run(
        detector, x, ids=ids, budget=Setting(Norm.L2, 3.0).budget, context=context
    )
    assert (detector.logits(result.images).argmax(dim=1) != labels).all()


@pytest.mark.parametrize("name", ["apgd-l2", "apgd-linf"])
def test_the_cards_list_every_parameter_with_its_default_and_have_the_radii_of_pgd(name: str) -> None:
    card, pgd = (
        ThreatCard.model_validate(yaml.safe_load((FOLDER / f"{which}.yaml").read_text()))
        for which in (name, name.replace("apgd", "pgd"))
    )
    assert card.name == name
    assert (card.norm, card.eps) == (pgd.norm, pgd.eps)
    assert set(card.params) == set(APGDParams.model_fields)
    assert APGDParams(**card.params) == APGDParams()
    assert Side.FOOL in card.sides


def test_a_step_size_that_was_halved_at_the_last_checkpoint_is_not_halved_again_for_standing_still() -> None:
    rule = AutoSteps(Norm.L2, 1.0, APGDParams(steps=100, rho=0.75), first=2.0)
    mine = rule.memory(torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64))
    halved = []
    for _ in range(4):
        mine["rises"].fill_(100)  # the first condition of section 3.1 never holds, and nothing is improved
        halved.append(bool(rule._fails(mine, 10)))
    assert halved == [True, False, True, False]
