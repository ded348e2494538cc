"""`bench repro` on the toy workspace: runs, goes on, lists, writes its page, and refuses."""

import json
import shutil

import pytest
from toy_runs import bench, make_workspace

from bench.cli.repro import _Runner
from bench.repro.library import papers

ENTRY = {
    "name": "toy-table", "items": ["Table 1"], "title": "Dark and corner", "shows": "Two detectors.",
    "source": "Table 1",
    "small": {"about": "The toy.", "runs": [
        {"id": "clean", "detector": ["dark", "corner"], "track": "toy"},
        {"id": "l2", "detector": ["dark", "corner"], "threat": "pgd-l2", "eps": ["1/2"], "track": "toy",
         "params": {"steps": 2, "restarts": 1}},
    ]},
    "paper": {"missing": "A larger toy."},
    "rows": [{"name": "dark", "detector": "dark"}, {"name": "corner", "detector": "corner"}],
    "columns": [{"name": "clean", "run": "clean", "figure": "clean-auroc"},
                {"name": "attacked", "run": "l2", "eps": 0.5, "figure": "auroc"}],
    "published": {"dark": {"clean": 0.9}},
    "claims": [
        {"kind": "above", "figure": ["dark", "clean"], "value": 0.1, "says": "dark is of use"},
        {"kind": "below", "figure": ["dark", "clean"], "value": 0.01, "says": "dark is useless"},
    ],
}  # fmt: skip
MISSING = {
    "name": "toy-figure",
    "items": ["Figure 1"],
    "title": "A drawing",
    "shows": "Lines.",
    "small": {"missing": "A pen."},
    "paper": {"missing": "A pen."},
}


@pytest.fixture
def workspace(tmp_path):
    folder = make_workspace(tmp_path)
    put(folder, ENTRY)
    put(folder, MISSING)
    (folder / "benchmarks/papers/toy/paper.yaml").write_text("{title: Toys, authors: A, year: 2020}")
    return folder


def put(folder, entry):
    path = folder / "benchmarks/papers/toy" / f"{entry['name']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry))


def repro(folder, name, *more):
    options = ("--workspace", folder, "--out", folder / "runs", "--workers", 1, "--quiet")
    return bench("repro", name, *options, *more)


def test_an_entry_is_run_once_and_then_comes_from_the_store(workspace):
    first = repro(workspace, "toy-table")
    assert first.exit_code == 0, first.stderr
    assert "**Different**" in first.stdout
    assert "*holds*: dark is of use" in first.stdout and "*fails*: dark is useless" in first.stdout
    cells = {path: path.stat().st_mtime_ns for path in workspace.glob("runs/cells/*/*/cell.json")}
    assert len(cells) == 4
    again = repro(workspace, "toy-table")
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in workspace.glob("runs/cells/*/*/cell.json")} == cells


def test_a_paper_ends_with_its_page_and_the_list_knows_what_was_run(workspace):
    page = workspace / "page.md"
    assert repro(workspace, "toy", "--page", page).exit_code == 0
    text = page.read_text()
    assert "| toy | Table 1 | Dark and corner | different | 1 holds, 1 fails |" in text
    assert "| Figure 1 | A drawing: Lines. | A pen. |" in text
    listed = repro(workspace, "list").stdout
    row = next(line for line in listed.splitlines() if "toy-table" in line)
    assert "different" in row and "small" in row
    assert "gat-steps" in listed


def test_a_narrow_terminal_has_all_of_the_list(workspace, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    lines = repro(workspace, "list").stdout.splitlines()
    assert max(map(len, lines)) <= 70 and not any("…" in line for line in lines)
    place = next(number for number, line in enumerate(lines) if line.startswith("toy-figure"))
    assert [line.strip() for line in lines[place + 1 : place + 4]] == ["toy", "Figure 1", "A drawing"]


def test_the_page_is_written_anew_from_what_is_kept_and_nothing_is_run(workspace, monkeypatch):
    first, again = workspace / "first.md", workspace / "again.md"
    assert repro(workspace, "toy", "--page", first).exit_code == 0
    for cell in workspace.glob("runs/cells/*/*"):
        shutil.rmtree(cell)
    monkeypatch.setattr(_Runner, "run_all", None)
    put(workspace, {**ENTRY, "name": "toy-later"})
    done = repro(workspace, "page", "--page", again)
    assert done.exit_code == 0, done.stderr
    later = "| toy | Table 1 | Dark and corner | not run | - |"
    assert later in again.read_text() and later not in first.read_text()
    row = "| toy | Table 1 | Dark and corner | different | 1 holds, 1 fails |"
    assert row in again.read_text()
    assert "bench repro toy-later runs it" in again.read_text()


def test_a_page_of_a_store_that_is_not_there_is_refused(workspace):
    done = repro(workspace, "page", "--page", workspace / "page.md")
    assert done.exit_code == 2 and not (workspace / "page.md").exists()


def test_what_is_missing_is_said(workspace):
    done = repro(workspace, "toy-figure")
    assert done.exit_code == 0
    assert "A pen." in done.stdout
    assert "A larger toy." in repro(workspace, "toy-table", "--scale", "paper").stdout


def test_of_several_one_that_cannot_be_run_stops_no_other(workspace):
    run = {"id": "clean", "detector": ["nobody"], "track": "toy"}
    lost = {**ENTRY, "name": "toy-lost", "small": {"about": "The toy.", "runs": [run]}, "published": {}}
    lost |= {"columns": [{"name": "clean", "figure": "clean-auroc"}], "claims": [ENTRY["claims"][1]]}
    put(workspace, lost)
    alone = repro(workspace, "toy-lost")
    assert alone.exit_code == 2 and "nobody" in alone.stderr
    several = repro(workspace, "toy")
    assert several.exit_code == 0
    assert "notice: 'toy-lost' is not run: unknown detector 'nobody'" in several.stderr
    assert "**Different**" in several.stdout


def test_a_cell_that_fails_is_named_and_the_exit_code_says_so(workspace):
    failing = json.loads(json.dumps(ENTRY).replace('["dark", "corner"]', '["dark", "corner", "nan"]'))
    put(workspace, {**failing, "name": "toy-table"})
    done = repro(workspace, "toy-table")
    assert done.exit_code == 1
    assert "Not computed: nan x clean on toy" in done.stdout.replace("\\", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"claims": []}, "needs rows, columns and at least one claim"), ({"colour": 1}, "unknown field 'colour'")],
)
def test_a_bad_entry_gets_one_sentence(change, said, workspace):
    put(workspace, {**ENTRY, **change})
    done = repro(workspace, "toy-table")
    assert done.exit_code == 2
    assert said in done.stderr and len(done.stderr.strip().splitlines()) <= 2


def test_a_name_that_is_none_gets_the_nearest(workspace):
    done = repro(workspace, "toy-tabel")
    assert done.exit_code == 2
    assert "did you mean toy-table" in done.stderr


def test_all_ends_with_a_page_that_takes_the_place_of_its_former_self_alone(workspace, tmp_path, monkeypatch):
    from bench.cli import repro as module

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.repro.library.papers", lambda cards: [p for p in papers(cards) if p.name == "toy"])
    assert repro(workspace, "all").exit_code == 0
    assert "Dark and corner" in module._PAGE.read_text()
    assert repro(workspace, "all").exit_code == 0
    module._PAGE.write_text("mine")
    assert repro(workspace, "all").exit_code == 2
    assert module._PAGE.read_text() == "mine"
