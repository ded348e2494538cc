"""`bench plan`: what it announces is what `bench run` with the same options then does."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_runs import bench, make_workspace

from bench.cards.catalog import Catalog
from bench.cards.threat import Side
from bench.cli import plan, run
from bench.cli.durations import duration
from bench.engines import forecast as forecasts
from bench.evaluation.spending import Evidence
from bench.evaluation.store import Store
from bench.threat_models.pgd import PGD


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make_workspace(tmp_path / "workspace")


def planned(workspace: Path, out: Path, *options: object) -> dict:
    result = bench("plan", *given(workspace, out, *options), "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def given(workspace: Path, out: Path, *options: object) -> tuple[object, ...]:
    return (
        "--workspace",
        workspace,
        "--track",
        "toy",
        "--out",
        out,
        "--workers",
        1,
        "--no-early-stop",
        "--no-evidence",
        *options,
    )


GRID = ("--detector", "dark,corner", "--threat", "clean,pgd-l2,square-l2", "--eps", 1, "--steps", 4, "--restarts", 2)


def test_a_run_computes_the_cells_and_spends_what_was_planned(workspace, tmp_path):
    out = tmp_path / "runs"
    said = planned(workspace, out, *GRID)
    assert bench("run", *given(workspace, out, *GRID)).exit_code == 0
    metas = {meta.key: meta for meta in Store(out).metas()}
    assert {cell["key"] for cell in said["to_compute"]} == set(metas)
    for cell in said["to_compute"]:
        meta = metas[cell["key"]]
        assert cell["gradients"] == meta.gradients
        if meta.threat == "clean":
            assert cell["queries"] == 20 + 20 + 15 + 15 + 10  # which the cell counts for no attack
        else:  # one query less an image where a detector has no classes to aim at
            aims = 40 if meta.threat == "pgd-l2" else 0
            assert cell["queries"] - aims == meta.queries
    assert said["gradients"] == 2 * 40 * 8


def test_nothing_is_stored_by_a_plan(workspace, tmp_path):
    planned(workspace, tmp_path / "runs", *GRID)
    assert not (tmp_path / "runs").exists()


def test_what_the_store_holds_is_not_planned_again(workspace, tmp_path):
    out = tmp_path / "runs"
    bench("run", *given(workspace, out, *GRID))
    said = planned(workspace, out, *GRID)
    assert (said["cells"], said["stored"], said["to_compute"], said["seconds"]) == (6, 6, [], 0)
    more = planned(workspace, out, *GRID, "--eps", 2)
    assert (more["cells"], more["stored"], len(more["to_compute"])) == (10, 6, 4)


def test_members_of_a_worst_case_are_planned_once_though_they_are_asked_for_too(workspace, tmp_path):
    options = ("--detector", "dark", "--eps", 1)
    suite = planned(workspace, tmp_path, *options, "--threat", "auto-l2")
    both = planned(workspace, tmp_path, *options, "--threat", "auto-l2,pgd-l2,noise-l2")
    names = [cell["threat"] for cell in suite["to_compute"]]
    assert {"auto-l2", "pgd-l2", "square-l2", "noise-l2", "clean"} <= set(names)
    assert sorted(names) == sorted(cell["threat"] for cell in both["to_compute"])
    assert suite["gradients"] == both["gradients"] > 0
    assert next(cell for cell in suite["to_compute"] if cell["threat"] == "auto-l2")["gradients"] == 0


def test_the_side_says_how_many_images_are_attacked(workspace, tmp_path):
    options = ("--detector", "dark", "--threat", "pgd-l2", "--eps", 1, "--steps", 3, "--restarts", 1)
    spent = {side: planned(workspace, tmp_path, *options, "--side", side)["gradients"] for side in ("evade", "alarm")}
    assert spent == {"evade": 40 * 3, "alarm": 20 * 3}
    assert planned(workspace, tmp_path, *options, "--side", "both")["gradients"] == 60 * 3


def test_what_a_threat_costs_is_asked_of_the_track_and_of_how_many_are_attacked(workspace, tmp_path, monkeypatch):
    cases = []
    cost = PGD.cost
    monkeypatch.setattr(PGD, "cost", lambda self, case: cases.append(case) or cost(self, case))
    planned(workspace, tmp_path, "--detector", "dark", "--threat", "pgd-l2", "--eps", 1)
    (case,) = set(cases)
    assert (case.side, case.classes, case.images, case.sources) == (Side.EVADE, 2, 40, 0)
    assert case.shape == tuple(Catalog(workspace).track("toy").shape)


def test_a_threat_that_does_not_say_what_it_costs_is_named(workspace, tmp_path):
    pgd = (Path(run.__file__).parents[2] / "threat_models" / "pgd-l2.yaml").read_text()
    module = "silent_threat_of_a_plan"
    (workspace / f"{module}.py").write_text(
        "from bench.threat_models.pgd import PGD\n\n"
        "class Silent(PGD):\n    def cost(self, case):\n        return None\n"
    )
    card = pgd.replace("name: pgd-l2", "name: silent").replace("bench.threat_models.pgd:PGD", f"{module}:Silent")
    (workspace / "threat_models").mkdir()
    (workspace / "threat_models" / "silent.yaml").write_text(card)
    options = given(workspace, tmp_path, "--detector", "dark", "--threat", "silent,noise-l2", "--eps", 1)
    result = bench("plan", *options)
    assert "unknown, and not counted, is what these threats cost: silent." in result.stderr
    assert "0+ ?" in result.stdout
    said = planned(workspace, tmp_path, "--detector", "dark", "--threat", "silent,noise-l2", "--eps", 1)
    assert said["unknown_threats"] == ["silent"]
    assert said["queries"] == 80 + 40 * 101


def test_a_detector_that_cannot_be_timed_is_named_and_the_others_are_timed(workspace, tmp_path):
    options = given(workspace, tmp_path, "--detector", "dark,interrupted", "--threat", "pgd-l2", "--eps", 1)
    (module,) = workspace.glob("toy_methods_*.py")
    text = (
        module.read_text().replace("if x.requires_grad:", "if len(x) > 16:").replace("KeyboardInterrupt", "ValueError")
    )
    module.write_text(text)
    result = bench("plan", *options)
    assert result.exit_code == 0
    assert "the time of detector 'interrupted' is not known: " in result.stderr
    assert "At the full budget:" in result.stdout


def test_a_shard_plans_its_own_cells(workspace, tmp_path):
    one, two = (planned(workspace, tmp_path, *GRID, "--shard", f"{n}/2") for n in (1, 2))
    assert one["cells"] + two["cells"] == planned(workspace, tmp_path, *GRID)["cells"]


def test_plan_has_the_options_of_run_but_those_that_compute_nothing():
    import inspect

    ours, theirs = (set(inspect.signature(module.command).parameters) for module in (plan, run))
    assert ours == theirs - {"quiet", "diagnose"} | {"as_json"}


def test_more_processes_share_the_time_and_one_cell_that_cannot_be_shared_takes_its_own(workspace, tmp_path):
    def cell(shared: bool, seconds: float) -> forecasts.CellCost:
        kind = type("Cell", (), {"can_be_shared": shared})
        return forecasts.CellCost(kind(), 1, 1, seconds)

    def seconds(*costs: forecasts.CellCost) -> float:
        return forecasts.Forecast(2, 0, costs, workers=2, loading=3.0, memory=0).seconds

    assert seconds(cell(True, 10), cell(True, 20)) == 3 + 15
    assert seconds(cell(True, 10), cell(False, 40)) == 3 + 40
    assert seconds() == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (42.4, "42 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_said_in_two_units_at_most(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("side", "ood", "audited"),
    [(Side.EVADE, 1000, 2 * 12), (Side.EVADE, 100, 2 * 7), (Side.EVADE, 30, 0), (Side.ALARM, 30, 7)],
    ids=["a ninth of a tenth", "the least", "too few to be worth it", "the other side"],
)
def test_the_images_that_are_audited_are_counted_as_a_cell_counts_them(side, ood, audited):
    asked = SimpleNamespace(ingredients=SimpleNamespace(evidence=Evidence(), side=side))
    images = SimpleNamespace(test=range(500), ood={"a": range(ood), "b": range(ood)})
    assert forecasts._audited(asked, images) == audited
    asked.ingredients.evidence = None
    assert forecasts._audited(asked, images) == 0


def test_where_audits_may_spare_the_budget_both_times_are_told():
    cost = forecasts.CellCost(SimpleNamespace(can_be_shared=True), 1, 1, 20.0, least=4.0)
    found = forecasts.Forecast(2, 0, (cost, replace(cost, least=None)), workers=2, loading=1.0, memory=0)
    assert (found.seconds, found.least) == (1 + 20.0, 1 + 12.0)


def test_the_longest_cell_is_told_since_a_killed_one_begins_anew(workspace, tmp_path):
    said = planned(workspace, tmp_path / "runs", *GRID)
    assert said["longest_seconds"] == max(cell["seconds"] for cell in said["to_compute"])
    words = " ".join(bench("plan", *given(workspace, tmp_path / "runs", *GRID)).output.split())
    found = re.search(r"The longest cell, (\w+) x (\S+)( l2 1)? on toy, takes about .+ of one process;", words)
    assert found and found[2] in ("pgd-l2", "square-l2"), words


def test_a_plan_says_in_words_how_many_cells_are_stored_and_how_many_are_to_compute(workspace, tmp_path):
    out = tmp_path / "runs"
    result = bench("plan", *given(workspace, out, *GRID))
    assert f"6 cells: 0 in '{out}', 6 to compute." in result.stdout.splitlines()
    assert "At the full budget: 640 gradients and " in result.stdout


@pytest.mark.parametrize(
    ("cells", "stored", "to_compute", "said"),
    [
        (1, 0, 1, "1 cells: 0 in 'runs', 1 to compute."),
        (1, 0, 2, "1 cells: 0 in 'runs', 2 to compute, among them 1 that others are made from."),
        (3, 2, 4, "3 cells: 2 in 'runs', 4 to compute, among them 3 that others are made from."),
        (2, 2, 0, "2 cells: 2 in 'runs', 0 to compute."),
    ],
)
def test_cells_that_nobody_asked_for_are_told_apart(cells, stored, to_compute, said, capsys):
    named = {"detector": SimpleNamespace(name="d"), "track": SimpleNamespace(name="t"), "label": "d x t"}
    planned = SimpleNamespace(can_be_shared=True, **named)
    costs = (forecasts.CellCost(planned, 1, 1, 2.0),) * to_compute
    found = forecasts.Forecast(cells, stored, costs, workers=1, loading=1.0, memory=0)
    plan._print(found, SimpleNamespace(out="runs", engine=None))
    assert said in capsys.readouterr().out.splitlines()
