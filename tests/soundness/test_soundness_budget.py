"""What the extra checks of a cell may cost."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from soundness_cases import cell, view

from bench.cards.threat import Norm, Side
from bench.soundness import cheap
from bench.soundness.diagnose import FEWEST, IMAGES
from bench.soundness.lab import QUERY, Allowance
from bench.soundness.probes import Target
from bench.soundness.runs import Run, Runs
from bench.testing.closed_forms import SHAPE, LinearScore
from bench.threat_models.base import Context


@pytest.mark.parametrize(("size", "cost"), [(0.05, 500.0), (0.099, 500.0), (0.1, 10.0), (4.0, 10.0)])
def test_steps_that_may_never_arrive_cost_their_whole_budget(size, cost):
    runs = SimpleNamespace(params={"step_size": 2.0}, each=10.0, _number={"steps": 100.0, "restarts": 5.0}.get)
    assert Runs._step_size_cost(runs, size) == cost  # short is below a twentieth of the cell's own steps


@pytest.mark.parametrize(("spent", "images"), [(0.0, FEWEST), (100.0 * IMAGES, IMAGES), (1000.0, 17)])
def test_cheap_checks_are_about_so_many_images_that_they_cost_a_tenth_of_the_cell(monkeypatch, spent, images):
    asked = []

    def bare_runs(cell, view, stage, threat, count):
        asked.append(count)
        return SimpleNamespace(all=lambda: [Run("D2", 2.0, list), Run("D9", 500.0, lambda: pytest.fail("too dear"))])

    view = SimpleNamespace(clean={f"set {number}": np.zeros(5) for number in range(3)})
    for name, value in {
        "bare_runs": bare_runs,
        "views": lambda cell: [view],
        "cell_cost": lambda cell: spent,
        "is_diagnosable": lambda threat, side: True,
    }.items():
        monkeypatch.setattr(cheap, name, value)
    stage = SimpleNamespace(detector=SimpleNamespace(info=SimpleNamespace(random=True)))
    workbench = SimpleNamespace(stage=lambda planned: stage, threat=lambda planned: None)
    planned = SimpleNamespace(threat=None, ingredients=SimpleNamespace(side=Side.EVADE))
    assert cheap.cheap_checks(planned, None, workbench) == []
    expected = int(min(IMAGES, max(FEWEST, 0.1 * spent / (2.0 * 3))))
    assert asked == [1, expected]
    assert expected == images or spent == 1000.0


@pytest.mark.parametrize("check", ["D2", "D3", "D4"])
def test_a_probe_costs_what_it_says_and_what_it_notes_and_what_it_asks(check):
    """So many gradients and scores an image, a score counting `QUERY`, in all three places."""

    class Counted(LinearScore):
        asked, followed = 0, 0

        def score(self, x, *, noise=None):
            if torch.is_grad_enabled() and x.requires_grad:
                self.followed += len(x)
            else:
                self.asked += len(x)
            return super().score(x)

    detector = Counted().eval()
    x = 0.3 + 0.4 * torch.rand((8, *SHAPE), generator=torch.Generator().manual_seed(0))
    target = Target(detector, x, torch.arange(8), Norm.L2, 0.05, Context(Side.EVADE, seed=3, micro_batch=8))
    seen = replace(view(), rows={"near": np.arange(8)}, clean={"near": np.zeros(8)}, attacked={"near": np.zeros(8)})
    lab = SimpleNamespace(target=target, x=x, view=seen, detector=detector, allowance=Allowance(1e9))
    rivals = SimpleNamespace(elsewhere=None, black_box=None)
    runs = Runs(lab, cell(), rivals, late=None, feasible=None, kept=None)
    (run,) = [each for each in runs.all() if each.check == check]
    run.ask()
    assert lab.allowance.spent == pytest.approx(run.cost * len(x))
    assert detector.followed + QUERY * detector.asked == pytest.approx(run.cost * len(x))


@pytest.mark.parametrize(("pool", "finished"), [(False, False), (True, False), (True, True)])
def test_looking_for_jumps_costs_no_more_than_it_says(pool, finished):
    class Counted(LinearScore):
        asked = 0

        def score(self, x, *, noise=None):
            self.asked += len(x)
            return super().score(x)

    detector = Counted().eval()
    x = 0.3 + 0.4 * torch.rand((8, *SHAPE), generator=torch.Generator().manual_seed(0))
    context = Context(Side.EVADE, seed=3, micro_batch=8, pool=1.0 - x if pool else None)
    target = Target(detector, x, torch.arange(8), Norm.L2, 0.05, context)
    seen = replace(view(), rows={"near": np.arange(8)}, clean={"near": np.zeros(8)}, attacked={"near": np.zeros(8)})
    lab = SimpleNamespace(
        target=target, x=x, ids=target.ids, view=seen, detector=detector, context=context, allowance=Allowance(1e9)
    )
    rivals = SimpleNamespace(elsewhere=None, black_box=None)
    runs = Runs(lab, cell(), rivals, late=None, feasible=None, kept=x if finished else None)
    (run,) = [each for each in runs.all() if each.check == "D15"]
    (finding,) = run.ask()
    assert finding.figures["share_jumping"] == 0.0
    assert lab.allowance.spent == pytest.approx(QUERY * detector.asked)
    assert lab.allowance.spent == pytest.approx(run.cost * len(x) * (1 + pool + finished) / 3)
