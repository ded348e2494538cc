import hashlib

import pytest
import torch

from bench.cards.catalog import Catalog, Kind
from bench.detectors.weights import save_tensors
from bench.validation.checks import check_catalog, check_file


@pytest.fixture
def builtin(empty_cards):
    return empty_cards("builtin")


@pytest.fixture
def check(toy_cards, builtin, tmp_path, monkeypatch):
    """Writes a card over a toy and checks it."""
    monkeypatch.setenv("ROBUSTOOD_WEIGHTS", str(tmp_path / "no-cache"))

    def run(path, text=None, replace=("", "")):
        text = text if text is not None else (toy_cards.root / path).read_text().replace(*replace)
        file = toy_cards.card(path, text)
        return check_file(file, Catalog(toy_cards.root, builtin=builtin.root))

    return run


def only(checked):
    assert not checked.ok
    (problem,) = checked.problems
    return problem


def test_valid_cards_are_valid(toy_cards, builtin):
    checked = list(check_catalog(Catalog(toy_cards.root, builtin=builtin.root)))
    assert [(each.kind, each.problems) for each in checked] == [
        (Kind.TRACK, ()),
        (Kind.THREAT, ()),
        (Kind.DETECTOR, ()),
    ]


@pytest.mark.parametrize(
    ("path", "replace", "words"),
    [
        ("detectors/flat.yaml", (":Flat", ":Flet"), ":3: method 'METHODS:Flet': module 'METHODS' has no 'Flet'"),
        ("detectors/flat.yaml", (":Flat", ":Shove"), ":3: 'METHODS:Shove' is the class Shove; allowed: a"),
        ("detectors/flat.yaml", ("toy:", "mnist:"), "field 'tracks.mnist': unknown track; the catalog has: toy"),
        ("detectors/flat.yaml", ("scale: 2.0", "scale: big"), "flat.yaml:4: field 'params.scale': given 'big'"),
        ("detectors/flat.yaml", ("scale: 10.0", "scale: big"), ":8: field 'variants.steep.params.scale': given 'big'"),
        ("detectors/flat.yaml", ("scale: 2.0", "scael: 2.0"), "unknown field 'params.scael'; did you mean 'scale'?"),
        ("detectors/flat.yaml", ("name: flat", "name: flet"), "flat.yaml:1: field 'name': given 'flet'"),
        ("threat_models/shove.yaml", (":Shove", ":Flat"), ":3: 'METHODS:Flat' is the class Flat; allowed: a"),
        ("threat_models/shove.yaml", ("steps: 3", "steps: x"), ":7: field 'params.steps': given 'x', allowed: an"),
        ("threat_models/shove.yaml", ("METHODS:Shove", "bench.threat_models.base:Threat"), "is the class Threat"),
        ("datasets/toy.yaml", ('test: {source: "METHODS:images"}', "test: {source: x}"), ":7: unknown source 'x'"),
        ("datasets/toy.yaml", ("noise: {", "noise: {start: 5, stop: 3, "),
         "toy.yaml:9: stop is 3; allowed is more than start, 5"),
        ("datasets/toy.yaml", ("noise: {", "noise: {also: [{source: uniform, start: 5, stop: 4}], "),
         "toy.yaml:9: stop is 4; allowed is more than start, 5"),
        ("datasets/toy.yaml", ("classes: 2", "classes: 0"), "toy.yaml:4: field 'classes': given 0"),
    ],
)  # fmt: skip
def test_what_makes_a_card_unusable_is_one_sentence_with_its_line(check, toy_cards, path, replace, words):
    filled = [each.replace("METHODS", toy_cards.module) for each in (*replace, words)]
    assert filled[2] in only(check(path, replace=(filled[0], filled[1])))


NETWORK = "  toy:\n    network: {{method: bench.detectors.networks.base:FromPixels, {}}}\n"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("args: {nothing: 1}", "does not take these args"),
        ("crop: 9", "crop is 9; allowed is at most the track's 8"),
        ("mean: [0.1, 0.2]", "mean has 2 numbers; allowed is one a channel, 1"),
        ("std: [0.0]", "std is [0.0]; allowed are numbers above 0"),
    ],
)
def test_a_network_that_does_not_fit_the_track_is_named(check, settings, words):
    checked = check("detectors/flat.yaml", replace=("  toy: {}\n", NETWORK.format(settings)))
    assert any(words in problem for problem in checked.problems)


def test_a_method_that_needs_a_classifier_asks_for_a_network(check):
    text = "name: flat\nsummary: s\nmethod: bench.detectors.base:Detector\ntracks: {toy: {}}\n"
    assert "is the class Detector; allowed: a subclass of" in only(check("detectors/flat.yaml", text))


def weights(extra="", **settings):
    fields = ", ".join(f"{key}: {value}" for key, value in settings.items())
    return ("  toy: {}\n", f"  toy:\n    weights: [{{{fields}}}]\n{extra}")


@pytest.mark.parametrize(("field", "given"), [("per_class", "true"), ("percentiles", "[1.0]")])
def test_thresholds_by_class_need_a_method_that_predicts_classes(check, field, given):
    by_class = ("params: {scale: 2.0}", f"params: {{scale: 2.0}}\nthresholds: {{{field}: {given}}}")
    blind = only(check("detectors/flat.yaml", replace=by_class))
    assert f"flat.yaml:5: field 'thresholds.{field}': given {given}, and the method predicts no classes" in blind
    asked = f"method: bench.detectors.msp:MSP\nthresholds: {{{field}: {given}}}"
    card = f"name: flat\nsummary: s\n{asked}\ntracks: {{toy: {{}}}}\n"
    assert "needs a classifier; give field 'tracks.toy.network'" in only(check("detectors/flat.yaml", card))


def test_weights_with_another_sha256_are_refused(check, toy_cards):
    folder = toy_cards.root / "detectors" / "weights"
    folder.mkdir()
    (folder / "w.safetensors").write_bytes(b"abc")
    got = hashlib.sha256(b"abc").hexdigest()
    problem = only(check("detectors/flat.yaml", replace=weights(file="w.safetensors", sha256="0" * 64)))
    assert f"have sha256 {got}, the card says {'0' * 64}" in problem


def test_weights_that_make_no_detector_are_refused(check, toy_cards):
    folder = toy_cards.root / "detectors" / "weights"
    right = save_tensors(folder / "w.safetensors", {"unheard.of": torch.zeros(1)})
    assert "unheard.of" in only(check("detectors/flat.yaml", replace=weights(file="w.safetensors", sha256=right)))


def test_weights_with_the_right_sha256_are_accepted(check, toy_cards):
    folder = toy_cards.root / "detectors" / "weights"
    right = save_tensors(folder / "w.safetensors", {})
    checked = check("detectors/flat.yaml", replace=weights(file="w.safetensors", sha256=right))
    assert (checked.problems, checked.notes) == ((), ())


def test_missing_weights_that_nothing_makes_are_a_failure(check):
    assert "'w.safetensors' are not here; put the file into" in only(
        check("detectors/flat.yaml", replace=weights(file="w.safetensors"))
    )


def test_missing_weights_that_have_a_source_are_a_note(check):
    checked = check("detectors/flat.yaml", replace=weights(file="w.safetensors", source="https://example.org/w.pt"))
    assert checked.ok
    assert "run `bench convert FILE --detector flat --track toy` with https://example.org/w.pt" in checked.notes[0]


def test_missing_weights_that_training_makes_name_the_command(check):
    training = "    training: {recipe: bench.training.fit:Fit}\n"
    checked = check("detectors/flat.yaml", replace=weights(training, file="w.safetensors"))
    assert checked.ok
    assert "run `bench train --detector flat --track toy`" in checked.notes[0]


def test_missing_weights_that_another_detectors_training_makes_name_that_one(check, toy_cards):
    flat = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    trained = weights("    training: {recipe: bench.training.fit:Fit}\n", file="w.safetensors")
    toy_cards.card("detectors/base.yaml", flat.replace("name: flat", "name: base").replace(*trained))
    checked = check("detectors/flat.yaml", replace=weights(file="w.safetensors"))
    assert "run `bench train --detector base --track toy`" in checked.notes[0]


def test_missing_weights_of_a_builtin_card_on_the_embedded_track_are_a_failure(toy_cards, monkeypatch):
    monkeypatch.syspath_prepend(toy_cards.root)
    track = (toy_cards.root / "datasets" / "toy.yaml").read_text().replace("name: toy", "name: digits")
    toy_cards.card("datasets/digits.yaml", track)
    flat = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    _, entry = weights("    training: {recipe: bench.training.fit:Fit}\n", file="nothing-like-it.safetensors")
    path = toy_cards.card("detectors/flat.yaml", flat.replace("  toy: {}\n", entry.replace("toy", "digits")))
    assert "are not here" in only(check_file(path, Catalog(builtin=toy_cards.root)))
    assert check_file(path, Catalog(toy_cards.root)).ok


@pytest.mark.parametrize(
    ("source", "kind"),
    [("datasets/toy", Kind.TRACK), ("threat_models/shove", Kind.THREAT), ("detectors/flat", Kind.DETECTOR)],
)
def test_a_card_outside_the_catalog_is_known_by_its_fields(toy_cards, builtin, tmp_path, source, kind):
    original = toy_cards.root / f"{source}.yaml"
    copy = tmp_path / original.name
    copy.write_text(original.read_text())
    checked = check_file(copy, Catalog(toy_cards.root, builtin=builtin.root))
    assert (checked.kind, checked.problems) == (kind, ())


def test_a_file_that_is_not_there_is_a_failure(toy_cards, builtin):
    assert "is not a file" in only(check_file(toy_cards.root / "nothing.yaml", Catalog(toy_cards.root)))


WORST = """\
name: worst
summary: The worst of some attacks.
norm: {norm}
eps: [1]
knowledge: gradients
sides: [{side}]
members:
  {side}: [{member}]
"""


@pytest.mark.parametrize(
    ("norm", "side", "member", "words"),
    [
        ("l2", "evade", "shov", "unknown threat 'shov'; allowed: "),
        ("linf", "evade", "shove", "'shove' has the norm l2 and the worst case linf"),
        ("l2", "fool", "shove", "'shove' attacks evade, alarm, both, not 'fool'"),
        ("l2", "evade", "worst", "'worst' is a worst case itself"),
    ],
)
def test_a_member_that_does_not_fit_its_worst_case_is_named_with_its_line(check, norm, side, member, words):
    text = WORST.format(norm=norm, side=side, member=member)
    problem = only(check("threat_models/worst.yaml", text))
    assert words in problem and "worst.yaml:8" in problem


def test_a_worst_case_of_attacks_that_fit_is_valid(check):
    assert check("threat_models/worst.yaml", WORST.format(norm="l2", side="evade", member="shove")).ok


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("members:\n  evade: [shove]\n", ""), "give either a method, or members"),
        (("sides: [evade]", "sides: [evade, alarm]"), "members must be given for each of the sides"),
    ],
)
def test_a_card_is_either_an_attack_or_a_worst_case_for_all_its_sides(check, change, words):
    text = WORST.format(norm="l2", side="evade", member="shove").replace(*change)
    assert words in only(check("threat_models/worst.yaml", text))


def test_a_transfer_attack_names_a_threat_that_is_there(check, toy_cards):
    text = (toy_cards.root / "threat_models/shove.yaml").read_text()
    text += "source: {threat: shov, detectors: [flat]}\n"
    assert "unknown threat 'shov'" in only(check("threat_models/shove.yaml", text))
