import csv
import io
import json
import shutil

import pytest
from rich.console import Console
from toy_runs import bench, make_workspace, run

from bench import load_results
from bench.cli.table import _PIPE_WIDTH, print_table, width_of
from bench.evaluation.store import Store
from bench.report.table import build_tables
from bench.seals import sealed_json, unsealed_json
from bench.soundness.checklist import CHECKS
from bench.soundness.files import write_verdicts
from bench.soundness.verdicts import Verdict, Verdicts


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    workspace = make_workspace(tmp_path_factory.mktemp("toy"))
    return run(workspace, "--detector", "dark,corner", "--threat", "pgd-l2,fgm-l2", "--eps", "0.2,3")


@pytest.fixture(scope="module")
def folder(ran, tmp_path_factory):
    return ran.stdout.splitlines()[-2].split("'")[1]


def test_the_table_is_the_one_that_the_run_printed(ran, folder):
    assert bench("table", folder).stdout.splitlines() == ran.stdout.splitlines()[:-2]


def test_csv_has_a_row_for_each_cell_and_set_with_every_digit(folder):
    rows = list(csv.DictReader(io.StringIO(bench("table", folder, "--format", "csv").stdout)))
    assert len(rows) == 2 * 5 * 4
    metas = {meta.key: meta for meta in Store(folder).metas()}
    assert all(float(r["auroc"]) == metas[r["key"]].sets[r["set"]].auroc for r in rows if r["set"] != "mean")


@pytest.mark.parametrize(
    ("name", "sign"), [("markdown", "| detector |"), ("latex", r"\toprule"), ("text", "detector ")]
)
def test_every_format_can_go_to_a_file(folder, tmp_path, name, sign):
    file = tmp_path / "table"
    done = bench("table", folder, "--format", name, "--to", file)
    assert (done.exit_code, done.output) == (0, "")
    assert sign in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["table", "report", "baseline"])
def test_a_store_or_a_file_that_is_given_as_out_is_refused_with_what_to_type(folder, tmp_path, command):
    done = bench(command, folder, "--out", tmp_path / "there")
    assert done.exit_code == 2 and not (tmp_path / "there").exists()
    assert f"`bench {command} STORE` reads one" in done.stderr and f"`bench {command} STORE --to FILE`" in done.stderr
    assert "--out  " not in bench(command, "--help").stdout  # as an option of its own


def test_only_the_chosen_detectors_and_threats_are_shown(folder):
    output = bench("table", folder, "--detector", "dark", "--threat", "fgm-l2").stdout
    assert "corner" not in output
    assert "pgd-l2" not in output
    assert "-- clean" in output


def test_the_full_view_shows_every_set(folder):
    output = bench("table", folder, "--full", "--detector", "dark", "--threat", "fgm-l2").stdout
    assert [line.split()[1] for line in output.splitlines() if line.startswith("dark ")] == [
        "bright",
        "mixed",
        "noise*",
    ] * 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--detector", "drak"], "no stored cell has the detector 'drak'; stored: corner, dark."),
        (["--threat", "fgsm"], "no stored cell has the threat 'fgsm'; stored: clean, fgm-l2, pgd-l2."),
        (["--track", "digits"], "no stored cell has the track 'digits'; stored: toy."),
        (["--to", "/proc/nowhere/table"], "cannot write '/proc/nowhere/table'"),
        (["--format", "html"], "html"),
    ],
)
def test_a_wrong_request_is_answered_by_a_sentence_and_2(folder, options, sentence):
    done = bench("table", folder, *options)
    assert done.exit_code == 2
    assert sentence in done.output


def test_a_folder_without_cells_is_answered_by_a_sentence_and_2(tmp_path):
    assert "holds no cells of this version" in bench("table", tmp_path).stderr
    absent = bench("table", tmp_path / "absent")
    assert (absent.exit_code, "is not a folder" in absent.stderr) == (2, True)


def test_markup_in_a_name_is_printed_as_it_is(folder):
    metas = [meta.model_copy(update={"detector": "[red]x[/red] :smile:"}) for meta in Store(folder).metas()]
    out = Console(file=io.StringIO(), force_terminal=False, width=200)
    for table in build_tables(metas):
        print_table(out, table)
    assert "[red]x[/red] :smile:" in out.file.getvalue()


def test_a_terminal_without_unicode_gets_plain_signs(folder):
    raw = io.BytesIO()
    out = Console(file=io.TextIOWrapper(raw, encoding="ascii"), width=200)
    for table in build_tables(Store(folder).metas()):
        print_table(out, table)
    out.file.flush()
    assert b"clean -> attacked [95 %]" in raw.getvalue()


def test_cells_of_an_older_version_are_named_and_run_again(tmp_path):
    workspace = make_workspace(tmp_path)
    run(workspace, "--detector", "dark", "--eps", "0.2")
    for path in (workspace / "runs").glob("cells/*/*/cell.json"):
        older = json.loads(path.read_text()) | {"format": 1}
        del older["sets"]["bright"]["fpr95"]  # whatever it lacked
        path.write_text(json.dumps(older))
    table = bench("table", workspace / "runs")
    assert table.exit_code == 2
    assert table.stderr.splitlines() == [
        "notice: cells of another version of bench are left where they are, and not shown: 2.",
        f"error: '{workspace / 'runs'}' holds no cells of this version of bench; `bench run --out "
        f"{workspace / 'runs'}` writes them there.",
    ]
    again = run(workspace, "--detector", "dark", "--eps", "0.2")
    assert again.exit_code == 0, again.stderr
    assert "2 computed, 0 from the store" in again.stdout
    assert bench("table", workspace / "runs").exit_code == 0


def test_control_characters_of_a_stored_cell_do_not_reach_the_terminal(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "runs")
    for path in copy.glob("cells/*/*/cell.json"):
        path.write_bytes(sealed_json({**unsealed_json(path.read_bytes()), "detector": "da\x1b[2Jrk\u202e"}))
    done = bench("table", copy)
    assert done.exit_code == 0
    assert "da\N{REPLACEMENT CHARACTER}[2Jrk" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()


def test_damaged_findings_do_not_lose_their_mark_without_a_word(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "runs")
    key = next(meta.key for meta in Store(copy).metas() if meta.threat == "pgd-l2")
    write_verdicts(copy, Verdicts(key=key, findings=(CHECKS["D4"].finding(Verdict.FAIL, "noise wins."),)))
    marked = bench("table", copy)
    assert "since D4 failed" in marked.stdout and marked.stderr == ""
    (file,) = copy.glob("verdicts/*/*.json")
    file.write_text(file.read_text().replace("FAIL", "PASS"))
    done = bench("table", copy)
    assert "D4" not in done.stdout and done.exit_code == 0
    (notice,) = done.stderr.splitlines()
    assert notice.startswith("notice: the findings of 1 cell in") and "it differs from its seal" in notice
    with pytest.warns(UserWarning, match="it differs from its seal"):
        load_results(copy)


def test_the_sides_stand_in_four_columns_in_the_terminal_in_markdown_and_in_a_file(folder, tmp_path):
    shown = bench("table", folder, "--sides").stdout
    assert "clean, ID attacked, OOD attacked, both attacked" in shown
    assert "| detector | attack |" in bench("table", folder, "--sides", "--format", "markdown").stdout
    assert bench("table", folder, "--sides", "--to", tmp_path / "sides").exit_code == 0
    assert "detector" in (tmp_path / "sides").read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--protocols"], "holds no cell of a published protocol; run one, such as protocol-atd."),
        (["--protocols", "--sides"], "give one of them"),
        (["--sides", "--format", "csv"], "as text or Markdown"),
        (["--sides", "--full"], "give one of them"),
    ],
)
def test_a_table_of_its_own_that_cannot_be_had_is_answered_by_a_sentence(folder, options, sentence):
    done = bench("table", folder, *options)
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())


def test_lines_are_as_wide_as_the_terminal_and_have_the_width_of_a_pipe_where_there_is_none(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    terminal, pipe = (Console(file=io.StringIO(), force_terminal=there, width=77) for there in (True, False))
    assert (width_of(terminal), width_of(pipe)) == (77, _PIPE_WIDTH)
    monkeypatch.setenv("COLUMNS", "60")
    assert width_of(pipe) == 77
