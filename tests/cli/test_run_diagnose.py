"""`bench run --diagnose` checks what was stored, and tables mark what failed."""

import pytest
from toy_runs import bench, make_workspace, run


@pytest.fixture
def workspace(tmp_path):
    return make_workspace(tmp_path)


def test_a_cell_that_fails_a_check_is_marked_in_this_table_and_in_later_ones(workspace):
    options = ["--detector", "corner", "--threat", "pgd-l2", "--eps", 2]  # one pixel: all attacked scores are equal
    result = run(workspace, *options, "--diagnose")
    assert result.exit_code == 0, result.output
    assert "FAIL D14, corner x pgd-l2" in result.stderr
    assert "!" in result.stdout
    later = bench("table", workspace / "runs")
    assert "D14 failed" in later.stdout


def test_an_attack_that_runs_alone_is_held_against_random_points(workspace):
    result = run(workspace, "--detector", "corner", "--threat", "pgd-l2", "--eps", 2, "--diagnose")
    written = "".join(path.read_text() for path in (workspace / "runs/verdicts").glob("*/*.json"))
    assert {"D1", "D2", "D3", "D4", "D15"} <= {f"D{number}" for number in range(1, 20) if f'"D{number}"' in written}
    assert " of 20 checks were made of each attack" in result.stderr


def test_without_the_option_nothing_is_checked(workspace):
    result = run(workspace, "--detector", "corner", "--threat", "pgd-l2", "--eps", 2)
    assert "D14" not in result.output
    assert not (workspace / "runs/verdicts").exists()


def test_cells_of_a_run_are_compared_with_each_other(workspace):
    result = run(workspace, "--detector", "dark", "--threat", "pgd-l2,noise-l2,fgm-l2", "--eps", 0.3, "--diagnose")
    assert result.exit_code == 0, result.output
    written = "".join(path.read_text() for path in (workspace / "runs/verdicts").glob("*/*.json"))
    assert {"D4", "D10"} <= {f"D{number}" for number in range(1, 20) if f'"D{number}"' in written}
