"""No step of an attack waits for the device; counted on the CPU, where the operations are the same."""

import sys
from pathlib import Path

import pytest
import torch

from bench.cards.threat import Norm, Side
from bench.testing.closed_forms import QuadraticScore
from bench.testing.threats import images
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


@pytest.mark.parametrize("norm", list(Norm))
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
