import subprocess
import sys
from pathlib import Path

import pytest

from bench.cards import folders
from bench.cards.catalog import Catalog, Kind
from bench.cards.folders import weights_cache
from bench.cards.threat import Norm
from bench.errors import CardError, UsageError


@pytest.fixture
def builtin(empty_cards):
    """A stand-in for the built-in content."""
    return empty_cards("builtin")


@pytest.fixture
def both(toy_cards, builtin):
    """A catalog of the toy workspace over an empty built-in content."""
    return Catalog(toy_cards.root, builtin=builtin.root)


def test_the_nearest_folder_upward_with_a_marker_is_the_workspace(toy_cards, monkeypatch):
    deep = toy_cards.root / "some" / "folder"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert Catalog.find().workspace == toy_cards.root


def test_a_named_workspace_goes_before_the_one_around_the_current_folder(toy_cards, builtin, monkeypatch):
    monkeypatch.chdir(builtin.root)
    assert Catalog.find(toy_cards.root).workspace == toy_cards.root


def test_without_any_marker_there_is_no_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Catalog.find().workspace is None


def test_a_workspace_that_is_not_a_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        Catalog.find(tmp_path / "nothing")


def test_the_builtin_content_of_a_checkout_is_the_folder_around_the_package(tmp_path, monkeypatch):
    (tmp_path / "bench").mkdir()
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "bench" / "cards" / "folders.py"))
    assert Catalog().content_roots() == [tmp_path.resolve()]


def test_the_builtin_content_of_a_wheel_is_inside_the_package(tmp_path, monkeypatch):
    (tmp_path / "bench" / "_content").mkdir(parents=True)
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "bench" / "cards" / "folders.py"))
    assert Catalog().content_roots() == [(tmp_path / "bench" / "_content").resolve()]


def test_a_workspace_that_is_the_builtin_content_is_read_once(toy_cards):
    catalog = Catalog(toy_cards.root, builtin=toy_cards.root)
    assert catalog.content_roots() == [toy_cards.root.resolve()]
    assert catalog.origin(Kind.DETECTOR, "flat") == "built-in"
    assert catalog.notices() == []


def test_cards_come_as_typed_objects(both):
    assert both.track("toy").shape == (1, 8, 8)
    assert both.threat("shove").norm is Norm.L2
    assert both.threat("shove").eps == (8 / 255, 0.5)
    card, variant = both.detector("flat.steep")
    assert (card.name, variant) == ("flat", "steep")
    assert both.detector("flat")[1] is None


def test_settings_of_a_variant_that_is_not_there_are_refused_with_those_that_are(both):
    card, _ = both.detector("flat.steep")
    with pytest.raises(UsageError, match=r"detector 'flat' has no variant 'level'; its variants: flat\.steep\."):
        card.on_track("toy", "level")


def test_a_variants_settings_are_in_force_on_a_track(both):
    assert both.detector_spec("flat", "toy").params == {"scale": 2.0}
    assert both.detector_spec("flat.steep", "toy").params == {"scale": 10.0}


def test_a_variant_has_the_recorded_accuracy_of_its_classifier_and_not_the_auroc_of_other_parameters(toy_cards):
    flat = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    recorded = flat.replace("toy: {}", "toy: {recorded: {id_accuracy: 0.9, clean_auroc: 0.8}}")
    toy_cards.card("detectors/flat.yaml", recorded)
    plain, steep = (Catalog(toy_cards.root).detector_spec(name, "toy").recorded for name in ("flat", "flat.steep"))
    assert (plain.id_accuracy, plain.clean_auroc) == (0.9, 0.8)
    assert (steep.id_accuracy, steep.clean_auroc) == (0.9, None)


def test_a_variant_may_have_thresholds_of_its_own_and_else_has_the_cards(both, toy_cards):
    assert both.detector_spec("flat.steep", "toy").thresholds == both.detector_spec("flat", "toy").thresholds
    flat = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    own = flat.replace("params: {scale: 10.0}", "params: {scale: 10.0}, thresholds: {source: train}")
    toy_cards.card("detectors/flat.yaml", own)
    found = Catalog(toy_cards.root)
    assert found.detector_spec("flat.steep", "toy").thresholds.source == "train"
    assert found.detector_spec("flat", "toy").thresholds.source == "calibration"


def test_where_and_origin_tell_the_file_and_the_content_it_belongs_to(both, toy_cards, builtin):
    builtin.card("threat_models/other.yaml", "name: other")
    catalog = Catalog(toy_cards.root, builtin=builtin.root)
    assert catalog.where("detector", "flat.steep") == toy_cards.root / "detectors" / "flat.yaml"
    assert catalog.origin("detector", "flat") == "workspace"
    assert catalog.origin("threat", "other") == "built-in"


def test_a_workspace_inside_the_builtin_content_is_a_workspace(empty_cards, tmp_path):
    outer = empty_cards("outer")
    inner = empty_cards("outer/examples/mine").with_toys()
    assert Catalog(inner.root, builtin=outer.root).origin("detector", "flat") == "workspace"


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda c: c.detector("flta"), "unknown detector 'flta': did you mean flat?"),
        (lambda c: c.detector("flat.stepe"), "unknown detector 'flat.stepe': did you mean flat.steep"),
        (lambda c: c.detector("flat."), "unknown detector 'flat.'"),
        (lambda c: c.track("toys"), "unknown track 'toys': did you mean toy?"),
        (lambda c: c.threat("zzz"), "unknown threat 'zzz': known: shove."),
        (lambda c: c.where("threat", "shove.x"), "unknown threat 'shove.x'"),
        (lambda c: c.detector_spec("flat", "mnist"), "no settings for track 'mnist'; its tracks: toy"),
        (lambda c: c.track("../datasets/toy"), "unknown track '../datasets/toy'"),
        (lambda c: c.detector("../../etc/passwd"), "unknown detector '../../etc/passwd'"),
        (lambda c: c.expand("detector", "flat,nix*"), "unknown detector 'nix*'"),
        (lambda c: c.expand("detector", "flat,flta"), "unknown detector 'flta'"),
        (lambda c: c.expand("threat", "shvoe"), "unknown threat 'shvoe'"),
        (lambda c: c.expand("track", "tyo"), "unknown track 'tyo'"),
        (lambda c: c.expand("detector", " , "), "no detector is named; give one or more of: flat"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_ones(both, ask, words):
    with pytest.raises(UsageError) as caught:
        ask(both)
    assert words in str(caught.value)


def test_a_very_long_name_is_quoted_in_short(both):
    with pytest.raises(UsageError) as caught:
        both.detector("x" * 10_000_000)
    assert len(str(caught.value)) < 300


def test_a_card_whose_name_is_not_its_files_is_refused(both, toy_cards):
    toy_cards.card("threat_models/other.yaml", (toy_cards.root / "threat_models" / "shove.yaml").read_text())
    with pytest.raises(CardError, match=r"other\.yaml:1: field 'name': given 'shove', allowed: the file's own"):
        Catalog(toy_cards.root).threat("other")


def test_a_broken_card_spoils_no_other(toy_cards, builtin):
    toy_cards.card("detectors/broken.yaml", "name: [")
    catalog = Catalog(toy_cards.root, builtin=builtin.root)
    assert catalog.names("detector") == ["broken", "flat"]
    assert catalog.detector("flat")[0].name == "flat"
    with pytest.raises(CardError, match="is not YAML"):
        catalog.detector("broken")


def test_only_yaml_files_are_cards(both, toy_cards):
    (toy_cards.root / "detectors" / "weights").mkdir()
    (toy_cards.root / "detectors" / "folder.yaml").mkdir()
    (toy_cards.root / "detectors" / "notes.txt").write_text("no card")
    assert Catalog(toy_cards.root, builtin=both.builtin).names("detector") == ["flat"]


def test_all_leaves_out_controls_and_variants(toy_cards, builtin):
    flat = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    toy_cards.card("detectors/control-masked.yaml", flat.replace("name: flat", "name: control-masked"))
    toy_cards.card("detectors/tilted.yaml", flat.replace("name: flat", "name: tilted"))
    catalog = Catalog(toy_cards.root, builtin=builtin.root)
    assert catalog.expand("detector", "all") == ["flat", "tilted"]
    assert catalog.expand("detector", "*t*") == ["flat", "tilted"]
    assert catalog.expand("detector", "tilted,all") == ["tilted", "flat"]
    assert catalog.expand("detector", "flat.*") == ["flat.steep"]
    assert catalog.expand("detector", "control-*, flat ,flat") == ["control-masked", "flat"]
    assert catalog.expand("threat", "all") == ["shove"]


def test_a_card_that_takes_the_place_of_another_builtin_one_is_named(toy_cards, builtin):
    other = (toy_cards.root / "detectors" / "flat.yaml").read_text().replace("2.0", "3.0")
    builtin.card("detectors/flat.yaml", other)
    catalog = Catalog(toy_cards.root, builtin=builtin.root)
    (notice,) = catalog.notices()
    assert "detector 'flat' is the workspace's own card" in notice
    assert catalog.detector("flat")[0].params == {"scale": 2.0}


def test_the_same_card_with_other_comments_is_no_other_card(toy_cards, builtin):
    builtin.card("detectors/flat.yaml", "# a comment\n" + (toy_cards.root / "detectors" / "flat.yaml").read_text())
    assert Catalog(toy_cards.root, builtin=builtin.root).notices() == []


def test_a_broken_card_that_takes_the_place_of_a_builtin_one_is_named(toy_cards, builtin):
    builtin.card("detectors/flat.yaml", (toy_cards.root / "detectors" / "flat.yaml").read_text())
    toy_cards.card("detectors/flat.yaml", "name: [")
    assert len(Catalog(toy_cards.root, builtin=builtin.root).notices()) == 1


def test_weights_are_looked_for_in_workspace_then_builtin_then_cache(both, toy_cards, builtin, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTOOD_WEIGHTS", str(tmp_path / "cache"))
    assert both.weights_path("digits/a.safetensors") is None
    for folder in (tmp_path / "cache", builtin.root / "detectors/weights", toy_cards.root / "detectors/weights"):
        (folder / "digits").mkdir(parents=True)
        (folder / "digits" / "a.safetensors").touch()
        assert both.weights_path("digits/a.safetensors") == folder / "digits" / "a.safetensors"


@pytest.mark.parametrize("file", ["../a", "/etc/passwd", "a/../../b", "", ".hidden", "a" * 300, "a\x00b"])
def test_a_weights_name_cannot_leave_its_folder(both, file):
    with pytest.raises(UsageError, match="is not allowed; give a relative path"):
        both.weights_path(file)


def test_new_weights_go_to_the_workspace_or_the_cache(both, toy_cards, builtin, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTOOD_WEIGHTS", str(tmp_path / "cache"))
    assert both.weights_dir_for_writing() == toy_cards.root / "detectors" / "weights"
    assert Catalog(builtin=builtin.root).weights_dir_for_writing() == tmp_path / "cache" == weights_cache()


def test_reading_cards_needs_none_of_the_heavy_libraries():
    code = (
        "import sys, bench.cards.catalog, bench.cli.app;"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    root = Path(folders.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
