"""Sentences that are meant to be copied or searched for stay on one line, however narrow the terminal is."""

import pytest
import yaml
from test_cli_goldens import CLIMB
from toy_runs import bench, make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = make_workspace(tmp_path_factory.mktemp("narrow") / "a-folder-whose-name-takes-more-than-a-line-itself")
    (folder / "threat_models").mkdir()
    (folder / "threat_models/climb.yaml").write_text(yaml.safe_dump(CLIMB))
    return folder


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")


def lines(*arguments, code=0):
    done = bench(*arguments)
    assert done.exit_code == code, done.output
    return done.stdout.splitlines()


def has(found, *words):
    return any(all(word in line for word in words) for line in found)


def test_no_sentence_of_a_command_is_broken_in_a_narrow_terminal(workspace):
    here, out = ("--workspace", workspace), workspace / "runs"
    asked = (*here, "--track", "toy", "--detector", "dark", "--threat", "climb", "--eps", 2)
    assert has(lines("status", workspace), "0 cells are stored in", str(workspace))
    assert has(lines("plan", *asked, "--out", out), f"2 cells: 0 in '{out}', 2 to compute.")
    assert has(lines("plan", *asked, "--out", out), "At the full budget", "by 1 process on this machine", "GiB.")
    assert has(lines("run", *asked, "--out", out), f"2 cells in '{out}': 2 computed, 0 from the store.")
    assert has(lines("status", out), "run of process", "2 of 2 cells done.")
    assert has(lines("status", out), "2 cells are stored in", str(out))
    base = workspace / "base.json"
    assert has(lines("baseline", out, "--to", base, *here), f"2 cells are recorded in '{base}'.")
    assert has(lines("report", out, *here), f"the page is in '{out / 'report.html'}'.")
    assert has(lines("diagnose", *asked, "--out", out), "dark x climb l2 2 on toy, side evade: AUROC", "attacked")
    assert has(lines("diagnose", *asked, "--out", out), "extra runs on up to", "times the cell's gradients and scores")


def test_no_sentence_about_a_card_is_broken_in_a_narrow_terminal(workspace):
    here = ("--workspace", workspace)
    assert has(lines("list", "detectors", *here), "Named without a card: pytorch-ood:DETECTOR", "file:PATH")
    broken = workspace / "detectors/broken.yaml"
    broken.write_text("name: broken\nsummary: a toy\ntracks: {toy: {}}\n")
    assert has(lines("list", "detectors", *here), f"{broken}:1: field 'method' is missing; add it to the card.")
    found = lines("validate", *here, broken, workspace / "detectors/dark.yaml", code=2)
    assert has(found, f"error: {broken}:1: field 'method' is missing; add it to the card.")
    assert has(found, "imported, which ran them: toy_methods_")
