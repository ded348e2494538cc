import pytest
import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.detectors.base import NoiseSource
from bench.errors import UsageError
from bench.testing.threats import LinearScore, PoisonedScore, QuadraticScore, Setting, attack, images
from bench.threat_models import ascent
from bench.threat_models.base import TRACE_LENGTH, Budget, Context, Status
from bench.threat_models.fgm import FGM
from bench.threat_models.noise import Noise
from bench.threat_models.pgd import PGD, PGDParams, Schedule, step_sizes
from bench.threat_models.trials import TrialParams

BALL = Setting(Norm.L2, 0.5)


class LostGradient(LinearScore):
    """The score is fine everywhere, its gradient is not: the root has an infinite slope at zero."""

    def objective(self, x: Tensor) -> Tensor:
        return self.score(x) + (x[:, 0, 0, 0] * 0.0).sqrt()


def test_costs_are_counted_exactly() -> None:
    result = attack(PGD(PGDParams(steps=7, restarts=3)), QuadraticScore(), BALL)
    assert result.gradients.tolist() == [21] * 7
    assert result.queries.tolist() == [4] * 7  # the clean image and three last iterates
    assert attack(FGM(), QuadraticScore(), BALL).gradients.tolist() == [1] * 7
    assert attack(Noise(TrialParams(points=5)), QuadraticScore(), BALL).queries.tolist() == [6] * 7


def test_a_sample_that_is_clean_beyond_the_target_costs_one_query() -> None:
    result = attack(PGD(PGDParams(steps=7)), QuadraticScore(), BALL, target=-1e9)
    assert result.gradients.tolist() == [0] * 7
    assert result.queries.tolist() == [1] * 7
    assert set(result.status) == {Status.STOPPED}


def test_long_attacks_have_short_traces_that_end_at_the_best_score() -> None:
    result = attack(PGD(PGDParams(steps=150, restarts=1)), QuadraticScore(), BALL)
    assert result.score_trace.shape == (7, TRACE_LENGTH)
    assert torch.allclose(result.score_trace[:, -1], QuadraticScore().score(result.images), atol=1e-5)


def test_a_trace_of_stopped_samples_stays_at_their_last_score() -> None:
    target = float(attack(PGD(PGDParams(steps=9, restarts=1)), QuadraticScore(), BALL).score_trace[:, 2].median())
    result = attack(PGD(PGDParams(steps=9, restarts=1)), QuadraticScore(), BALL, target=target)
    assert Status.STOPPED in result.status
    assert torch.isfinite(result.score_trace).all()
    assert torch.allclose(result.score_trace[:, -1], QuadraticScore().score(result.images), atol=1e-5)


def test_small_chunks_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attack(PGD(PGDParams(steps=5)), QuadraticScore(), BALL)
    monkeypatch.setattr(ascent, "_HELD_BYTES", 1)
    parts = attack(PGD(PGDParams(steps=5)), QuadraticScore(), BALL)
    assert torch.equal(whole.images, parts.images)
    assert torch.equal(whole.score_trace, parts.score_trace)


def test_restarts_can_only_help() -> None:
    few = attack(PGD(PGDParams(steps=3, restarts=1)), QuadraticScore(), BALL).score_trace[:, -1]
    many = attack(PGD(PGDParams(steps=3, restarts=4)), QuadraticScore(), BALL).score_trace[:, -1]
    assert (many >= few).all()
    assert (many > few).any()


def test_another_seed_gives_other_images() -> None:
    x, ids = images()
    runs = [
        PGD(PGDParams(steps=2, restarts=3)).run(
            QuadraticScore(), x, ids=ids, budget=BALL.budget, context=Context(Side.EVADE, seed=seed, micro_batch=4)
        )
        for seed in (1, 2)
    ]
    assert not torch.equal(runs[0].images, runs[1].images)


def test_gradients_that_are_not_finite_are_reported_and_leave_finite_images() -> None:
    result = attack(PGD(PGDParams(steps=3)), LostGradient(), BALL)
    assert set(result.status) == {Status.NON_FINITE}
    assert torch.isfinite(result.images).all()


def test_a_sample_whose_score_is_never_finite_keeps_its_clean_image() -> None:
    x, _ = images()
    x[:, 0, 0, 0] = 1.0
    result = attack(PGD(PGDParams(steps=3)), PoisonedScore(), Setting(Norm.LINF, 0.1), x=x)
    assert set(result.status) == {Status.FAILED}
    assert torch.equal(result.images, x)
    assert torch.isnan(result.score_trace).all()


def test_progress_rises_to_one_and_shows_the_best_scores() -> None:
    heard: list[tuple[float, Tensor]] = []
    x, ids = images()
    context = Context(Side.EVADE, micro_batch=4, progress=lambda share, scores: heard.append((share, scores.clone())))
    result = PGD(PGDParams(steps=10, restarts=3)).run(QuadraticScore(), x, ids=ids, budget=BALL.budget, context=context)
    shares = [share for share, _ in heard]
    assert len(heard) > 5
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert torch.equal(heard[-1][1], result.score_trace[:, -1])


def test_steps_shrink_along_the_cosine_and_together_cross_the_ball() -> None:
    sizes = step_sizes(PGDParams())
    assert sizes[0] == PGDParams().step_size
    assert list(sizes) == sorted(sizes, reverse=True)
    assert sizes[-1] < 1e-3
    assert sum(sizes) >= 2.0
    assert step_sizes(PGDParams(steps=3, step_size=0.2, schedule=Schedule.CONSTANT)) == (0.2, 0.2, 0.2)


@pytest.mark.parametrize("threat", [PGD(), FGM(), Noise()], ids=lambda threat: type(threat).__name__)
def test_a_budget_without_a_ball_is_a_usage_error(threat) -> None:
    x, ids = images()
    with pytest.raises(UsageError, match="needs a norm and an eps"):
        threat.run(QuadraticScore(), x, ids=ids, budget=Budget(None, None), context=Context(Side.EVADE))


class Plateau(QuadraticScore):
    """The same score everywhere, and a slope."""

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        return super().score(x) * 0.0

    def objective(self, x: Tensor) -> Tensor:
        return super().score(x)


def test_of_iterates_with_the_same_score_the_one_with_the_highest_objective_is_kept() -> None:
    farther, ball = (
        PGD(PGDParams(steps=6, restarts=1, step_size=0.4, schedule=Schedule.CONSTANT)),
        Setting(Norm.L2, 4.0),
    )
    alone, tied = attack(farther, QuadraticScore(), ball), attack(farther, Plateau(), ball)
    assert (QuadraticScore().score(alone.images) > QuadraticScore().score(alone.last_images) + 1e-3).any()
    assert torch.equal(tied.images, alone.images)
