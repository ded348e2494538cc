import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.latex import escape_latex, render_latex
from bench.report.markdown import escape_markdown, render_markdown
from bench.report.records import COLUMNS, render_csv
from bench.report.table import build_tables
from bench.report.text import render_text
from bench.soundness.verdicts import Finding, Verdict, Verdicts

HOSTILE = r"a|b_c&d%e$f#g{h}i~j^k\l<m>[n](o)*p`q"


def small(make_meta):
    return [make_meta(threat="clean", eps=None), make_meta(reachable=0.0)]


def test_markdown_reads_as_written_here(make_meta):
    lines = render_markdown(build_tables(small(make_meta))[0]).splitlines()
    assert lines[2:6] == [
        "| detector | threat | eps | mean AUROC | ceiling | letters | uniform\\* | FPR95 | gradients | queries "
        "| seconds |",
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: |",
        "| gat | clean | - | 0.950 \\[0.930, 0.970\\] | - | 0.800 | 0.990 | 0.300 | 0 | 0 | 3.2 |",
        "| gat | pgd-l2 | 1 (255 on the 0-255 scale) | 0.950 → 0.800 \\[0.760, 0.840\\] | 1.000 | 0.950 → 0.800 "
        "| 0.950 → 0.990 | 0.300 | 12.3k | 0 | 3.2 |",
    ]


def test_the_full_markdown_has_the_mean_s_own_figures_and_none_where_there_is_no_mean(make_meta):
    without = make_meta(threat="pgd-linf").model_copy(update={"mean": None})
    lines = render_markdown(build_tables([*small(make_meta), without])[0], full=True).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "| mean |" in line]
    assert [(row[1], row[5], row[9], row[10]) for row in rows] == [
        ("clean", "-", "0.300", "-"),
        ("pgd-l2", "1.000", "0.300", "-"),
        ("pgd-linf", "-", "-", "-"),
    ]


def test_latex_reads_as_written_here(make_meta):
    lines = render_latex(build_tables(small(make_meta))[0]).splitlines()
    start = lines.index(r"\toprule")
    assert lines[start - 1 :] == [
        r"\begin{tabular}{lllrrrrrrrr}",
        r"\toprule",
        r"detector & threat & eps & mean AUROC & ceiling & letters & uniform* & FPR95 & gradients & queries "
        r"& seconds \\",
        r"\midrule",
        r"gat & clean & - & 0.950 [0.930, 0.970] & - & 0.800 & 0.990 & 0.300 & 0 & 0 & 3.2 \\",
        r"\midrule",
        r"gat & pgd-l2 & 1 (255 on the 0-255 scale) & 0.950 $\to$ 0.800 [0.760, 0.840] & 1.000 & 0.950 $\to$ 0.800 & "
        r"0.950 $\to$ 0.990 & 0.300 & 12.3k & 0 & 3.2 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


@pytest.mark.parametrize("full", [False, True])
def test_a_hostile_name_adds_no_column_and_no_row_to_markdown(make_meta, full):
    plain = render_markdown(build_tables([make_meta("gat")])[0], full=full)
    nasty = render_markdown(build_tables([make_meta(HOSTILE + "\n| x |")])[0], full=full)
    assert [unescaped_pipes(line) for line in plain.splitlines()] == [
        unescaped_pipes(line) for line in nasty.splitlines()
    ]


def unescaped_pipes(line: str) -> int:
    return line.replace("\\\\", "").replace("\\|", "").count("|")


def test_latex_specials_are_commands():
    assert escape_latex("50 % of a_b & c\\d {x}") == r"50 \% of a\_b \& c\textbackslash{}d \{x\}"


@given(st.text(max_size=40))
def test_escaped_markdown_never_holds_a_bare_pipe(text):
    assert unescaped_pipes(escape_markdown(text)) == 0


def test_csv_has_a_row_for_each_cell_and_set_and_one_for_the_mean(make_meta):
    rows = list(csv.DictReader(io.StringIO(render_csv(small(make_meta)))))
    assert [(row["threat"], row["set"]) for row in rows] == [
        (threat, name) for threat in ("clean", "pgd-l2") for name in ("letters", "uniform", "mean")
    ]
    assert tuple(rows[0]) == COLUMNS


def test_csv_loses_no_digit_and_leaves_absent_figures_empty(make_meta, make_set):
    value = 0.1 + 0.2  # not representable in few digits
    rows = list(csv.DictReader(io.StringIO(render_csv([make_meta(sets={"letters": make_set(value)})]))))
    assert float(rows[0]["auroc"]) == value
    assert rows[0]["ceiling"] == ""


def test_csv_names_the_source_of_the_thresholds(make_meta):
    metas = [
        make_meta("a", thresholds={"calibration_tpr95": 0.5}),
        make_meta("b", thresholds={"train_tpr95": 0.5, "train_tpr95/0": 0.5}),
        make_meta("c", thresholds={"train_tpr78.6": 0.5}),
    ]
    rows = csv.DictReader(io.StringIO(render_csv(metas)))
    assert {(row["detector"], row["threshold_source"]) for row in rows} == {
        ("a", "calibration"),
        ("b", "train per_class"),
        ("c", "train at 78.6 %"),
    }


def test_csv_survives_quotes_commas_and_line_breaks(make_meta):
    name = 'a,"b"\nc'
    rows = list(csv.DictReader(io.StringIO(render_csv([make_meta(name)]))))
    assert {row["detector"] for row in rows} == {name}


def test_csv_says_of_each_cell_whether_checks_believe_it(make_meta):
    names = {"masked": Verdict.FAIL, "fine": Verdict.WARN, "idle": Verdict.SKIPPED, "unchecked": None}
    keys = {name: f"{number:064x}" for number, name in enumerate(names)}
    verdicts = {
        keys[name]: Verdicts(key=keys[name], findings=(Finding(check="D4", title="t", verdict=said, found="f."),))
        for name, said in names.items()
        if said is not None
    }
    metas = [make_meta(name, key=keys[name]) for name in names]
    rows = csv.DictReader(io.StringIO(render_csv(metas, verdicts)))
    assert {(row["detector"], row["sound"], row["failed_checks"]) for row in rows} == {
        ("masked", "no", "D4"),
        ("fine", "yes", ""),
        ("idle", "", ""),
        ("unchecked", "", ""),
    }


@pytest.mark.parametrize("render", [render_text, render_markdown, render_latex])
def test_no_word_of_a_cell_is_obeyed_by_a_terminal(make_meta, render):
    name = "ga\x1b[2Jt\u202e\u200b\x07"
    metas = [make_meta(name, threat, eps=eps) for threat, eps in (("clean", None), (f"pgd\n{name}", 1.0))]
    text = "".join(render(table) for table in build_tables(metas))
    assert text.count("\N{REPLACEMENT CHARACTER}") >= 8
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "\uff1d1", "\x1b[31mred"])
def test_a_strangers_name_is_no_formula_and_no_escape_in_csv(make_meta, name):
    (row, *_) = csv.DictReader(io.StringIO(render_csv([make_meta(name)])))
    assert not row["detector"].lstrip().startswith(("=", "+", "-", "@", "\uff1d"))
    assert row["detector"].isprintable()
    assert float(row["auroc"]) >= 0  # numbers stay numbers


def test_negative_numbers_in_csv_stay_numbers(make_meta):
    text = render_csv([make_meta("gat")])
    assert "'" not in text
