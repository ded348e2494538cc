"""The cards that ship: each can be read, names a threat that takes its parameters, and keeps the contract."""

import pytest
from shipped_cards import shipped

from bench.cards.threat import Knowledge, Norm
from bench.testing.threats import QuadraticScore, Setting, attack, stays_inside_ball_and_box

NAMES = ("clean", "noise-l2", "noise-linf", "fgm-l2", "fgsm", "pgd-l2", "pgd-linf")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_card_names_itself_and_its_threat_stays_in_the_ball(name: str) -> None:
    card, threat = shipped(name)
    assert card.name == name
    stays_inside_ball_and_box(threat, Setting(card.norm, card.eps[0] if card.eps else None))


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_threat_uses_what_its_card_says_it_may_know(name: str) -> None:
    card, threat = shipped(name)
    result = attack(threat, QuadraticScore(), Setting(card.norm, card.eps[0] if card.eps else None))
    assert bool(result.gradients.any()) == (card.knowledge is Knowledge.GRADIENTS)


@pytest.mark.parametrize("name", ["pgd-l2", "pgd-linf"])
def test_shipped_pgd_spends_a_hundred_steps_from_each_of_five_starts(name: str) -> None:
    card, threat = shipped(name)
    result = attack(threat, QuadraticScore(), Setting(card.norm, card.eps[0]))
    assert result.gradients.tolist() == [500] * 7


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_all_threats_of_a_norm_share_their_radii(norm: Norm) -> None:
    assert len({card.eps for card, _ in map(shipped, NAMES) if card.norm is norm}) == 1
