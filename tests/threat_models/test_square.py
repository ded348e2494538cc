"""Square Attack: the contract, closed forms, and the paper's moves written as plain loops."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from bench.cards.threat import Knowledge, Norm, Side, ThreatCard
from bench.testing.closed_forms import LinearScore, QuadraticScore
from bench.testing.threats import Check, Setting, attack, images, threat_checks
from bench.threat_models import geometry
from bench.threat_models.base import Budget, Context
from bench.threat_models.noise import Noise
from bench.threat_models.square import _DRAWN_TOGETHER, Square, SquareParams, share
from bench.threat_models.square_moves import Moves, bump
from bench.threat_models.trials import TrialParams

FOLDER = Path(__file__).parents[2] / "threat_models"
BALLS = [Setting(Norm.L2, 0.7), Setting(Norm.LINF, 0.1)]
SHAPE = (2, 11, 11)


class Opaque(LinearScore):
    """Its score is computed outside the graph, so it has no gradient."""

    def score(self, x, *, noise=None):
        return super().score(x.detach()).detach()


def grey(count: int = 6) -> Tensor:
    """Images so far from the walls of the box that no perturbation of these tests reaches them."""
    return 0.4 + 0.2 * uniform(count, math.prod(SHAPE), seed=5).view(count, *SHAPE)


def uniform(count: int, numbers: int, *, seed: int) -> Tensor:
    return torch.rand(count, numbers, generator=torch.Generator().manual_seed(seed))


def moved(moves: Moves, x: Tensor, here: Tensor, numbers: Tensor, *, side: int) -> Tensor:
    """The next points; those before them come back where they are wanted, and nowhere else."""
    there = here.clone()
    undo = moves.move(x, there, numbers, side=side)
    after, back = there.clone(), torch.arange(len(x)) % 2 == 0
    undo.where(back)
    assert torch.equal(there[back], here[back])
    assert torch.equal(there[~back], after[~back])
    return after


@pytest.mark.parametrize("setting", BALLS, ids=lambda s: s.norm)
@pytest.mark.parametrize("check", threat_checks(), ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check: Check, setting: Setting) -> None:
    check(Square(SquareParams(queries=12, restarts=2)), setting)


@pytest.mark.parametrize("setting", BALLS, ids=lambda s: s.norm)
@pytest.mark.parametrize("detector", [LinearScore(), QuadraticScore()], ids=["linear", "quadratic"])
def test_it_comes_near_the_optimum_of_closed_forms(detector, setting: Setting) -> None:
    x, _ = images()
    linear = isinstance(detector, LinearScore)
    far = x + 1e3 * detector.weight.view(1, *x.shape[1:]) if linear else detector.center.view(1, *x.shape[1:])
    ideal = geometry.project(far.detach().expand_as(x).contiguous(), x, setting.norm, setting.eps)
    found = attack(Square(SquareParams(queries=400)), detector, setting).images
    with torch.no_grad():
        clean, best, reached = (detector.eval().score(points) for points in (x, ideal, found))
    # An L2 bump is three pixels wide, so that it cannot follow these scores, whose pixels are independent.
    assert float(((reached - clean) / (best - clean)).min()) > (0.5 if setting.norm is Norm.L2 else 0.95)


@pytest.mark.parametrize("setting", BALLS, ids=lambda s: s.norm)
def test_it_beats_as_many_random_points(setting: Setting) -> None:
    squares = attack(Square(SquareParams(queries=100)), QuadraticScore(), setting)
    noise = attack(Noise(TrialParams(points=100)), QuadraticScore(), setting)
    assert (squares.score_trace[:, -1] > noise.score_trace[:, -1]).all()


def test_it_needs_no_gradient() -> None:
    result = attack(Square(SquareParams(queries=50)), Opaque(), BALLS[1])
    assert result.gradients.tolist() == [0] * 7
    assert (result.score_trace[:, -1] > result.score_trace[:, 0]).all()


def test_costs_are_the_queries_of_every_restart_and_the_clean_image() -> None:
    result = attack(Square(SquareParams(queries=9, restarts=3)), QuadraticScore(), BALLS[0])
    assert result.queries.tolist() == [28] * 7


def test_squares_shrink_as_in_the_authors_code() -> None:
    ends = [0, 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000, 9999]
    assert [share(query, 10_000) for query in ends[1:]] == [2.0**-k for k in range(10)]
    assert [share(query + 1, 10_000) for query in ends[:-1]] == [2.0**-k for k in range(10)]
    assert share(1, 1000) == 1.0 and share(2, 1000) == 0.5
    moves = Moves(Norm.LINF, 0.1, (3, 32, 32)), Moves(Norm.L2, 1.0, (3, 32, 32))
    assert [m.side(0.8) for m in moves] == [29, 29]
    assert [m.side(0.8 / 512) for m in moves] == [1, 3]


@pytest.mark.parametrize("side", [1, 3, 4, 5, 9])
def test_a_bump_is_equation_2_of_the_paper(side: int) -> None:
    def peak(height: int, width: int) -> list[list[float]]:
        n = height // 2
        return [
            [
                sum(1 / (n + 1 - k) ** 2 for k in range(n - max(abs(r - height // 2 - 1), abs(s - width // 2 - 1)) + 1))
                for s in range(1, width + 1)
            ]
            for r in range(1, height + 1)
        ]

    half = side // 2
    left, right = peak(side, half), peak(side, side - half)
    whole = torch.tensor([row + [-value for value in other] for row, other in zip(left, right, strict=True)])
    assert torch.allclose(bump(side), whole / whole.norm(), atol=1e-6)


def test_a_linf_step_puts_each_channel_of_one_square_on_a_wall_of_the_ball() -> None:
    moves, x = Moves(Norm.LINF, 0.05, SHAPE), grey()
    step = moved(moves, x, x, uniform(len(x), moves.numbers(start=False), seed=2), side=4)
    for image, after in zip(x, step, strict=True):
        top, left = (image != after).any(dim=0).nonzero().amin(dim=0).tolist()
        window = (after - image)[:, top : top + 4, left : left + 4].flatten(1)
        assert int((image != after).sum()) == window.numel()
        assert torch.allclose(window.abs(), torch.full_like(window, 0.05), atol=1e-6)
        assert (window.sign() == window[:, :1].sign()).all()


def test_a_linf_step_that_would_change_nothing_is_turned_round() -> None:
    moves, x = Moves(Norm.LINF, 0.05, (1, 11, 11)), grey()[:, :1]
    numbers = uniform(len(x), moves.numbers(start=False), seed=2)
    once = moved(moves, x, x, numbers, side=4)
    twice = moved(moves, x, once, numbers, side=4)
    assert torch.allclose((twice - x)[once != x], (x - once)[once != x], atol=1e-6)


def test_starts_are_stripes_of_full_height_and_tiles_of_the_full_radius() -> None:
    x = grey()
    stripes, tiles = (Moves(norm, 0.3, SHAPE) for norm in (Norm.LINF, Norm.L2))
    striped = stripes.start(x, uniform(len(x), stripes.numbers(start=True), seed=3)) - x
    assert torch.allclose(striped, striped[:, :, :1].expand_as(striped), atol=1e-6)
    assert torch.allclose(striped.abs(), torch.full_like(striped, 0.3), atol=1e-6)
    tiled = tiles.start(x, uniform(len(x), tiles.numbers(start=True), seed=3)) - x
    assert torch.allclose(tiled.flatten(1).norm(dim=1), torch.full((len(x),), 0.3), atol=1e-5)
    assert (tiled[:, :, :10, :10] != 0).all()


def test_an_l2_step_is_algorithm_3_of_the_paper() -> None:
    eps, side = 0.5, 5
    moves, x = Moves(Norm.L2, eps, SHAPE), grey()
    here = x + 0.8 * (moves.start(x, uniform(len(x), moves.numbers(start=True), seed=1)) - x)
    numbers = uniform(len(x), moves.numbers(start=False), seed=2)
    found = moved(moves, x, here, numbers, side=side)
    for image, before, after, u in zip(x.double(), here.double(), found, numbers, strict=True):
        nu = before - image
        r1, s1, r2, s2 = (int(v * (SHAPE[1] - side + 1)) for v in u[:4])
        shape = bump(side).double()
        shape = shape.T if u[4] > 0.5 else shape
        unused = eps**2 - float(nu.norm()) ** 2
        result = nu.clone()
        for i in range(SHAPE[0]):
            rho = 1.0 if u[5 + i] > 0.5 else -1.0
            window = nu[i, r1 : r1 + side, s1 : s1 + side]
            temporary = rho * shape + window / window.norm()
            either = torch.zeros_like(nu[i], dtype=torch.bool)
            either[r1 : r1 + side, s1 : s1 + side] = True
            either[r2 : r2 + side, s2 : s2 + side] = True
            available = math.sqrt(float(nu[i][either].norm()) ** 2 + unused / SHAPE[0])
            result[i, r2 : r2 + side, s2 : s2 + side] = 0
            result[i, r1 : r1 + side, s1 : s1 + side] = temporary / temporary.norm() * available
        assert torch.allclose(after.double(), image + result, atol=1e-5)
        assert float(result.norm()) == pytest.approx(eps, abs=1e-6)


@pytest.mark.parametrize("name", ["square-l2", "square-linf"])
def test_the_cards_list_every_parameter_with_its_default_and_have_the_radii_of_pgd(name: str) -> None:
    card, pgd = (
        ThreatCard.model_validate(yaml.safe_load((FOLDER / f"{which}.yaml").read_text()))
        for which in (name, name.replace("square", "pgd"))
    )
    assert card.name == name
    assert (card.norm, card.eps) == (pgd.norm, pgd.eps)
    assert card.knowledge is Knowledge.SCORES
    assert set(card.params) == set(SquareParams.model_fields)
    assert SquareParams(**card.params) == SquareParams()
    assert Side.FOOL in card.sides


def test_every_question_is_of_a_whole_batch_however_many_searches_are_left() -> None:
    """Rounding depends on the shape of a batch, so that a search must not see how many others have ended."""

    class Counted(QuadraticScore):
        asked: list[int] = []  # noqa: RUF012

        def score(self, x, *, noise=None):
            self.asked.append(len(x))
            return super().score(x)

    (x, ids), detector = images(), Counted().eval()
    with torch.no_grad():
        target = float(detector.score(x).max())
    Counted.asked = []
    context = Context(Side.EVADE, seed=3, micro_batch=2, stop_target=target)
    threat = Square(SquareParams(queries=8 * _DRAWN_TOGETHER))
    result = threat.run(detector, x, ids=ids, budget=Budget(Norm.LINF, 0.3), context=context)
    assert set(Counted.asked) == {2}
    ended = result.queries // _DRAWN_TOGETHER  # when ranks are closed
    assert {int((ended > turn).sum()) % 2 for turn in range(8)} == {0, 1}  # even and odd numbers were left
