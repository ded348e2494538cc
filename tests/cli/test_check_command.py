import xml.etree.ElementTree as ET

import pytest
import yaml
from toy_runs import bench, make_workspace, run

from bench.evaluation.store import Store

CLIMB = {
    "name": "climb",
    "summary": "a short climb",
    "method": "bench.threat_models.pgd:PGD",
    "norm": "l2",
    "eps": [4.0],
    "knowledge": "gradients",
    "params": {"steps": 2, "restarts": 1, "step_size": 1.0},
}


def write(path, card):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(card))


def change(path, **fields):
    write(path, {**yaml.safe_load(path.read_text()), **fields})


def enlarge(card):
    """Four times the images, so that what is lost is more than chance."""
    track = yaml.safe_load(card.read_text())
    for part in (track["calibration"], track["test"], *track["ood"].values()):
        part["args"]["count"] *= 4
        del part["digest"]
    write(card, track)


@pytest.fixture
def guarded(tmp_path):
    """A workspace with a detector, an attack on it, and a baseline of both."""
    workspace = make_workspace(tmp_path)
    enlarge(workspace / "datasets/toy.yaml")
    write(workspace / "threat_models/climb.yaml", CLIMB)
    ran = run(workspace, "--detector", "dark", "--threat", "climb")
    assert ran.exit_code == 0, ran.stderr
    recorded = bench("baseline", workspace / "runs", "--to", workspace / "base.json", "--workspace", workspace)
    assert recorded.exit_code == 0, recorded.stderr
    return workspace


def scored(workspace, detector, folder):
    """A run that attacks nothing."""
    done = bench(
        "run", "--detector", detector, "--threat", "clean", "--track", "toy", "--workspace", workspace, "--out", folder
    )
    assert done.exit_code == 0, done.stderr


def check(workspace, *options):
    asked = ["--baseline", workspace / "base.json", "--workspace", workspace, "--out", workspace / "now"]
    return bench("check", *asked, *options)


def row(done, threat):
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"dark x {threat} ")]
    return line


def test_nothing_changed_is_0(guarded):
    done = check(guarded)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "2 cells: 2 unchanged.")


def test_a_detector_made_worse_is_caught(guarded):
    card = guarded / "detectors/dark.yaml"
    change(card, method=yaml.safe_load(card.read_text())["method"].replace("Dark", "Corner"))
    done = check(guarded)
    assert done.exit_code == 1, done.output
    assert "  worse  " in row(done, "clean")
    assert "changed: detector in all cells" in done.stdout


def test_an_attack_made_weaker_is_caught(guarded):
    change(guarded / "threat_models/climb.yaml", params={**CLIMB["params"], "step_size": 0.01})
    done = check(guarded)
    assert done.exit_code == 1, done.output
    assert "  attack weaker  " in row(done, "climb")
    assert "  unchanged  " in row(done, "clean")
    assert "changed: step_size in dark x climb l2 4 on toy (1.0 -> 0.01)." in done.stdout


def test_an_attack_made_weaker_is_caught_in_stored_cells(guarded):
    change(guarded / "threat_models/climb.yaml", params={**CLIMB["params"], "step_size": 0.01})
    ran = run(guarded, "--detector", "dark", "--threat", "climb", "--out", guarded / "later")
    assert ran.exit_code == 0, ran.stderr
    done = check(guarded, "--run", guarded / "later")
    assert (done.exit_code, "  attack weaker  " in row(done, "climb")) == (1, True)
    assert not (guarded / "now").exists()


def test_a_better_detector_is_0(guarded):
    card = guarded / "detectors/dark.yaml"
    dark = card.read_text()
    change(card, method=yaml.safe_load(dark)["method"].replace("Dark", "Corner"))
    run(guarded, "--detector", "dark", "--threat", "climb", "--out", guarded / "poor")
    bench("baseline", guarded / "poor", "--to", guarded / "base.json", "--workspace", guarded)
    card.write_text(dark)
    done = check(guarded)
    assert (done.exit_code, "  better  " in row(done, "clean")) == (0, True)


def test_a_detector_that_is_gone_is_3(guarded):
    (guarded / "detectors/dark.yaml").unlink()
    done = check(guarded)
    assert done.exit_code == 3
    assert "unknown detector 'dark'" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 cells: 2 missing."


def test_a_run_that_lacks_a_cell_is_3(guarded):
    scored(guarded, "dark", guarded / "short")
    done = check(guarded, "--run", guarded / "short")
    assert done.exit_code == 3
    assert "is missing: the run does not hold it." in done.stdout


def test_a_run_of_another_seed_or_limit_is_told_by_what_it_holds(guarded):
    ran = run(guarded, "--detector", "dark", "--threat", "climb", "--seed", 7, "--out", guarded / "other")
    assert ran.exit_code == 0, ran.stderr
    done = check(guarded, "--run", guarded / "other")
    assert done.exit_code == 3
    assert "the run holds it with seed 7, and the baseline with seed 0" in " ".join(done.stdout.split())


def test_a_cell_that_fails_is_missing_with_its_reason(guarded):
    card = guarded / "detectors/dark.yaml"
    change(card, method=yaml.safe_load(card.read_text())["method"].replace("Dark", "Nan"))
    done = check(guarded)
    assert done.exit_code == 3
    assert "not finite" in " ".join(done.stdout.split())


def test_a_track_of_which_nothing_can_be_read_any_more_is_3_with_the_reason(guarded):
    track = yaml.safe_load((guarded / "datasets/toy.yaml").read_text())
    change(guarded / "datasets/toy.yaml", test={**track["test"], "digest": "0" * 64})
    done = check(guarded)
    assert done.exit_code == 3, done.output
    said = " ".join(done.stdout.split())
    assert "dark x clean on toy is missing: track 'toy' has sets that cannot be used" in said
    assert "dark x climb l2 4 on toy is missing: track 'toy' has sets that cannot be used" in said
    assert said.endswith("2 cells: 2 missing.")


def test_a_regression_beside_a_missing_cell_is_1(guarded):
    scored(guarded, "corner", guarded / "runs")
    bench("baseline", guarded / "runs", "--to", guarded / "base.json", "--workspace", guarded)
    (guarded / "detectors/corner.yaml").unlink()
    change(guarded / "threat_models/climb.yaml", params={**CLIMB["params"], "step_size": 0.01})
    done = check(guarded)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1] == "3 cells: 1 unchanged, 1 attack weaker, 1 missing."


def test_several_states_of_a_cell_in_one_folder_are_2(guarded):
    change(guarded / "threat_models/climb.yaml", params={**CLIMB["params"], "step_size": 0.01})
    run(guarded, "--detector", "dark", "--threat", "climb", "--out", guarded / "runs")
    for done in (
        check(guarded, "--run", guarded / "runs"),
        bench("baseline", guarded / "runs", "--to", guarded / "other.json", "--workspace", guarded),
    ):
        assert done.exit_code == 2
        assert "holds 2 cells of dark x climb l2 4 on toy" in done.stderr
    assert not (guarded / "other.json").exists()


def test_of_several_states_that_of_the_cards_as_they_are_now_is_recorded(guarded):
    card = guarded / "detectors/dark.yaml"
    change(card, method=yaml.safe_load(card.read_text())["method"].replace("Dark", "Corner"))
    run(guarded, "--detector", "dark", "--threat", "climb", "--out", guarded / "runs")
    again = bench("baseline", guarded / "runs", "--to", guarded / "base.json", "--workspace", guarded)
    assert again.exit_code == 0, again.stderr
    for done in (check(guarded), check(guarded, "--run", guarded / "runs")):
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "2 cells: 2 unchanged.")
        assert "changed" not in done.stdout.replace("unchanged", "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--baseline", "absent.json"], "'absent.json' is not a file"),
        (["--tolerance", "-1"], "--tolerance is -1.0; allowed"),
        (["--alpha", "1"], "--alpha is 1.0; allowed"),
        (["--run", "absent"], "'absent' is not a folder"),
        (["--junit", "/dev/null/check.xml"], "cannot write"),
        (["--baseline"], "requires an argument"),
    ],
)
def test_a_wrong_request_is_2_and_one_sentence(guarded, options, sentence):
    done = check(guarded, *options)
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_the_report_is_written_as_junit_and_markdown(guarded):
    done = check(guarded, "--junit", guarded / "out/check.xml", "--markdown", guarded / "out/check.md")
    assert done.exit_code == 0, done.output
    assert ET.parse(guarded / "out/check.xml").getroot().get("tests") == "2"
    assert "| dark x climb l2 4 on toy | unchanged |" in (guarded / "out/check.md").read_text(encoding="utf-8")


def test_a_second_check_computes_nothing(guarded):
    check(guarded)
    before = set(Store(guarded / "now").keys())
    done = check(guarded)
    assert (done.exit_code, done.stderr) == (0, "")
    assert set(Store(guarded / "now").keys()) == before


def test_help_says_what_the_exit_codes_mean():
    words = " ".join(bench("check", "--help").stdout.replace("│", " ").split())
    assert "Exit codes: 0 unchanged or better, 1 worse or an attack weaker, 2 a wrong request, 3 cells are" in words


def test_a_cell_that_was_damaged_is_computed_again_and_named(guarded):
    assert check(guarded).exit_code == 0
    for samples in (guarded / "now").rglob("samples.parquet"):
        samples.write_bytes(samples.read_bytes()[:-100])
    again = check(guarded)
    assert again.exit_code == 0 and "damaged" in again.stderr
