import io
from dataclasses import replace

import pytest
from rich.console import Console
from toy_runs import make_workspace, run

from bench.cards.catalog import Catalog
from bench.cli import progress as cli_progress
from bench.cli.progress import RunProgress, expected_cost
from bench.errors import CellError
from bench.evaluation.engine import CellFailure
from bench.evaluation.plan import plan


@pytest.fixture
def cells(tmp_path):
    return plan(Catalog(make_workspace(tmp_path)), ["dark"], ["pgd-l2", "fgm-l2"], "1", ["toy"])


def test_a_terminal_sees_the_cell_at_hand_the_count_and_the_auroc_so_far(cells):
    out = Console(file=io.StringIO(), force_terminal=True, width=200)
    with RunProgress(out, cells) as progress:
        progress.watch(cells[1], 0.5, 0.625)
        progress._bar.refresh()
    shown = out.file.getvalue()
    assert "dark x pgd-l2 l2 1 on toy" in shown
    assert "0/3 cells" in shown
    assert "AUROC 0.625" in shown


def test_a_name_that_looks_like_markup_is_shown_as_it_is(cells):
    out = Console(file=io.StringIO(), force_terminal=True, width=200)
    named = replace(cells[1], detector=cells[1].detector.model_copy(update={"name": "[bold]dark[/bold]"}))
    with RunProgress(out, cells) as progress:
        progress.watch(named, 0.5, None)
        progress._bar.refresh()
    assert "[bold]dark[/bold] x pgd-l2" in out.file.getvalue()


def test_elsewhere_a_failed_cell_is_a_line(cells, capsys):
    with RunProgress(Console(file=io.StringIO()), cells) as progress:
        progress.watch(cells[0], 0.5, None)
        progress.finished(CellFailure(cells[0], CellError("no.")))
    assert capsys.readouterr().err == "[1/3] dark x clean on toy: failed\n"


def test_a_terminal_sees_the_fit_that_a_cell_begins_with_and_then_the_cell(cells):
    out = Console(file=io.StringIO(), force_terminal=True, width=200)
    with RunProgress(out, cells) as progress:
        progress.watch(cells[1], 0.0, None)
        progress.fitting(cells[1], 1500, 50_000, "features")
        progress._bar.refresh()
        assert "fit of dark on toy" in out.file.getvalue() and "features: 1,500 of 50,000" in out.file.getvalue()
        out.file.truncate(0)
        progress.watch(cells[1], 0.1, None)
        progress._bar.refresh()
    assert "dark x pgd-l2" in out.file.getvalue() and "fit of" not in out.file.getvalue()


def test_elsewhere_a_fit_has_a_line_where_nothing_was_said_for_long(cells, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(cli_progress.time, "monotonic", lambda: now[0])
    with RunProgress(Console(file=io.StringIO()), cells) as progress:
        for done, seconds in ((100, 1.0), (200, 10.0), (300, 19.0), (400, 21.0)):
            now[0] = seconds
            progress.fitting(cells[1], done, 1000, "features")
    said = capsys.readouterr().err.splitlines()
    assert said == ["fit of dark on toy: features, 200 of 1,000", "fit of dark on toy: features, 400 of 1,000"]


def test_quiet_says_nothing_even_on_a_terminal(cells, capsys):
    out = Console(file=io.StringIO(), force_terminal=True)
    with RunProgress(out, cells, quiet=True) as progress:
        progress.fitting(cells[0], 1, 2, "features")
        progress.finished(CellFailure(cells[0], CellError("no.")))
    assert (out.file.getvalue(), capsys.readouterr().err) == ("", "")


def test_long_attacks_weigh_more_in_the_time_that_is_left(cells):
    clean, pgd, fgm = cells
    assert expected_cost(clean) <= expected_cost(fgm) < expected_cost(pgd)
    longer = replace(pgd, params={**pgd.params, "steps": 2 * pgd.params["steps"]})
    assert expected_cost(longer) - 1 == pytest.approx(2 * (expected_cost(pgd) - 1))


def test_on_a_terminal_the_bar_is_no_part_of_the_output_that_can_be_piped(tmp_path, monkeypatch):
    workspace = make_workspace(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = run(workspace, "--detector", "dark", "--threat", "pgd-l2", "--eps", "1")
    assert done.exit_code == 0, done.output
    assert "/2 cells" in done.stderr and "/2 cells" not in done.stdout
    assert "toy, side evade" in done.stdout and "toy, side evade" not in done.stderr


class Bar:
    """What a bar on a terminal was told, in place of one that is drawn."""

    def __init__(self):
        self.told = []

    def update(self, task, **fields):
        self.told.append(fields)

    def start(self):
        self.told.append("started")

    def stop(self):
        self.told.append("stopped")


def test_a_bar_is_told_the_share_that_is_done_of_all_cells_by_what_they_cost(cells):
    clean, pgd, fgm = cells
    costs = [expected_cost(cell) for cell in cells]
    progress = RunProgress(Console(file=io.StringIO(), force_terminal=True, width=200), cells)
    assert progress._bar.tasks[0].total == sum(costs) and progress._bar.tasks[0].fields["cells"] == "0/3"
    bar = progress._bar = Bar()
    with progress:
        progress.finished(CellFailure(clean, CellError("no.")))
        progress.watch(pgd, 0.5, 0.75)
        progress.watch(pgd, 0.25, None)  # an attack that begins another restart goes no step back
        progress.watch(fgm, 0.5, 0.5)
        progress.finished(CellFailure(pgd, CellError("no.")))
        progress.watch(fgm, 1.0, 0.5)
    half = costs[0] + 0.5 * costs[1]
    both = "dark x fgm-l2 l2 1 on toy"
    assert bar.told == [
        "started",
        {"completed": costs[0], "cells": "1/3", "figure": ""},
        {"description": pgd.label, "completed": half, "figure": "AUROC 0.750"},
        {"description": pgd.label, "completed": half, "figure": ""},
        {"description": f"{both}, and 1 more", "completed": half + 0.5 * costs[2], "figure": "AUROC 0.500"},
        {"completed": costs[0] + costs[1], "cells": "2/3", "figure": ""},
        {"description": both, "completed": sum(costs), "figure": "AUROC 0.500"},
        "stopped",
    ]


def test_there_is_no_bar_where_nothing_is_to_compute_nothing_is_to_be_said_or_nobody_looks(cells):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=200)
    assert RunProgress(terminal, [])._bar is None
    assert RunProgress(terminal, cells, quiet=True)._bar is None
    assert RunProgress(Console(file=io.StringIO()), cells)._bar is None


def test_a_cell_costs_a_score_and_one_for_each_step_of_each_restart_and_each_point(cells):
    clean = cells[0]
    assert [expected_cost(cell) for cell in cells] == [2.0, 501.0, 2.0]
    assert expected_cost(replace(clean, params={"points": 7})) == 9.0
    assert expected_cost(replace(clean, params={"steps": 4})) == 5.0
    assert expected_cost(replace(clean, params={"restarts": "many", "steps": 3})) == 4.0
