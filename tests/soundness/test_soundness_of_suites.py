"""A worst case under the checks: the figure is the suite's, steps and traces are those of its strongest ascent."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from soundness_cases import COUNT, cell

from bench.cards.threat import Knowledge
from bench.errors import UsageError
from bench.evaluation.results import Cell
from bench.soundness.suites import as_one_attack
from bench.soundness.view import views


@dataclass
class Card:
    name: str
    method: str | None = "m:A"
    norm: str = "l2"
    min_norm: bool = False
    source: None = None
    knowledge: Knowledge = Knowledge.GRADIENTS
    params: dict = field(default_factory=lambda: {"steps": 3})


@dataclass
class Planned:
    threat: Card
    key: str = "k"
    needs: tuple = ()
    label: str = "msp x auto-l2"
    detector: Card = field(default_factory=lambda: Card("msp"))


def suite(**gains: float) -> tuple[Planned, Cell, dict[str, Cell]]:
    cells = {
        name: cell(gain, threat=name, key="b", arrays={"trace": np.full((2 * COUNT, 12), gain)})
        for name, gain in gains.items()
    }
    best = cell(max(gains.values()), threat="auto", key="c", members={name: 1 - gain for name, gain in gains.items()})
    best = Cell(best.meta, best.samples, {"images": np.zeros((1, 1, 2, 2)), "image_rows": np.array([0])})
    return Planned(Card("auto"), needs=tuple(Planned(Card(name), name) for name in gains)), best, cells


def test_the_strongest_ascent_is_probed_and_the_figure_is_that_of_all_together():
    planned, best, cells = suite(faint=0.2, strong=0.5, stronger=0.9)
    planned.needs[2].threat.knowledge = Knowledge.SCORES  # a black box did best
    chosen, seen = as_one_attack(planned, best, cells)
    assert chosen.threat.name == "strong"
    assert (seen.meta.key, seen.meta.threat) == (best.meta.key, "strong")
    assert views(seen)[0].auroc() == views(best)[0].auroc() < views(cells["strong"])[0].auroc()
    assert float(seen.arrays["trace"].mean()) == 0.5
    assert seen.arrays["images"] is best.arrays["images"]


def test_a_suite_without_an_ascent_is_refused_in_a_sentence():
    planned, best, cells = suite(one=0.2)
    planned.needs[0].threat.knowledge = Knowledge.SCORES
    with pytest.raises(UsageError, match="follows gradients"):
        as_one_attack(planned, best, cells)
    with pytest.raises(UsageError, match="follows gradients"):
        as_one_attack(planned, best, {})  # its cell failed


def test_members_of_other_images_are_refused():
    planned, best, cells = suite(one=0.2)
    other = cells["one"].samples.assign(id=cells["one"].samples["id"] + 1)
    with pytest.raises(UsageError, match="other images"):
        as_one_attack(planned, best, {"one": Cell(cells["one"].meta, other, {})})
