"""`bench run` runs what can be run, names what it leaves out, and says so by its exit code."""

import json

import pytest
from toy_runs import bench, make_workspace

from bench.evaluation.store import Store


def card(workspace, name, **content):
    folder = workspace / "threat_models"
    folder.mkdir(exist_ok=True)
    own = {"name": name, "summary": "a toy", "knowledge": "gradients", "norm": "l2", "eps": [0.2], **content}
    (folder / f"{name}.yaml").write_text(json.dumps(own))


@pytest.fixture
def workspace(tmp_path):
    """The toy world with a suite whose transfer member has no source on the track, and one with a broken member."""
    root = make_workspace(tmp_path)
    source = {"threat": "pgd-l2", "detectors": ["msp", "gat"]}
    transfer = {"method": "bench.threat_models.transfer:Transfer", "knowledge": "scores", "source": source}
    card(root, "stranded", **transfer)
    card(root, "suite", sides=["evade"], members={"evade": ["fgm-l2", "stranded"]})
    (root / "broken_threat.py").write_text(
        "from bench.threat_models.base import Threat\n"
        "class Broken(Threat):\n"
        "    def attack(self, detector, x, *, ids, budget, context):\n"
        "        raise RuntimeError('it broke')\n"
    )
    card(root, "broken", method="broken_threat:Broken")
    card(root, "fragile", sides=["evade"], members={"evade": ["fgm-l2", "broken"]})
    return root


def attack(workspace, threats, *more):
    options = ("--track", "toy", "--workspace", workspace, "--out", workspace / "runs", "--quiet")
    return bench("run", *options, "--detector", "dark", "--threat", threats, "--eps", "0.2", *more)


def test_a_suite_runs_without_the_member_that_cannot_and_names_it(workspace):
    done = attack(workspace, "suite")
    assert done.exit_code == 0, done.output
    assert "notice: dark x suite l2 0.2 on toy does without stranded: it takes its images from msp, gat" in done.stderr
    assert "-- suite (1 of 2), l2 eps 0.2" in done.stdout
    assert "suite (1 of 2): the worst case over fgm-l2, without stranded" in done.stdout


def test_a_stored_suite_without_a_member_is_named_again(workspace):
    attack(workspace, "suite")
    again = attack(workspace, "suite")
    assert "2 from the store" in again.stdout and "does without stranded" in again.stderr
    table = bench("table", workspace / "runs", "--format", "csv").stdout.splitlines()
    where = table[0].split(",").index("left_out")
    assert {line.split(",")[where] for line in table[1:] if ",suite," in line} == {"stranded"}


def test_one_threat_that_cannot_be_run_is_named_and_the_others_run(workspace):
    done = attack(workspace, "stranded,fgm-l2")
    assert done.exit_code == 2
    assert "error: dark x stranded l2 0.2 on toy: threat 'stranded' takes its images from msp, gat" in done.stderr
    assert "-- fgm-l2, l2 eps 0.2" in done.stdout and "2 computed, 0 from the store, 1 failed" in done.stdout


def test_a_wrong_name_beside_others_is_refused_before_anything_runs(workspace):
    done = attack(workspace, "fgm-l2,strended")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "unknown threat 'strended': did you mean stranded?" in done.stderr


def test_nothing_that_can_be_run_is_a_refusal_in_one_sentence(workspace):
    done = attack(workspace, "stranded")
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_a_member_that_failed_is_named_marked_and_ends_with_1(workspace):
    done = attack(workspace, "fragile")
    assert done.exit_code == 1
    assert "error: dark x fragile l2 0.2 on toy does without broken: RuntimeError" in done.stderr
    assert "fragile (1 of 2): the worst case over fgm-l2, without broken" in done.stdout
    assert "! not to be believed and not ranked, since parts of the attack failed" in done.stdout
    line = next(line for line in done.stdout.split("-- fragile")[1].splitlines() if line.startswith("dark"))
    assert "!" in line
    assert "1 incomplete since parts of them failed" in done.stdout


def test_of_the_threats_that_a_wildcard_brings_only_those_run_that_attack_the_side(workspace):
    done = attack(workspace, "fgm*,cw*", "--side", "alarm")
    assert done.exit_code == 0, done.output
    assert "notice: left out, since they do not attack the side alarm: cw-l2." in done.stderr
    named = attack(workspace, "fgm*,cw-l2", "--side", "alarm")
    assert named.exit_code == 2 and "threat 'cw-l2' cannot attack the side 'alarm'" in named.stderr


def test_only_some_sets_are_run_and_the_table_says_of_which_the_mean_is(workspace):
    done = attack(workspace, "fgm-l2", "--without", "mixed")
    assert done.exit_code == 0, done.output
    assert "toy without mixed, side evade" in done.stdout
    told = " ".join(done.stdout.split())
    assert (
        "mean over bright (* does not enter it); the run left out mixed, so this is not the mean of the track" in told
    )
    assert {meta.without for meta in Store(workspace / "runs").metas()} == {("mixed",)}
    only = attack(workspace, "fgm-l2", "--ood", "bright,noise")
    assert "2 from the store" in only.stdout


def test_a_reduced_run_stands_in_a_table_of_its_own(workspace):
    attack(workspace, "fgm-l2")
    attack(workspace, "fgm-l2", "--without", "mixed")
    shown = bench("table", workspace / "runs").stdout
    assert [line.split(", side")[0] for line in shown.splitlines() if ", side evade" in line] == [
        "toy",
        "toy without mixed",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--without", "brigth"), "unknown OOD set 'brigth': did you mean bright?"),
        (("--ood", "bright", "--without", "noise"), "give one of the two"),
        (("--ood", ","), "are an empty list"),
        (("--ood", "test"), "unknown OOD set 'test'"),
        (("--without", "bright,mixed,noise"), "leaves no OOD set of track 'toy'"),
    ],
)
def test_a_choice_of_sets_that_makes_no_sense_is_one_sentence(workspace, options, said):
    done = attack(workspace, "fgm-l2", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_missing_data_of_one_set_refuses_the_run_up_front(workspace):
    path = workspace / "datasets/toy.yaml"
    track = json.loads(path.read_text())
    track["ood"]["gone"] = {"source": "npz", "args": {"file": "gone.npz"}, "digest": "0" * 64}
    path.write_text(json.dumps(track))
    done = attack(workspace, "fgm-l2", "--data-dir", workspace)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "lacks sets that the run needs: 'gone' (gone.npz is missing" in done.stderr
    assert "bench data download" in done.stderr and "`--without gone` runs without" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert attack(workspace, "fgm-l2", "--data-dir", workspace, "--without", "gone").exit_code == 0


def test_a_grid_file_chooses_sets_too(workspace, tmp_path):
    (tmp_path / "grid.yaml").write_text("without: [mixed, noise]\n")
    done = attack(workspace, "fgm-l2", "--grid", tmp_path / "grid.yaml")
    assert "toy without mixed, noise, side evade" in done.stdout


def test_diagnose_takes_the_same_choice(workspace):
    done = bench(
        "diagnose", "--track", "toy", "--workspace", workspace, "--out", workspace / "runs", "--quiet", "--detector",
        "dark", "--threat", "pgd-l2", "--eps", "0.2", "--steps", "3", "--restarts", "1", "--without", "mixed",
    )  # fmt: skip
    assert done.exit_code in (0, 1), done.output
    assert {meta.without for meta in Store(workspace / "runs").metas()} == {("mixed",)}


def test_a_baseline_of_a_reduced_run_is_computed_again_on_the_same_sets(workspace, tmp_path):
    attack(workspace, "fgm-l2", "--without", "mixed")
    baseline = tmp_path / "baseline.json"
    assert bench("baseline", workspace / "runs", "--to", baseline, "--workspace", workspace).exit_code == 0
    done = bench(
        "check", "--baseline", baseline, "--workspace", workspace, "--out", tmp_path / "again", "--device", "cpu",
        "--quiet",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert {meta.without for meta in Store(tmp_path / "again").metas()} == {("mixed",)}


def test_a_check_says_of_a_suite_which_part_of_it_failed(workspace, tmp_path):
    card(workspace, "broken", method="bench.threat_models.fgm:FGM")
    assert attack(workspace, "fragile").exit_code == 0
    baseline = tmp_path / "baseline.json"
    assert bench("baseline", workspace / "runs", "--to", baseline, "--workspace", workspace).exit_code == 0
    card(workspace, "broken", method="broken_threat:Broken")
    done = bench(
        "check", "--baseline", baseline, "--workspace", workspace, "--out", tmp_path / "again", "--device", "cpu",
        "--quiet",
    )  # fmt: skip
    assert done.exit_code == 3, done.output
    assert "parts of the attack failed (broken: RuntimeError" in " ".join(done.stdout.split())


def test_a_baseline_takes_no_worst_case_of_which_a_part_failed(workspace, tmp_path):
    attack(workspace, "fragile")
    done = bench("baseline", workspace / "runs", "--to", tmp_path / "b.json", "--workspace", workspace)
    assert "notice: dark x fragile on toy is left out, since parts of it failed: broken" in done.stderr
    assert "fragile" not in (tmp_path / "b.json").read_text()


def test_a_page_shows_whole_and_reduced_runs_apart(workspace, tmp_path):
    attack(workspace, "suite,fgm-l2")
    attack(workspace, "suite,fgm-l2", "--without", "mixed")
    page = tmp_path / "page.html"
    done = bench("report", workspace / "runs", "--to", page, "--workspace", workspace)
    assert done.exit_code == 0, done.output
    html = page.read_text()
    assert "toy without mixed, side evade" in html and "suite (1 of 2)" in html
