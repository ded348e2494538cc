"""D18: what each control must trip, and how the harness's own build fails."""

import json
from pathlib import Path

import pytest
from soundness_cases import cell
from typer.testing import CliRunner

from bench.cli.app import app
from bench.soundness.checklist import CHECKS
from bench.soundness.controls import CERTIFIED, TRIPS, UNDEFENDED, Outcome, controls_found_out, names
from bench.soundness.verdicts import Verdict, Verdicts


def outcome(*failed: str, auroc: float = 0.2, guaranteed: float | None = None, warned: tuple[str, ...] = ()) -> Outcome:
    meta = cell().meta
    mean = meta.mean.model_copy(update={"auroc": auroc, "guaranteed_auroc": guaranteed})
    findings = [CHECKS[check].finding(Verdict.FAIL, "failed.") for check in failed]
    findings += [CHECKS[check].finding(Verdict.WARN, "warned.") for check in warned]
    return Outcome(meta.model_copy(update={"mean": mean}), Verdicts(key=meta.key, findings=tuple(findings)))


@pytest.fixture
def build() -> dict[str, Outcome]:
    """What a sound build gives."""
    broken = {name: outcome(checks[0], warned=checks[1:], auroc=0.9) for name, checks in TRIPS.items()}
    fallen = {name: outcome(auroc=0.1) for name in UNDEFENDED}
    return {**broken, **fallen, CERTIFIED: outcome(auroc=0.5, guaranteed=0.45)}


def test_a_sound_build_passes(build):
    assert set(build) == set(names())
    assert controls_found_out(build).verdict is Verdict.PASS


@pytest.mark.parametrize(("control", "check"), [(name, check) for name, checks in TRIPS.items() for check in checks])
def test_a_control_that_does_not_trip_a_check_fails_the_build(build, control, check):
    rest = [other for other in TRIPS[control] if other != check]
    finding = controls_found_out({**build, control: outcome(*rest, auroc=0.9)})
    assert finding.verdict is Verdict.FAIL
    assert f"{control} does not trip {check}" in finding.found


def test_a_control_that_only_warns_fails_the_build(build):
    control = next(iter(TRIPS))
    assert "trips no FAIL" in controls_found_out({**build, control: outcome(warned=TRIPS[control])}).found


@pytest.mark.parametrize("name", [*UNDEFENDED, CERTIFIED])
def test_a_sound_detector_that_trips_a_fail_fails_the_build(build, name):
    sound = outcome("D6", auroc=0.1, guaranteed=0.05)
    assert f"{name} is sound and trips D6" in controls_found_out({**build, name: sound}).found


def test_an_undefended_detector_that_does_not_fall_fails_the_build(build):
    assert "keeps AUROC 0.600" in controls_found_out({**build, "msp": outcome(auroc=0.6)}).found
    assert "keeps AUROC 0.501" in controls_found_out({**build, "msp": outcome(auroc=0.501)}).found
    assert controls_found_out({**build, "msp": outcome(auroc=0.5)}).verdict is Verdict.PASS  # no better than chance


@pytest.mark.parametrize("guaranteed", [0.51, None])
def test_a_certificate_that_does_not_hold_fails_the_build(build, guaranteed):
    finding = controls_found_out({**build, CERTIFIED: outcome(auroc=0.5, guaranteed=guaranteed)})
    assert "falls below its guarantee" in finding.found


@pytest.mark.slow
def test_the_shipped_controls_are_found_out(tmp_path: Path):
    file = tmp_path / "controls.json"
    done = CliRunner().invoke(
        app, ["diagnose", "--controls", "--json", str(file), "--out", str(tmp_path / "runs"), "--device", "cpu", "-q"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(file.read_text())["finding"]["verdict"] == "PASS"
