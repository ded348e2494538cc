import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from toy_runs import bench, make_workspace, run

from bench.evaluation.store import Store


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def first(workspace):
    return run(workspace, "--detector", "dark,corner", "--threat", "pgd-l2", "--eps", "0.2,3")


def rows(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines()[:-1] if line.startswith(("dark ", "corner "))]


def test_a_run_prints_a_line_a_cell_and_a_ranked_table(first):
    assert first.exit_code == 0, first.output
    assert "[6/6] corner x pgd-l2 l2 3 on toy: AUROC" in first.stderr
    assert "toy, side evade" in first.stdout
    assert rows(first.stdout)[:4] == ["dark", "corner"] * 2  # at eps 3 both may be at 0
    assert sorted(rows(first.stdout)[4:]) == ["corner", "dark"]


def test_a_line_says_where_the_cells_are_and_how_many_were_computed(first, workspace):
    assert first.stdout.splitlines()[-2] == f"6 cells in '{workspace / 'runs'}': 6 computed, 0 from the store."


def test_the_last_line_says_what_the_table_comes_to(first):
    assert re.fullmatch(r"dark keeps \S+ of \S+ at L2 0.2; the next, corner, .*\.", first.stdout.splitlines()[-1])


def test_a_radius_that_reaches_id_images_is_named_with_radii_to_use_instead(first):
    assert "l2 eps 3 is too large" in first.stdout
    assert "try `--eps l2:" in first.stdout


def test_the_proposed_radii_reach_no_more_than_they_say(first, workspace):
    proposed = first.stdout.split("try `--eps ")[1].split("`")[0]
    again = run(workspace, "--detector", "dark", "--threat", "pgd-l2", "--eps", proposed)
    assert again.exit_code == 0
    assert "too large" not in again.stdout


def test_a_second_run_comes_from_the_store_with_the_same_table(first, workspace):
    again = run(workspace, "--detector", "dark,corner", "--threat", "pgd-l2", "--eps", "0.2,3")
    assert again.stderr == ""
    assert again.stdout.splitlines()[:-2] == first.stdout.splitlines()[:-2]
    assert "0 computed, 6 from the store" in again.stdout


def test_a_run_that_is_served_from_the_store_imports_no_torch(first, workspace):
    options = ["--detector", "dark,corner", "--eps", "0.2,3", "--track", "toy", "--steps", "2", "--restarts", "1"]
    places = ["--workspace", str(workspace), "--out", str(workspace / "runs")]
    script = (
        "import sys\nfrom bench.cli.app import app\n"
        "app(standalone_mode=False)\nassert not {'torch', 'pandas', 'pyarrow'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "run", *options, *places], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "6 from the store" in done.stdout


def test_without_a_threat_it_is_pgd_l2_beside_the_clean_scores(workspace):
    done = run(workspace, "--detector", "dark", "--limit", "4", "--quiet")
    assert {meta.threat for meta in Store(workspace / "runs").metas() if meta.limit == 4} == {"clean", "pgd-l2"}
    assert done.stderr == ""


def test_a_failed_cell_stops_no_other_and_ends_with_1(tmp_path):
    done = run(make_workspace(tmp_path), "--detector", "nan,dark", "--eps", "0.2")
    assert done.exit_code == 1
    assert done.stderr.count("a score that is not finite") == 1
    assert "2 cells failed for this reason" in done.stderr
    assert "2 computed, 0 from the store, 2 failed" in done.stdout
    assert rows(done.stdout) == ["dark", "dark"]


def test_an_interruption_keeps_the_cells_and_ends_with_130(tmp_path):
    workspace = make_workspace(tmp_path)
    done = run(workspace, "--detector", "dark,interrupted", "--eps", "0.2")
    assert done.exit_code == 130
    assert "cells that were finished are kept" in done.stderr
    kept = {(meta.detector, meta.threat) for meta in Store(workspace / "runs").metas()}
    assert kept == {("dark", "clean"), ("dark", "pgd-l2")}


def test_a_damaged_cell_is_named_and_run_again(tmp_path):
    workspace = make_workspace(tmp_path)
    options = ("--detector", "dark", "--eps", "0.2")
    run(workspace, *options)
    next((workspace / "runs").glob("cells/*/*/samples.parquet")).write_bytes(b"cut")
    done = run(workspace, *options)
    assert done.exit_code == 0
    assert "notice: a damaged cell" in done.stderr
    assert "1 computed, 1 from the store" in done.stdout


def test_a_card_in_place_of_a_built_in_one_is_named(tmp_path):
    workspace = make_workspace(tmp_path)
    (workspace / "threat_models").mkdir()
    (workspace / "threat_models" / "fgm-l2.yaml").write_text(
        "{name: fgm-l2, summary: mine, method: 'bench.threat_models.fgm:FGM', norm: l2, eps: [1], knowledge: gradients}"
    )
    assert "notice: threat 'fgm-l2' is the workspace's own card" in run(workspace, "--detector", "dark").stderr


def test_the_other_side_has_a_table_that_says_so(workspace):
    done = run(workspace, "--detector", "dark", "--eps", "0.2", "--side", "alarm")
    assert "toy, side alarm: the ID images are attacked" in done.stdout


def test_a_parameter_that_a_threat_lacks_is_noticed(workspace):
    done = run(workspace, "--detector", "dark", "--threat", "pgd-l2,noise-l2", "--eps", "0.2")
    assert "notice: threat 'noise-l2' has no parameter 'steps'; it runs as its card says." in done.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--detector", "darrk"], "unknown detector 'darrk': did you mean dark?"),
        (["--detector", "dark", "--threat", "pgd"], "unknown threat 'pgd'"),
        (["--detector", "dark", "--track", "toys"], "unknown track 'toys': did you mean toy?"),
        (["--detector", "dark", "--eps", "-1"], "eps '-1' holds '-1'"),
        (["--detector", "dark", "--eps", "nan"], "eps 'nan' holds 'nan'"),
        (["--detector", "dark", "--eps", "1,,2"], "eps '1,,2' has an empty entry"),
        (["--detector", "dark", "--eps", "linf:0.1"], "no chosen threat has that norm"),
        (["--detector", "dark", "--threat", "pgd-l2,pgd-linf", "--eps", "1"], "without a norm"),
        (["--detector", "dark", "--limit", "0"], "--limit is 0; allowed is greater than or equal to 2."),
        (["--detector", "dark", "--seed", "-1"], "--seed is -1"),
        (["--detector", "dark", "--steps", "0"], "--steps is 0"),
        (["--detector", "dark", "--step-size", "inf"], "--step-size is inf"),
        (["--detector", "dark", "--device", "gpu"], "--device is gpu; allowed is auto, cpu, mps, cuda or cuda:NUMBER."),
        (["--detector", "dark", "--device", "cuda:97", "--seed", "97"], "device 'cuda:97' is not available"),
        (["--workspace", "/nowhere-at-all", "--detector", "dark"], "workspace '/nowhere-at-all' is not a folder"),
        ([], "no detector is named"),
    ],
)
def test_a_wrong_request_is_answered_by_one_sentence_and_2(workspace, options, sentence):
    done = run(workspace, *options)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_missing_weights_file_ends_with_2(tmp_path):
    workspace = make_workspace(tmp_path)
    card = workspace / "detectors" / "dark.yaml"
    card.write_text(card.read_text().replace("{toy: {}}", "{toy: {weights: [{file: none.safetensors}]}}"))
    done = run(workspace, "--detector", "dark", "--eps", "0.2")
    assert done.exit_code == 2
    assert "none.safetensors" in done.stderr


def test_a_folder_that_cannot_be_written_ends_with_2(tmp_path):
    workspace = make_workspace(tmp_path)
    (workspace / "runs").write_text("a file is in the way")
    done = run(workspace, "--detector", "dark", "--eps", "0.2")
    assert done.exit_code == 2
    assert "a file is in the way of a folder" in done.stderr


def test_help_ends_in_examples():
    output = bench("run", "--help").output
    assert "   bench run --detector gat --threat pgd-l2 --eps 10" in output


def test_radii_are_proposed_for_a_source_that_only_the_workspace_has(tmp_path, monkeypatch):
    workspace = make_workspace(tmp_path)
    options = ("--detector", "dark", "--eps", "3")
    first = run(workspace, *options)
    (workspace / "runs" / "radii.json").unlink()
    for name in [name for name in sys.modules if name.startswith("toy_methods_")]:
        monkeypatch.delitem(sys.modules, name)  # a run that is served from the store imports no method
    again = run(workspace, *options)
    assert again.exit_code == 0, again.stderr
    assert again.stdout.splitlines()[:-2] == first.stdout.splitlines()[:-2]


@pytest.fixture
def uneven(tmp_path):
    """A workspace whose detectors cannot all be run: one has no such track, one no weights, one no usable card."""
    workspace = make_workspace(tmp_path)
    cards = workspace / "detectors"
    dark = (cards / "dark.yaml").read_text()
    for name, change in {
        "elsewhere": ("{toy: {}}", "{other: {}}"),
        "weightless": ("{toy: {}}", "{toy: {weights: [{file: none.safetensors}]}}"),
        "broken": ("summary: a toy", "summary: [a toy"),
    }.items():
        (cards / f"{name}.yaml").write_text(dark.replace("name: dark", f"name: {name}").replace(*change))
    for name in ("nan", "interrupted"):
        (cards / f"{name}.yaml").unlink()
    return workspace


def test_all_leaves_out_what_cannot_be_run_with_a_notice(uneven):
    done = run(uneven, "--detector", "all", "--eps", "0.2", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert sorted(rows(done.stdout)) == ["corner", "corner", "dark", "dark"]
    assert done.stderr.count("notice: left out of track 'toy', for which they have no settings: ") == 1
    assert "elsewhere" in done.stderr
    assert "notice: detector 'weightless' is left out: weights 'none.safetensors'" in done.stderr
    assert "notice: detector 'broken' is left out: " in done.stderr


@pytest.mark.parametrize("name", ["elsewhere", "weightless", "broken"])
def test_a_detector_that_is_named_must_be_run_beside_all_too(uneven, name):
    done = run(uneven, "--detector", f"all,{name}", "--eps", "0.2", "--quiet")
    assert done.exit_code == 2
    assert name in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_a_wildcard_that_leaves_nothing_to_run_says_so(uneven):
    done = run(uneven, "--detector", "else*,weight*", "--quiet")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("error: none of the detectors asked for can be run on toy; ")
    assert "none.safetensors" in done.stderr


def without_seconds(output: str) -> list[str]:
    """The lines of the tables, without their last column; the last line names the folder."""
    return [re.sub(r" +[0-9.]+$", "", line) for line in output.splitlines()[:-2]]


def test_two_processes_print_the_same_table_as_one(tmp_path, first):
    there = make_workspace(tmp_path)
    asked = ("--detector", "dark,corner", "--threat", "pgd-l2", "--eps", "0.2,3", "--workers", "2")
    done = run(there, *asked)
    assert done.exit_code == 0, done.output
    assert without_seconds(done.stdout) == without_seconds(first.stdout)
    assert "6 computed, 0 from the store" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts by signal")
def test_an_interruption_of_two_processes_ends_with_130_and_without_a_traceback(tmp_path):
    there = make_workspace(tmp_path)
    begin = (  # a shell's background jobs ignore interruptions, and so would what they start
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from bench.__main__ import main\nmain()"
    )
    command = [sys.executable, "-c", begin, "run", "--workspace", there, "--out", there / "runs", "--track", "toy"]
    command += ["--detector", "dark", "--threat", "pgd-l2", "--eps", "0.2", "--steps", "100000", "--workers", "2"]
    started = subprocess.Popen(
        command, cwd=there, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while not list((there / "runs").glob("cells/*/*")) and started.poll() is None:
            time.sleep(0.1)
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does it, to all processes of the command
        _, said = started.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted" in said


def test_failures_are_the_same_on_two_processes(tmp_path):
    done = run(
        make_workspace(tmp_path), "--detector", "nan,dark", "--threat", "pgd-l2", "--eps", "0.2", "--workers", "2"
    )
    assert done.exit_code == 1
    assert "not finite" in done.stderr
    assert "2 computed, 0 from the store, 2 failed" in done.stdout


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5"])
def test_a_wrong_number_of_processes_is_refused(workspace, monkeypatch, given):
    done = run(workspace, "--detector", "dark", "--limit", "7", "--workers", given)
    assert done.exit_code == 2
    monkeypatch.setenv("ROBUSTOOD_WORKERS", given)
    done = run(workspace, "--detector", "dark", "--limit", "7")
    assert done.exit_code == 2
    assert f"ROBUSTOOD_WORKERS is '{given}'" in done.stderr
