import hashlib

import pytest
import yaml
from typer.testing import CliRunner

from bench.cards.catalog import Catalog
from bench.cards.track import TrackCard
from bench.cli.app import app


@pytest.fixture
def run(toy_cards, monkeypatch):
    """Runs `bench` in the toy workspace, in a wide terminal."""
    monkeypatch.chdir(toy_cards.root)
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def rows(text):
    return [line.split() for line in text.splitlines() if line.strip()]


def test_list_shows_all_kinds_with_their_origin(run):
    result = run("list")
    assert result.exit_code == 0
    shown = rows(result.stdout)
    assert ["flat", "workspace", "toy", "the", "mean", "of", "an", "image"] in shown
    assert ["flat.steep", "workspace", "toy", "ten", "times", "the", "mean"] in shown
    assert ["shove", "workspace", "l2:", "0.03137,", "0.5", "a", "step", "that", "any", "image", "survives"] in shown
    assert ["toy", "workspace", "1x8x8:", "noise", "two", "classes", "of", "small", "images"] in shown


@pytest.mark.parametrize(("what", "there", "not_there"), [("detectors", "flat", "shove"), ("threats", "shove", "flat")])
def test_list_of_one_kind_shows_only_that(run, what, there, not_there):
    names = [line[0] for line in rows(run("list", what).stdout)]
    assert there in names
    assert not_there not in names


def test_no_line_of_a_list_is_wider_than_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = run("list", "threats").stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("Named without a card: ")) <= 60


def test_list_cuts_nothing_where_it_is_piped(run, toy_cards, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    text = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    toy_cards.card("detectors/flat.yaml", text.replace("the mean of an image", "long " * 100 + "end"))
    assert "long " * 100 + "end" in run("list", "detectors").stdout


def test_list_shows_a_broken_card_with_its_sentence_and_goes_on(run, toy_cards):
    toy_cards.card("detectors/broken.yaml", "name: broken\nnmae: x\n")
    result = run("list", "detectors")
    assert result.exit_code == 0
    assert "broken" in result.stdout
    assert "broken.yaml:2: unknown field 'nmae'; did you mean 'name'?" in result.stdout
    assert "flat" in [line[0] for line in rows(result.stdout)]


def test_markup_in_a_card_is_shown_as_it_is(run, toy_cards):
    text = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    toy_cards.card("detectors/flat.yaml", text.replace("the mean of an image", '"[red]:smile:[/] of"'))
    assert "[red]:smile:[/] of" in run("list", "detectors").stdout


def test_a_card_that_takes_the_place_of_a_builtin_one_is_named(run, toy_cards, empty_cards, monkeypatch):
    builtin = empty_cards("builtin")
    text = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    builtin.card("detectors/flat.yaml", text.replace("2.0", "3.0"))
    monkeypatch.setattr("bench.cards.catalog.builtin_content", lambda: builtin.root)
    result = run("list", "detectors")
    assert result.stderr.startswith("notice: detector 'flat' is the workspace's own card")


def test_show_prints_the_whole_card_as_yaml_with_hash_file_and_origin(run, toy_cards):
    result = run("show", "toy")
    assert result.exit_code == 0
    card = Catalog(toy_cards.root).track("toy")
    assert TrackCard.model_validate(yaml.safe_load(result.stdout)) == card
    assert result.stdout.splitlines()[:4] == [
        "# track toy",
        f"# hash: {card.content_hash()}",
        f"# file: {toy_cards.root.resolve() / 'datasets' / 'toy.yaml'}",
        "# origin: workspace",
    ]


def test_show_of_a_track_prints_its_suite_and_the_hash_that_covers_it(run, toy_cards):
    path = toy_cards.root / "datasets" / "toy.yaml"
    toy_cards.card("datasets/toy.yaml", path.read_text() + "suite: [{threat: shove, eps: 0.5}]\nsuite_limit: 20\n")
    shown = run("show", "toy").stdout
    card = Catalog(toy_cards.root).track("toy")
    assert yaml.safe_load(shown)["suite"] == [{"threat": "shove", "eps": 0.5}]
    assert TrackCard.model_validate(yaml.safe_load(shown)).row_limit == 20
    assert shown.splitlines()[1] == f"# hash: {card.content_hash()}"


def test_show_of_a_variant_lays_it_over_the_detector(run):
    shown = yaml.safe_load(run("show", "flat.steep").stdout)
    assert (shown["name"], shown["summary"], shown["params"]) == ("flat.steep", "ten times the mean", {"scale": 10.0})
    assert yaml.safe_load(run("show", "flat").stdout)["params"] == {"scale": 2.0}


def test_show_on_a_track_prints_the_settings_in_force_and_their_hash(run, toy_cards):
    result = run("show", "flat.steep", "--track", "toy")
    spec = Catalog(toy_cards.root).detector_spec("flat.steep", "toy")
    assert yaml.safe_load(result.stdout) == spec.model_dump(mode="json")
    assert f"# hash: {spec.content_hash()}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "flta"], "error: there is no detector, threat or track 'flta'; did you mean flat?"),
        (["show", "flat.x"], "error: unknown detector 'flat.x'"),
        (["show", "../flat"], "error: there is no detector, threat or track '../flat'"),
        (["show", "../../../etc/passwd"], "error: there is no detector, threat or track"),
        (["show", "flat", "--track", "mnist"], "error: detector 'flat' has no settings for track 'mnist'"),
        (["show", "shove", "--track", "toy"], "error: 'shove' is a threat, and --track goes with a detector"),
        (["list", "--workspace", "nowhere"], "error: workspace 'nowhere' is not a folder"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_exit_code_2(run, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("energy@dict", "error: unknown network 'dict': did you mean "),
        ("energy@resnet2", "error: unknown network 'resnet2': did you mean resnet20"),
        ("energy@energy", "error: unknown network 'energy': "),
        (
            "resnet20@dict",
            "error: 'resnet20' is a network, and before the @ stands a score: give energy@resnet20, say.",
        ),
        ("enrgy@resnet20", "error: there is no detector, threat or track 'enrgy@resnet20'; did you mean energy"),
    ],
)
def test_show_of_a_score_on_a_network_that_is_not_there_has_a_hint(name, said):
    for track in ([], ["--track", "digits"]):
        result = CliRunner().invoke(app, ["show", name, *track])
        assert result.exit_code == 2
        assert result.stderr.startswith(said), result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_show_of_a_broken_card_names_every_error(run, toy_cards):
    toy_cards.card("detectors/broken.yaml", "name: broken\nversion: 0\nnmae: x\n")
    result = run("show", "broken")
    assert result.exit_code == 2
    fields = [line.partition("field '")[2].partition("'")[0] for line in result.stderr.splitlines()]
    assert fields == ["summary", "method", "version", "nmae"]


def test_validate_of_valid_cards_says_so(run):
    result = run("validate", "detectors/flat.yaml", "threat_models/shove.yaml", "datasets/toy.yaml")
    assert result.exit_code == 0
    assert ["flat", "detector", "ok"] in rows(result.stdout)
    assert "3 of 3 cards are usable." in result.stdout


def test_validate_without_files_checks_the_whole_catalog(run, toy_cards, empty_cards, monkeypatch):
    monkeypatch.setattr("bench.cards.catalog.builtin_content", lambda: empty_cards("builtin").root)
    toy_cards.card("detectors/broken.yaml", "name: [")
    result = run("validate")
    assert result.exit_code == 2
    assert "3 of 4 cards are usable." in result.stdout
    assert "is not YAML" in result.stdout


def test_validate_names_a_wrong_sha256(run, toy_cards):
    (toy_cards.root / "detectors" / "weights").mkdir()
    (toy_cards.root / "detectors" / "weights" / "w.safetensors").write_bytes(b"abc")
    text = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    entry = "toy: {weights: [{file: w.safetensors, sha256: " + hashlib.sha256(b"abd").hexdigest() + "}]}"
    toy_cards.card("detectors/flat.yaml", text.replace("toy: {}", entry))
    result = run("validate", "detectors/flat.yaml")
    assert result.exit_code == 2
    assert f"have sha256 {hashlib.sha256(b'abc').hexdigest()}, the card says" in result.stdout


def test_validate_prints_each_sentence_on_one_line_in_a_narrow_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = run("validate", "nothing.yaml").stdout.splitlines()
    assert "error: nothing.yaml: is not a file; give the path of a YAML card." in lines


# --------------------------------------------------------------------------- whole outputs


@pytest.fixture
def alone(run, toy_cards, empty_cards, monkeypatch):
    """The same where nothing is built in."""
    builtin = empty_cards("builtin").root
    monkeypatch.setattr("bench.cards.catalog.builtin_content", lambda: builtin)
    toy_cards.with_network()
    return run


def lines_of(result):
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    return [line for line in lines if line.strip(" ─")]


def test_a_list_reads_as_written_here(alone, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert lines_of(alone("list", "detectors"))[:4] == [
        "detectors",
        " name           origin      tracks   what it is",
        " flat           workspace   toy      the mean of an image",
        "   flat.steep   workspace   toy      ten times the mean",
    ]
    assert lines_of(alone("list", "threats"))[:3] == [
        "threats",
        " name    origin      norm: eps          what it is",
        " shove   workspace   l2: 0.03137, 0.5   a step that any image survives",
    ]
    assert lines_of(alone("list", "tracks")) == [
        "tracks",
        " name   origin      shape: OOD sets   what it is",
        " toy    workspace   1x8x8: noise      two classes of small images",
    ]
    assert lines_of(alone("list", "networks")) == [
        "networks",
        " name   origin      track   what it is",
        " net    workspace   toy     a classifier",
    ]


def test_a_list_of_everything_names_what_goes_without_a_card_below_detectors_and_threats_alone(alone):
    lines = lines_of(alone("list"))
    titles = [line for line in lines if not line.startswith((" ", "Named"))]
    assert titles == ["detectors", "threats", "tracks", "networks"]
    named = [number for number, line in enumerate(lines) if line.startswith("Named without a card: ")]
    assert [lines[number + 1] for number in named] == ["threats", "tracks"]
    assert "callable:" in lines[named[0]] and "foolbox:" in lines[named[1]]


def test_a_variant_and_a_score_on_any_network_are_listed_with_the_tracks_on_which_they_can_be_run(alone, toy_cards):
    text = (toy_cards.root / "detectors" / "flat.yaml").read_text()
    both = text.replace("params: {scale: 10.0}}", "params: {scale: 10.0}, tracks: {toy: {}}}")
    toy_cards.card("detectors/flat.yaml", both.replace("  toy: {}\n", "  toy: {}\n  toy2: {}\n"))
    score = text[: text.index("params:")].replace("name: flat", "name: score")
    toy_cards.card("detectors/score.yaml", f"{score}on_network: true\nvariants: {{s: {{summary: one}}}}\n")
    listed = {line[0]: line[2:] for line in rows(alone("list", "detectors").stdout) if len(line) > 3}
    assert listed["flat"][:2] == ["toy,", "toy2"] and listed["flat.steep"][0] == "toy"
    assert listed["score"][:2] == listed["score.s"][:2] == ["any", "network"]


def test_a_narrow_terminal_has_what_does_not_fit_below_its_name_and_cuts_nothing(alone, toy_cards, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert lines_of(alone("list", "threats"))[:4] == [
        "threats",
        "name    origin      norm: eps",
        "shove   workspace   l2: 0.03137, 0.5",
        "    a step that any image survives",
    ]
    text = (toy_cards.root / "threat_models" / "shove.yaml").read_text()
    toy_cards.card("threat_models/shove.yaml", text.replace("0.5]", "0.5, 0.75]"))
    monkeypatch.setenv("COLUMNS", "40")
    assert lines_of(alone("list", "threats"))[2:5] == [
        "shove   workspace",
        "    l2: 0.03137, 0.5, 0.75",
        "    a step that any image survives",
    ]


def test_a_terminal_of_middle_width_cuts_what_a_card_is_and_nothing_before_it(alone, toy_cards, monkeypatch):
    text = (toy_cards.root / "threat_models" / "shove.yaml").read_text()
    toy_cards.card("threat_models/shove.yaml", text.replace("any image survives", f"any image {'always ' * 9}survives"))
    monkeypatch.setenv("COLUMNS", "82")
    found = next(line for line in lines_of(alone("list", "threats")) if "shove" in line)
    assert found.startswith(" shove   workspace   l2: 0.03137, 0.5   a step that any") and found.endswith("…")


def test_a_shown_card_reads_as_written_here(alone, toy_cards):
    root, module = toy_cards.root.resolve(), toy_cards.module
    card = Catalog(toy_cards.root).threat("shove")
    assert alone("show", "shove").stdout.splitlines() == [
        "# threat shove",
        f"# hash: {card.content_hash()}",
        f"# file: {root / 'threat_models' / 'shove.yaml'}",
        "# origin: workspace",
        "name: shove", "version: 1", "summary: a step that any image survives", f"method: {module}:Shove",
        "members: {}", "source: null", "paper: null", "norm: l2", "eps: [0.03137254901960784, 0.5]", "knowledge: none",
        "sides: [evade, alarm, both]", "min_norm: false", "params: {steps: 3}", "",
    ]  # fmt: skip


def test_a_variant_on_a_track_is_shown_under_its_name_with_the_file_of_its_detector(alone, toy_cards):
    head = alone("show", "flat.steep", "--track", "toy").stdout.splitlines()[:5]
    spec = Catalog(toy_cards.root).detector_spec("flat.steep", "toy")
    assert head == [
        "# detector flat.steep on toy",
        f"# hash: {spec.content_hash()}",
        f"# file: {toy_cards.root.resolve() / 'detectors' / 'flat.yaml'}",
        "# origin: workspace",
        f"name: {spec.name}",
    ]


def test_an_attack_of_a_library_has_no_file(alone):
    lines = alone("show", "foolbox:LinfPGD").stdout.splitlines()
    assert lines[0] == "# threat foolbox:LinfPGD" and lines[1].startswith("# hash: ")
    assert lines[2] == "name: foolbox:LinfPGD"


@pytest.mark.parametrize(
    ("arguments", "head"),
    [
        (["convnet-digits"], "# network convnet-digits"),
        (["energy@convnet-digits"], "# detector energy@convnet-digits on digits"),
        (["energy@convnet-digits", "--track", "digits"], "# detector energy@convnet-digits on digits"),
    ],
)
def test_a_network_and_a_score_on_one_are_shown_with_the_layers_that_were_found(arguments, head):
    lines = CliRunner().invoke(app, ["show", *arguments]).stdout.splitlines()
    assert lines[0] == head
    assert [line for line in lines if line.startswith("# layers")] == [
        "# layers: conv1, conv2, conv3, penultimate, logits"
    ]


def test_a_network_that_cannot_be_built_says_why(run, toy_cards):
    toy_cards.with_network()
    (line,) = (line for line in lines_of(run("show", "net")) if line.startswith("# found"))
    assert line.startswith("# found in the network: nothing, for ") and "has no 'Net'" in line
