"""What the extra checks of a cell may cost."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.cards.threat import Side
from bench.soundness import cheap
from bench.soundness.diagnose import FEWEST, IMAGES
from bench.soundness.runs import Run, Runs


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
        "bare_runs": bare_runs, "views": lambda cell: [view], "cell_cost": lambda cell: spent,
        "is_diagnosable": lambda threat, side: True,
    }.items():  # fmt: skip
        monkeypatch.setattr(cheap, name, value)
    stage = SimpleNamespace(detector=SimpleNamespace(info=SimpleNamespace(random=True)))
    workbench = SimpleNamespace(stage=lambda planned: stage, threat=lambda planned: None)
    planned = SimpleNamespace(threat=None, ingredients=SimpleNamespace(side=Side.EVADE))
    assert cheap.cheap_checks(planned, None, workbench) == []
    expected = int(min(IMAGES, max(FEWEST, 0.1 * spent / (2.0 * 3))))
    assert asked == [1, expected]
    assert expected == images or spent == 1000.0
