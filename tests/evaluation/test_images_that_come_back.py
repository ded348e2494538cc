"""What is made of the images that a threat gives back: what they carry, and how far they may lie."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.cards.threat import Norm, Side
from bench.evaluation.crafting import Crafted, attempt_attack
from bench.testing.closed_forms import LinearScore
from bench.testing.threats import images
from bench.threat_models.base import AttackResult, Budget, Context, Status, Threat


class Returned(Threat):
    """Gives back what `change` makes of the clean images."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def attack(self, detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        none, moved = torch.zeros(len(x), dtype=torch.int64), self.change(x)
        return AttackResult(
            moved,
            moved,
            torch.zeros(len(x), 1),
            gradients=none,
            queries=none,
            norm=0.0 * none,
            status=[Status.COMPLETED] * len(x),
        )


class Graphs(Threat):
    """Gives back tensors that are part of a graph, all that it may."""

    def attack(self, detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        result = Returned(lambda x: x).attack(detector, x, ids=ids, budget=budget, context=context)
        one = torch.ones((), requires_grad=True)
        with torch.enable_grad():
            kept = {"images": x * one, "last_images": x * one, "score_trace": result.score_trace * one}
            return replace(result, **kept, norm=result.norm * one, figures={"length": torch.ones(len(x)) * one})


def returned(threat: Threat, x: Tensor, norm: Norm = Norm.L2, eps: float = 0.5) -> Crafted:
    budget, context = Budget(norm, eps), Context(Side.EVADE, micro_batch=4)
    with torch.enable_grad():
        return attempt_attack(LinearScore().eval(), threat, x, ids=torch.arange(len(x)), budget=budget, context=context)


def test_images_that_carry_a_graph_do_not_keep_it() -> None:
    x, _ = images()
    done = returned(Graphs(), x)
    assert torch.equal(done.images, x)
    assert not done.images.requires_grad
    assert done.figures["length"].tolist() == [1.0] * len(x)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize(("beyond", "counts"), [(2.0**-23, True), (2.0**-22, False)])
def test_an_image_may_lie_one_spacing_of_floats_beyond_a_tiny_ball(norm: Norm, beyond: float, counts: bool) -> None:
    """At eps = 2^-12 the share of 1e-5 is a fiftieth of a spacing, and all numbers here are exact."""
    x = torch.full((2, 1, 6, 6), 0.5)

    def moved(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 0, 0, 0] += 2.0**-12 + beyond
        return y

    done = returned(Returned(moved), x, norm, 2.0**-12)
    assert (done.status == str(Status.COMPLETED)).tolist() == [counts] * 2
    assert torch.equal(done.images, moved(x) if counts else x)


@pytest.mark.parametrize(("share", "counts"), [(0.9e-5, True), (1.3e-5, False)])
def test_an_image_may_lie_a_hundred_thousandth_of_the_radius_beyond_a_large_ball(share: float, counts: bool) -> None:
    x = torch.zeros(2, 1, 6, 6)
    done = returned(Returned(lambda x: x + 0.5 * (1 + share)), x, Norm.L2, 3.0)  # 36 pixels of 0.5
    assert (done.status == str(Status.COMPLETED)).tolist() == [counts] * 2


def test_what_is_kept_of_chosen_images_is_theirs_in_every_column():
    n = 5
    numbers = np.arange(n)
    crafted = Crafted(
        torch.zeros(n, 1, 2, 2), *(numbers + 10.0 * k for k in (0, 1)), numbers[:, None] + 20.0, numbers + 30.0,
        numbers + 40, numbers + 50, np.array([f"s{k}" for k in numbers], dtype=object),
        figures={"length": numbers + 60.0}, faults={"it left the ball": numbers == 3}, again=numbers == 1,
    )  # fmt: skip
    rows = np.array([3, 0, 1])
    chosen = crafted.at(rows)
    for name in ("scores", "last_scores", "trace", "norm", "gradients", "queries", "status", "again"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(crafted, name)[rows])
    np.testing.assert_array_equal(chosen.figures["length"], rows + 60.0)
    assert chosen.faults["it left the ball"].tolist() == [True, False, False] and len(chosen.images) == 0
