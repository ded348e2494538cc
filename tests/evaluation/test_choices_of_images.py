"""No threat's outcome for an image depends on which images are attacked with it, also where some are attacked again."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.cards.code.methods import import_method
from bench.cards.threat import Goal, Loss, Norm, Side, ThreatCard
from bench.evaluation.crafting import Crafted, attempt_attack, craft
from bench.evaluation.scoring import Draws, score_images
from bench.testing.classifiers import LinearClassifier
from bench.testing.fool_threats import FoolSetting, fool_context, true_labels
from bench.testing.threats import images
from bench.threat_models.base import AttackResult, Budget, Context, Status, Threat

CARDS = {
    card.name: card
    for file in sorted((Path(__file__).parents[2] / "threat_models").glob("*.yaml"))
    if (card := ThreatCard.model_validate(yaml.safe_load(file.read_text()))).method and card.sides != (Side.BETWEEN,)
}
FEW = {
    "steps": 3, "restarts": 2, "queries": 6, "points": 3, "rounds": 2, "probes": 4, "max_iterations": 6,
    "binary_search_steps": 2, "starts": 3, "nearest": 1, "drawn": 1, "shrink_steps": 2,
}  # fmt: skip
COUNT = len(images()[0])


class Doubted(Threat):
    """Says of every second image that it has stopped, and gives it up, as long as it may stop at all."""

    def __init__(self, threat: Threat) -> None:
        super().__init__()
        self.threat = threat

    def attack(self, detector: Any, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        result = self.threat.run(detector, x, ids=ids, budget=budget, context=context)
        if context.stop_target is None:
            return result
        given_up = ids % 2 == 1
        return replace(
            result,
            images=torch.where(given_up.view(-1, 1, 1, 1), x, result.images),
            status=[Status.STOPPED if out else status for out, status in zip(given_up, result.status, strict=True)],
        )


def threat_of(card: ThreatCard) -> Threat:
    assert card.method is not None
    kind = import_method(card.method, None)
    return Doubted(kind(kind.Params(**{**card.params, **{k: v for k, v in FEW.items() if k in card.params}})))


def outcome(card: ThreatCard, side: Side, rows: Tensor) -> Crafted:
    """What the harness makes of an attack on some of the images."""
    detector = LinearClassifier().eval()
    x, ids = images()
    norm = card.norm
    budget = Budget(norm, None if card.min_norm or norm is None else 0.1 if norm is Norm.LINF else 0.7)
    setting = FoolSetting(budget.norm, budget.eps, Goal.ACCEPT, Loss.JOINT)
    context = replace(fool_context(detector, setting, true_labels(detector)), side=side).at(rows)
    clean = score_images(detector, x, context.micro_batch, Draws(ids))
    if side is Side.FOOL:
        return attempt_attack(detector, threat_of(card), x[rows], ids=ids[rows], budget=budget, context=context)
    # Half of the images are beyond it as they are, and the others come there or not.
    context = replace(context, stop_target=float(np.median(clean)) + 0.05)
    return craft(detector, threat_of(card), x[rows], clean[rows.numpy()], ids=ids[rows], budget=budget, context=context)


@cache
def whole(name: str, side: Side) -> Crafted:
    return outcome(CARDS[name], side, torch.arange(COUNT))


PAIRS = [(name, side) for name, card in CARDS.items() for side in card.sides if side in (Side.EVADE, Side.FOOL)]
CHOICES = st.permutations(range(COUNT)).flatmap(lambda order: st.integers(1, COUNT).map(lambda n: order[:n]))


@pytest.mark.parametrize(("name", "side"), PAIRS, ids=[f"{name}-{side}" for name, side in PAIRS])
@given(rows=CHOICES)
@settings(deadline=None, max_examples=8)
def test_an_image_has_the_same_outcome_in_every_order_and_choice_of_images(
    name: str, side: Side, rows: list[int]
) -> None:
    everyone, part = whole(name, side), outcome(CARDS[name], side, torch.tensor(rows))
    assert torch.equal(everyone.images[rows], part.images)
    for column in ("scores", "last_scores", "trace", "norm", "gradients", "queries", "status"):
        np.testing.assert_array_equal(getattr(everyone, column)[rows], getattr(part, column), err_msg=column)
    for figure, values in everyone.figures.items():
        np.testing.assert_array_equal(values[rows], part.figures[figure], err_msg=figure)


@pytest.mark.parametrize("name", [name for name, side in PAIRS if side is Side.EVADE])
def test_the_property_is_tried_on_images_that_are_attacked_again(name: str) -> None:
    assert any("attacked again" in note for note in whole(name, Side.EVADE).notes)
