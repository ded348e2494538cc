"""What a page says of cards: whether they are those that the cells were computed with."""

import pytest

from bench.cards.catalog import Catalog
from bench.evaluation.keys import threat_hash, track_hash
from bench.report.html.facts import cards_of


@pytest.fixture
def kept(make_meta):
    """The figures of a cell that was computed with the cards that are shipped, or with others."""

    def make(**changed):
        cards = Catalog()
        params = cards.threat("pgd-l2").params
        own = {
            "detector_hash": cards.detector_spec("msp", "digits").content_hash(),
            "threat_params": params,
            "threat_hash": threat_hash(cards.threat("pgd-l2"), params),
            "track_hash": track_hash(cards.track("digits")),
        }
        return make_meta("msp", **{**own, **changed})

    return make


@pytest.mark.parametrize(
    ("changed", "title"),
    [
        ("detector_hash", "detector msp on digits"),
        ("threat_hash", "threat pgd-l2"),
        ("track_hash", "track digits"),
    ],
)
def test_a_card_that_is_another_than_that_of_the_cell_is_said_to_be(kept, changed, title):
    notes = {text.title: text.note for text in cards_of([kept()], Catalog())}
    assert set(notes) == {"detector msp on digits", "threat pgd-l2", "track digits"}
    assert not any(notes.values())
    notes = {text.title: text.note for text in cards_of([kept(**{changed: "another"})], Catalog())}
    assert {name for name, note in notes.items() if note} == {title}
    assert "not those that the cells were computed with" in notes[title]
