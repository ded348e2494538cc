import copy
import inspect
import re
from pathlib import Path

import pytest
import yaml

from bench.cards import base, detector, network, threat, track
from bench.cards.detector import DetectorCard
from bench.cards.documents import Document, parse_document
from bench.cards.errors import PATTERNS
from bench.cards.reading import card_from, read_card
from bench.cards.threat import ThreatCard
from bench.cards.track import TrackCard
from bench.errors import CardError

THREAT = "name: t\nsummary: s\nmethod: a.b:C\nknowledge: none\n"
DETECTOR = "name: d\nsummary: s\nmethod: a.b:C\n"


def errors(text, model):
    with pytest.raises(CardError) as caught:
        card_from(parse_document(text, Path("card.yaml")), model)
    return str(caught.value).splitlines()


def test_eps_may_be_fractions_and_numbers():
    card = card_from(parse_document(THREAT + "norm: linf\neps: [8/255, 0.5, 1]\n", Path("c.yaml")), ThreatCard)
    assert card.eps == (8 / 255, 0.5, 1.0)


def test_radii_of_a_suite_may_be_fractions_and_do_not_change_its_hash():
    def track(eps):
        images = "{source: digits}"
        sets = f"train: {images}\ncalibration: {images}\ntest: {images}\nood: {{a: {images}}}\n"
        text = f"name: t\nsummary: s\nshape: [1, 8, 8]\nclasses: 2\n{sets}suite: [{{threat: pgd-linf, eps: {eps}}}]\n"
        return card_from(parse_document(text, Path("card.yaml")), TrackCard)

    assert track("8/255").suite[0].eps == 8 / 255
    assert track("8/255").content_hash() == track(repr(8 / 255)).content_hash()
    with pytest.raises(CardError, match=r"field 'suite.0.eps': given '8/x', allowed: a number"):
        track("8/x")


@pytest.mark.parametrize(
    ("eps", "given", "allowed"),
    [
        ("[1, eight]", "'eight'", "a number"),
        ("[1/0]", "'1/0'", "a number"),
        ("[8/x]", "'8/x'", "a number"),
        ("[-1]", "[-1]", "every eps must be a finite number above 0"),
        ("['nan']", "['nan']", "every eps must be a finite number above 0"),
        ("0.5", "0.5", "a list"),
    ],
)
def test_a_wrong_eps_is_named_with_what_was_given_and_what_is_allowed(eps, given, allowed):
    (sentence,) = errors(THREAT + f"norm: linf\neps: {eps}\n", ThreatCard)
    assert sentence.startswith("card.yaml:6: field 'eps")
    assert f"given {given}, allowed: {allowed}" in sentence


def test_a_wrong_value_deep_inside_is_named_by_line_and_field():
    text = DETECTOR + "tracks:\n  digits:\n    weights:\n      - file: a.safetensors\n        sha256: abc\n"
    assert errors(text, DetectorCard) == [
        "card.yaml:8: field 'tracks.digits.weights.0.sha256': given 'abc', "
        "allowed: 64 hex digits (0-9, a-f); fix the card."
    ]


def test_a_text_of_4000_characters_is_taken_and_one_more_is_refused():
    text = "name: t\nsummary: {}\nmethod: a.b:C\nknowledge: none\n"
    card = card_from(parse_document(text.format("s" * 4000), Path("c.yaml")), ThreatCard)
    assert len(card.summary) == 4000
    (sentence,) = errors(text.format("s" * 4001), ThreatCard)
    assert sentence.startswith("card.yaml:2: field 'summary': given 'sss")
    assert sentence.endswith("sss..., allowed: text of at most 4000 characters; fix the card.")


TRACK = "name: t\nsummary: s\nclasses: 2\ntrain: {source: a}\ncalibration: {source: a}\ntest: {source: a}\n"


@pytest.mark.parametrize(
    ("text", "model", "field", "given", "allowed"),
    [
        (THREAT + "sides: []", ThreatCard, "sides", "[]", "a list of 1 or more"),
        (THREAT + "source: {threat: a, detectors: []}", ThreatCard, "source.detectors", "[]",
         "a list of 1 or more"),
        (TRACK + "shape: [1, 2, 2]\nood: {}", TrackCard, "ood", "{}", "'field: value' lines of 1 or more"),
        (TRACK + "shape: [1, 2]\nood: {x: {source: a}}", TrackCard, "shape.2", "", ""),
        (TRACK + "shape: [1, 2, 2, 2]\nood: {x: {source: a}}", TrackCard, "shape", "[1, 2, 2, 2]",
         "a list of 3 or fewer"),
        (DETECTOR + "tracks: {x: {network: {method: 'a:B', layers: {hidden: ['']}}}}", DetectorCard,
         "tracks.x.network.layers.hidden.0", "''", "text of at least 1 characters"),
    ],
)  # fmt: skip
def test_too_few_and_too_many_are_told_in_the_words_of_cards(text, model, field, given, allowed):
    (sentence,) = errors(text, model)
    told = f"field '{field}': given {given}, allowed: {allowed}; fix the card."
    assert sentence.partition(": ")[2] == (told if allowed else f"field '{field}' is missing; add it to the card.")


@pytest.mark.parametrize(
    ("name", "model"),
    [("detectors/gat", DetectorCard), ("threat_models/transfer-l2", ThreatCard), ("datasets/digits", TrackCard)],
)
def test_no_sentence_on_a_card_is_a_librarys_own(name, model):
    # Every value of a shipped card is exchanged for things of other types and sizes.
    content = yaml.safe_load((Path(__file__).parents[1] / f"{name}.yaml").read_text())
    found = set()
    for place in inner_places(content):
        for odd in ([], {}, "", 1.5, True, "x" * 5000, ["a"] * 100, -1, 10**25, "nan", [[]]):
            changed = copy.deepcopy(content)
            part = changed
            for step in place[:-1]:
                part = part[step]
            part[place[-1]] = odd
            try:
                card_from(Document(Path("card.yaml"), changed, {}), model)
            except CardError as error:
                found |= set(str(error).splitlines())
    assert len(found) > 50
    for sentence in found:
        assert not re.search("input|should|valid|tuple|dict", sentence.partition("allowed: ")[2]), sentence


def inner_places(content, place=()):
    for step, inner in content.items() if isinstance(content, dict) else enumerate(content[:1]):
        yield (*place, step)
        if isinstance(inner, dict | list):
            yield from inner_places(inner, (*place, step))


def test_an_unknown_field_proposes_the_nearest_one():
    assert errors(DETECTOR + "parms: {}\n", DetectorCard) == [
        "card.yaml:4: unknown field 'parms'; did you mean 'params'?"
    ]


def test_an_unknown_field_deep_inside_proposes_a_field_of_its_own_place():
    text = DETECTOR + "tracks:\n  digits:\n    weights: [{file: a, sha265: x}]\n"
    assert "unknown field 'tracks.digits.weights.0.sha265'; did you mean 'sha256'?" in errors(text, DetectorCard)[0]


def test_an_unknown_field_like_no_other_lists_what_is_allowed():
    (sentence,) = errors(DETECTOR + "qqqq: 1\n", DetectorCard)
    assert "unknown field 'qqqq'; allowed: extra_data, fit_when_loaded, method, name," in sentence


def test_every_error_of_a_card_has_a_line_in_the_order_of_the_file():
    found = errors("name: BAD\nsummary: s\nmethod: nowhere\nversion: 0\nqqqq: 1\n", DetectorCard)
    assert [re.match(r"card\.yaml:(\d+): ", line)[1] for line in found] == ["1", "3", "4", "5"]


def test_a_missing_field_is_named():
    assert errors("name: d\nsummary: s\n", DetectorCard) == [
        "card.yaml:1: field 'method' is missing; add it to the card."
    ]


def test_missing_fields_of_one_part_are_named_one_by_one():
    found = errors(DETECTOR + "paper: {title: t}\n", DetectorCard)
    assert [re.search("'(.*)'", line)[1] for line in found] == ["paper.authors", "paper.year"]


def test_the_arms_of_a_union_are_one_error():
    text = "name: t\nsummary: s\nshape: [1, 2, 2]\nclasses: 2\n"
    text += "train: {source: a, digest: 7}\ncalibration: {source: a}\ntest: {source: a}\nood: {x: {source: a}}\n"
    (sentence,) = errors(text, TrackCard)
    assert sentence == "card.yaml:5: field 'train.digest': given 7, allowed: text or a list; fix the card."


def test_what_was_given_is_the_whole_value_and_not_a_part_that_one_arm_looked_at():
    text = TRACK.replace("train: {source: a}", "train: {source: a, digest: [7]}") + "shape: [1, 2, 2]\n"
    (sentence,) = errors(text + "ood: {x: {source: a}}", TrackCard)
    assert sentence == "card.yaml:4: field 'train.digest': given [7], allowed: text; fix the card."


def test_a_rule_over_several_fields_is_one_sentence():
    (sentence,) = errors(THREAT + "norm: l2\n", ThreatCard)
    assert sentence.startswith("card.yaml:1: norm and eps go together")


def test_names_cannot_leave_their_folder():
    for name in ("../evil", "a/b", "..", "/etc/passwd", "a\\b", ""):
        assert (
            "allowed: a name of 1 to 64 lower-case letters"
            in errors(f"name: '{name}'\nsummary: s\nmethod: a:B", DetectorCard)[0]
        )
    for file in ("../a", "a/../b", "/a", "a//b", ".a", "a/", "~a"):
        text = DETECTOR + f"tracks: {{x: {{weights: [{{file: '{file}'}}]}}}}"
        assert "stays in its folder" in errors(text, DetectorCard)[0]


def test_huge_values_are_quoted_in_short():
    (sentence,) = errors(DETECTOR.replace("name: d", f"name: {'x' * 500_000}"), DetectorCard)
    assert len(sentence) < 300


def test_every_pattern_of_the_cards_is_said_in_words():
    used = {
        pattern
        for kind in (base, track, network, detector, threat)
        for pattern in re.findall(r'pattern=r"([^"]+)"', inspect.getsource(kind))
    }
    assert used
    assert used == set(PATTERNS)


def test_a_card_is_read_from_its_file(tmp_path):
    (tmp_path / "d.yaml").write_text(DETECTOR)
    assert read_card(tmp_path / "d.yaml", DetectorCard).method == "a.b:C"
