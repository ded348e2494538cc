"""`bench diagnose` prints a checklist, writes it as JSON, and ends with a code that a pipeline can use."""

import itertools
import json
import re
import textwrap
from pathlib import Path

import pytest
from toy_runs import bench, make_workspace
from typer.testing import Result

from bench.cards.threat import Side
from bench.evaluation.results import CellMeta
from bench.soundness.controls import names
from bench.soundness.diagnose import Diagnosis
from bench.soundness.files import read_verdicts
from bench.soundness.verdicts import Finding, Verdicts

_numbers = itertools.count()

STEPPED = """
    import torch

    from bench.detectors.base import Detector, DetectorInfo

    class Stepped(Detector):
        info = DetectorInfo(classifier=False)

        def score(self, x, *, noise=None):
            # the second term has a gradient at pixels that are black: without any the attack would be refused
            return -torch.round(x.flatten(1).mean(1) * 10.0) - 1e-6 * torch.relu(1e-3 - x[:, 0, 0, 0])
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The toy workspace, with a detector of rounded scores beside the sound one."""
    module = f"toy_stepped_{next(_numbers)}"
    make_workspace(tmp_path)
    (tmp_path / f"{module}.py").write_text(textwrap.dedent(STEPPED))
    card = {"name": "stepped", "summary": "a toy", "method": f"{module}:Stepped", "tracks": {"toy": {}}}
    (tmp_path / "detectors/stepped.yaml").write_text(json.dumps(card))
    return tmp_path


ROW = ["D2 D4 D9 D11 D12 D14", "D2", "D2"]
"""What the quantised control must trip, what it trips in the test below, and which of those say FAIL."""


def diagnose(workspace: Path, *arguments: object) -> Result:
    options = ["--track", "toy", "--workspace", workspace, "--out", workspace / "runs", "--device", "cpu"]
    return bench("diagnose", *options, *arguments)


def short(detector: str, *more: object) -> list[object]:
    return ["--detector", detector, "--eps", 0.3, "--steps", 10, "--restarts", 2, *more]


def test_a_sound_attack_ends_with_code_0_and_a_checklist_of_all_checks(workspace):
    result = diagnose(workspace, *short("dark"))
    assert result.exit_code == 0, result.output
    for number in range(1, 20):
        assert f"D{number} " in result.stdout
    assert "times the cell's" in result.stdout


def test_a_masked_gradient_ends_with_code_1_and_advice(workspace):
    file = workspace / "checks.json"
    result = diagnose(workspace, *short("stepped"), "--json", file)
    assert result.exit_code == 1, result.output
    content = json.loads(file.read_text())
    assert {"D2", "D14"} <= set(content["failed"])
    failed = [finding for finding in content["findings"] if finding["verdict"] == "FAIL"]
    assert all(finding["advice"] for finding in failed)
    assert "what to try next" in result.stdout


def test_a_file_of_findings_that_cannot_be_written_is_told_with_another_choice(workspace):
    (workspace / "taken").mkdir()
    result = diagnose(workspace, *short("stepped"), "--json", workspace / "taken")
    assert result.exit_code == 2
    assert "choose another file (--json)" in result.stderr


def test_the_verdicts_are_kept_beside_the_cells(workspace):
    file = workspace / "checks.json"
    diagnose(workspace, *short("stepped"), "--json", file)
    key = json.loads(file.read_text())["cell"]
    assert set(read_verdicts(workspace / "runs", [key])[key].failed) >= {"D2", "D14"}


def test_a_stored_cell_is_not_computed_again(workspace):
    diagnose(workspace, *short("dark"))
    cells = sorted(path.stat().st_mtime_ns for path in (workspace / "runs/cells").rglob("cell.json"))
    assert diagnose(workspace, *short("dark")).exit_code == 0
    assert cells == sorted(path.stat().st_mtime_ns for path in (workspace / "runs/cells").rglob("cell.json"))


def test_the_extra_runs_cost_at_most_four_times_the_cell(workspace):
    file = workspace / "checks.json"
    for options in ([], ["--side", "both"], ["--no-early-stop"]):
        diagnose(workspace, *short("dark", *options), "--json", file)
        content = json.loads(file.read_text())
        assert 0 < content["cost"] <= 4.0 * content["cell_cost"]


def test_each_side_is_told_by_itself(workspace):
    file = workspace / "checks.json"
    result = diagnose(workspace, *short("dark"), "--side", "both", "--json", file)
    findings = json.loads(file.read_text())["findings"]
    assert {finding["side"] for finding in findings if finding["check"] == "D2"} == {"evade", "alarm"}
    assert "(alarm)" in result.stdout


def test_a_detector_is_asked_for_gradients_and_about_neighbours_and_its_jumps_are_told(workspace):
    file = workspace / "checks.json"
    diagnose(workspace, *short("stepped"), "--json", file)
    figures = {finding["check"]: finding["figures"] for finding in json.loads(file.read_text())["findings"]}
    repeated = {"asked_twice", "another_order", "one_by_one", "asked_for_gradients", "after_its_neighbours"}
    assert repeated == set(figures["D1"])
    assert figures["D15"]["share_jumping"] > 0.05


def test_a_check_that_is_asked_of_both_sides_is_told_once(workspace):
    result = diagnose(workspace, *short("dark"), "--side", "both")
    told = [line.split()[0] for line in result.stderr.splitlines() if re.fullmatch(r"D\d+ \(\d+%\)", line.strip())]
    assert len(told) > 1
    assert len(told) == len(set(told))


def test_a_checklist_that_goes_into_a_file_is_140_letters_wide_whatever_the_terminal(workspace, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    (border,) = [line for line in diagnose(workspace, *short("stepped")).stdout.splitlines() if line.startswith("┏")]
    assert len(border) == 140


def test_controls_are_printed_with_what_they_must_trip_and_written_as_json(workspace, monkeypatch):
    failing = Finding(check="D2", title="slopes", verdict="FAIL", side=Side.EVADE, found="none.", advice="more points.")
    verdicts = Verdicts(key="0" * 64, findings=(failing,))
    meta = CellMeta.model_construct(mean=None)
    monkeypatch.setattr("bench.cli.diagnose._planned", lambda request, cards: None)
    monkeypatch.setattr(
        "bench.cli.diagnose._diagnosed",
        lambda request, cards, planned, *, quiet: (meta, Diagnosis(verdicts, (), 8, 1.0, 1.0, 1.0)),
    )
    file = workspace / "controls.json"
    result = bench("diagnose", "--controls", "--json", file, "--device", "cpu")
    assert result.exit_code == 1, result.output
    content = json.loads(file.read_text())
    assert content["finding"]["check"] == "D18"
    assert content["finding"]["verdict"] == "FAIL"
    assert set(content["controls"]) == set(names())
    kept = content["controls"]["control-quantised"]
    assert Verdicts.model_validate_json(json.dumps(kept)) == verdicts
    assert (kept["findings"][0]["verdict"], kept["findings"][0]["side"]) == ("FAIL", "evade")
    assert "control-quantised does not trip D4" in " ".join(result.stdout.split())
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("│control-quantised ")]
    assert [part.strip() for part in row.strip("│").split("│")] == ["control-quantised", "-", *ROW]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no detector is named"),
        (["--detector", "dark,corner", "--eps", 1], "give one detector"),
        (["--detector", "dark"], "give one --eps"),
        (["--detector", "dark", "--threat", "clean"], "attacks nothing"),
        (["--detector", "dark", "--eps", 1, "--threat", "noise-l2"], "with gradients"),
        (["--detector", "dark", "--eps", 1, "--threat", "boundary-l2", "--side", "fool"], "with gradients"),
        (["--detector", "dark", "--eps", 1, "--side", "between"], "attacks nothing"),
        (["--detector", "nobody", "--eps", 1], "unknown detector"),
        (["--controls", "--detector", "dark"], "leave --detector out"),
    ],
)
def test_a_wrong_request_ends_with_code_2_and_one_sentence(workspace, arguments, sentence):
    result = diagnose(workspace, *arguments)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_help_ends_in_examples(workspace):
    result = bench("diagnose", "--help")
    assert "bench diagnose --controls" in result.stdout


def test_a_worst_case_is_checked_as_one_attack_and_its_verdicts_are_kept_under_its_own_key(workspace):
    (workspace / "threat_models/both.yaml").parent.mkdir(exist_ok=True)
    card = {
        "name": "both",
        "summary": "two attacks.",
        "norm": "l2",
        "eps": [0.3],
        "knowledge": "gradients",
        "sides": ["evade"],
        "members": {"evade": ["pgd-l2", "noise-l2"]},
    }
    (workspace / "threat_models/both.yaml").write_text(json.dumps(card))
    file = workspace / "checks.json"
    result = diagnose(workspace, "--detector", "dark", "--eps", 0.3, "--threat", "both", "--json", file)
    assert result.exit_code == 0, result.output
    content = json.loads(file.read_text())
    assert content["threat"] == "both"
    asked = {finding["check"] for finding in content["findings"] if finding["verdict"] != "SKIPPED"}
    assert {"D1", "D2", "D3", "D4", "D6", "D9", "D20"} <= asked
    assert "evade: on" in result.stdout and "stands" in result.stdout
    assert content["standing"][0]["excess"] == pytest.approx(0.0, abs=0.01)
    assert content["cell"] in {path.stem for path in (workspace / "runs/verdicts").rglob("*.json")}


def test_an_attack_on_decisions_is_checked_by_how_many_images_hold(workspace):
    file = workspace / "checks.json"
    run = (
        "--detector",
        "msp",
        "--track",
        "digits",
        "--limit",
        12,
        "--threat",
        "pgd-l2",
        "--eps",
        0.7,
        "--side",
        "fool",
    )
    options = ("--steps", 4, "--restarts", 1, "--workspace", workspace, "--out", workspace / "runs", "--device", "cpu")
    result = bench("diagnose", *run, *options, "--json", file)
    content = json.loads(file.read_text())
    verdicts = {finding["check"]: finding["verdict"] for finding in content["findings"]}
    assert result.exit_code == (1 if content["failed"] else 0), result.output
    assert {verdicts[check] for check in ("D1", "D2", "D3", "D16", "D17")} == {"PASS"}
    assert {verdicts[check] for check in ("D13", "D14", "D20")} == {"SKIPPED"}
    assert "misclassified" in result.stdout and "share that holds" in result.stdout
    assert "fool: on" in result.stdout
