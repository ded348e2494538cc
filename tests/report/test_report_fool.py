"""Tables of side `fool`, and the blocks that worst cases and paths add below a table."""

import csv
import io

from bench.cards.threat import Goal, Loss, Side
from bench.evaluation.results import BetweenMetrics, FoolAtEps, FoolMetrics
from bench.report.flat import flat_grid
from bench.report.markdown import render_markdown
from bench.report.records import render_csv
from bench.report.table import build_tables
from bench.report.text import render_text


def at(eps, **changes):
    figures = {
        "adversarial_accuracy": 0.25, "misclassified": 0.75, "undetected": 0.5, "detection_rate": 0.125, "auroc": 0.625,
        "se": 0.03, "median_norm": 1.375, "by_percentile": {},
    }  # fmt: skip
    return FoolAtEps(eps=eps, **{**figures, **changes})


def fooled(make_meta, *curve, detector="gat"):
    metrics = FoolMetrics(goal=Goal.ACCEPT, loss=Loss.JOINT, n=400, attacked=380, curve=curve)
    return make_meta(detector, "cw-l2", side=Side.FOOL, fool=metrics, queries=760)


def test_a_fool_table_has_a_row_for_each_radius_with_its_shares(make_meta):
    (table,) = build_tables([fooled(make_meta, at(0.5), at(None, undetected=0.875, by_percentile={"1": 0.375}))])
    text = render_text(table, width=240)
    lines = [line.split() for line in text.splitlines() if line.startswith("gat ")]
    assert [line[6] for line in lines] == ["0.950", "0.950"]  # 380 of 400 are right as they are
    assert lines[0][2:6] == ["and", "be", "accepted", "0.5"] and lines[1][5] == "any"
    assert "0.875 (0.375 at 1 %)" in text
    assert lines[0][-3:-1] == ["32", "2"]  # gradients and queries an image
    assert "side fool" in text and "FPR95" not in text


def test_every_column_of_a_fool_table_is_the_figure_that_its_title_says(make_meta):
    curve = at(0.5, by_percentile={"1": 0.375}, low=0.6, high=0.65)
    grid = flat_grid(build_tables([fooled(make_meta, curve)])[0])
    assert dict(zip(grid.header, grid.blocks[0][0], strict=True)) == {
        "detector": "gat", "threat": "cw-l2", "goal": "and be accepted", "eps": "0.5", "accuracy": "0.950",
        "under attack": "0.250", "fooled": "0.750", "undetected": "0.500 (0.375 at 1 %)", "detected": "0.125",
        "AUROC": "0.625 [0.600, 0.650]", "norm": "1.38", "grads": "32", "queries": "2", "seconds": "3.2",
    }  # fmt: skip


def test_in_a_narrow_terminal_every_panel_of_a_fool_table_says_of_which_attack_and_radius_it_is(make_meta):
    (table,) = build_tables([fooled(make_meta, at(0.5), at(2.0))])
    lines = [line.split() for line in render_text(table, width=75).splitlines()]
    heads = [line for line in lines if line[:1] == ["detector"]]
    assert len(heads) > 1 and all(line[:4] == ["detector", "threat", "goal", "eps"] for line in heads)
    rows = [line[:6] for line in lines if line[:1] == ["gat"]]
    assert rows == [["gat", "cw-l2", "and", "be", "accepted", eps] for _ in heads for eps in ("0.5", "2")]


def test_a_radius_at_which_nothing_is_misclassified_has_no_rate_among_them(make_meta):
    nothing = at(0.5, misclassified=0.0, undetected=0.0, detection_rate=None, auroc=None, se=None, median_norm=None)
    (table,) = build_tables([fooled(make_meta, nothing)])
    row = next(line for line in render_markdown(table).splitlines() if line.startswith("| gat |"))
    assert row.count("| - |") >= 1 and "None" not in row


def test_a_csv_holds_a_record_for_each_radius_of_a_fool_cell(make_meta):
    rows = list(csv.DictReader(io.StringIO(render_csv([fooled(make_meta, at(0.5), at(2.0))]))))
    found = [row for row in rows if row["set"] == "fooled"]
    assert [(float(row["eps"]), float(row["undetected"]), row["goal"]) for row in found] == [
        (0.5, 0.5, "misclassify-and-accept"),
        (2.0, 0.5, "misclassify-and-accept"),
    ]


def test_a_worst_case_shows_what_its_attacks_came_to_alone(make_meta):
    meta = make_meta("gat", "auto-l2", members={"pgd-l2": 0.75, "square-l2": 0.875})
    text = render_text(build_tables([meta, make_meta("msp")])[0], width=200)
    block = text[text.index("the attacks of each worst case") :]
    assert "pgd-l2" in block and "0.750" in block and "0.875" in block
    assert "msp" not in block


def test_paths_are_told_in_a_block_of_their_own(make_meta):
    between = BetweenMetrics(
        paths=50, alphas=(0.0, 0.4, 1.0), score=(1.0, 0.5, 1.0), accepted=(1.0, 0.625, 1.0),
        confidence_from=(0.9, 0.375, 0.1), confidence_to=(0.1, 0.25, 0.9), accepted_throughout=0.5,
        midpoint_auroc=0.8125, midpoint_se=0.02,
        midpoint_low=0.77, midpoint_high=0.85,
    )  # fmt: skip
    text = render_text(build_tables([make_meta("gat", "interpolation", side=Side.BETWEEN, between=between)])[0])
    block = text[text.index("paths between accepted") :]
    assert all(figure in block for figure in ("50", "0.500", "0.812 [0.770, 0.850]", "0.625", "0.375", "0.250"))


def test_paths_of_a_detector_without_a_classifier_have_no_probabilities(make_meta):
    between = BetweenMetrics(
        paths=50, alphas=(0.0, 0.5, 1.0), score=(1.0, 0.5, 1.0), accepted=(1.0, 0.625, 1.0), confidence_from=(),
        confidence_to=(), accepted_throughout=0.5, midpoint_auroc=0.8125, midpoint_se=0.02,
        midpoint_low=0.77, midpoint_high=0.85,
    )  # fmt: skip
    text = render_text(build_tables([make_meta("gat", "interpolation", side=Side.BETWEEN, between=between)])[0])
    row = next(line for line in text[text.index("paths between accepted") :].splitlines() if line.startswith("gat"))
    assert row.split()[-3:] == ["0.625", "-", "-"]
