"""`bench init`, and what is said in a folder that has cards and is no workspace."""

import pytest
from toy_runs import bench

from bench.cards.folders import is_workspace


def test_a_folder_becomes_a_workspace_with_a_readme(tmp_path):
    done = bench("init", tmp_path / "mine")
    assert done.exit_code == 0, done.output
    assert is_workspace(tmp_path / "mine")
    assert (tmp_path / "mine" / "README.md").read_text().startswith("# mine\n")


def test_what_lies_there_stays(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    assert bench("init", tmp_path).exit_code == 0
    assert (tmp_path / "README.md").read_text() == "mine"
    again = bench("init", tmp_path)
    assert again.exit_code == 2 and "is a workspace already" in again.stderr


def test_cards_without_a_marker_are_told_of_and_init_helps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "is not read" not in bench("list").stderr
    (tmp_path / "detectors").mkdir()
    (tmp_path / "detectors" / "mine.yaml").write_text("name: mine\nsummary: x\nmethod: mine:Mine\n")
    told = bench("list", "detectors").stderr
    assert "notice: detectors/mine.yaml is not read, since this folder has no robustood.toml; `bench init`" in told
    assert "is not read" not in bench("list", "--workspace", tmp_path).stderr
    assert bench("init").exit_code == 0
    assert "is not read" not in bench("list").stderr


@pytest.mark.parametrize("shape", ["16", "[16]"])
def test_a_track_of_1d_data_is_told_what_can_be_done(tmp_path, shape):
    card = tmp_path / "datasets" / "signals.yaml"
    card.parent.mkdir()
    part = "{source: npz, args: {file: a.npz}}"
    card.write_text(
        f"name: signals\nsummary: x\nshape: {shape}\nclasses: 2\ntrain: {part}\ncalibration: {part}\ntest: {part}\n"
        f"ood: {{other: {part}}}\n"
    )
    done = bench("validate", card)
    assert done.exit_code != 0
    assert "robustood takes images only; 1-D data" in done.output
