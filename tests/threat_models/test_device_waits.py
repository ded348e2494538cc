"""No step of an attack waits for the device; counted on the CPU, where the operations are the same."""

import sys
from pathlib import Path

import pytest
import torch

from bench.cards.threat import Norm, Side
from bench.testing.closed_forms import QuadraticScore
from bench.testing.threats import images
from bench.threat_models import geometry
from bench.threat_models.apgd import APGD, APGDParams
from bench.threat_models.base import Budget, Context
from bench.threat_models.pgd import PGD, PGDParams

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from waits import Waits  # the one that the figures in docs/performance.md come from

STEPS = 100
THREATS = [PGD(PGDParams(steps=STEPS, restarts=1)), APGD(APGDParams(steps=STEPS, restarts=1))]


def waits(threat, norm, **context) -> float:
    """A step of one micro-batch, everything before and after the steps included."""
    x, ids = images()
    budget = Budget(norm, 0.5 if norm is Norm.L2 else 0.05)
    with Waits() as counted:
        threat.run(QuadraticScore(), x, ids=ids, budget=budget, context=Context(Side.EVADE, micro_batch=8, **context))
    return counted.total / STEPS


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: type(threat).__name__)
def test_steps_wait_less_than_every_fifth_time(threat, norm) -> None:
    assert waits(threat, norm) < 0.2
    assert waits(threat, norm, stop_target=1e9) < 0.5


def test_what_waits_is_counted() -> None:
    x = torch.arange(4.0)
    with Waits() as counted:
        assert bool((x > 2).any())
        assert len(x[x > 2]) == 1
        x[x > 2] = 0.0
        assert x.sum().item() == 3.0
        assert x.tolist() == [0.0, 1.0, 2.0, 0.0]
        assert len(x.nonzero()) == 2
        _ = torch.where(x > 2, x, 0.0) + x[torch.tensor([1, 2, 0, 0])]
    assert counted.total == 6


@pytest.mark.parametrize("secants", [2, 5])
@pytest.mark.parametrize("eps", [0.3, 1.0, 4.0])
def test_a_cpu_looks_at_the_projection_and_ends_it_early_with_the_same_bits(eps, secants, monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(16, 1, 12, 12, generator=generator).clamp_min(0.5) * 2 - 1  # half of the pixels at the wall
    ball_bounds = geometry.ball_bounds(x, Norm.L2, eps)
    asked = []
    near = geometry._all_near
    monkeypatch.setattr(geometry, "_all_near", lambda *given: asked.append(near(*given)) or asked[-1])
    z = x
    for _ in range(5):
        z = z + 0.3 * eps * geometry.direction(torch.randn(x.shape, generator=generator), Norm.L2)
        asked.clear()
        early = geometry.project_step(z.clone(), ball_bounds, Norm.L2, eps, secants=secants)
        assert len(asked) <= secants
        assert not any(asked[:-1])
        with monkeypatch.context() as there:
            there.setattr(geometry, "asking_is_free", lambda device: False)
            asked.clear()
            whole = geometry.project_step(z.clone(), ball_bounds, Norm.L2, eps, secants=secants)
        assert asked == [False] * secants
        assert torch.equal(early, whole)
        z = early


def test_a_point_inside_the_ball_needs_no_secant(monkeypatch) -> None:
    x = torch.full((3, 1, 2, 2), 0.5)
    squares = []
    length = geometry._squared
    monkeypatch.setattr(geometry, "_squared", lambda d: squares.append(d) or length(d))
    z = x + 0.01
    assert torch.allclose(geometry.project_step(z.clone(), geometry.ball_bounds(x, Norm.L2, 1.0), Norm.L2, 1.0), z)
    assert len(squares) == 2  # of the step, and of the point that it is


def test_only_a_cpu_is_asked() -> None:
    assert geometry.asking_is_free(torch.device("cpu"))
    assert not geometry.asking_is_free(torch.device("cuda"))
    assert not geometry.asking_is_free(torch.device("meta"))
