"""The cards of the attacks on classifiers: each can be read, says all parameters, and its threat reaches its goal."""

import pytest
from shipped_cards import shipped

from bench.cards.threat import Knowledge, Side
from bench.testing.classifiers import LinearClassifier
from bench.testing.fool_threats import FoolSetting, fool
from bench.testing.threats import assert_inside, images

NAMES = ("cw-l2", "deepfool-l2", "jsma", "local-search")


@pytest.mark.parametrize("name", NAMES)
def test_a_card_lists_every_parameter_with_the_value_that_the_code_would_take(name: str) -> None:
    card, threat = shipped(name)
    assert card.name == name
    assert card.sides[0] is Side.FOOL
    assert set(card.params) == set(type(threat).Params.model_fields)
    assert threat.params == type(threat).Params()


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_a_threat_that_keeps_to_the_box_and_to_what_it_may_know(name: str) -> None:
    card, threat = shipped(name)
    setting = FoolSetting(card.norm, None)
    result = fool(threat, LinearClassifier(), setting, micro_batch=8)
    assert_inside(result, images()[0], setting)
    assert bool(result.gradients.any()) == (card.knowledge is Knowledge.GRADIENTS)


@pytest.mark.parametrize("name", ["cw-l2", "deepfool-l2"])
def test_nearest_images_are_counted_at_the_radius_of_the_papers(name: str) -> None:
    card, _ = shipped(name)
    assert card.min_norm
    assert 1.5 in card.eps  # the conditional-generative paper's Table 2, on MNIST
