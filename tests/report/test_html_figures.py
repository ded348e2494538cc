"""Figures show the cells' own figures, whatever the names in them are."""

from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from html_cells import EACH, make_cell

from bench.cards.threat import Goal, Loss, Side
from bench.evaluation.results import BetweenMetrics, FoolAtEps, FoolMetrics
from bench.report.html.convergence import Convergence, gains_of
from bench.report.html.curves import auroc_curves, curves_of
from bench.report.html.drawing import _MARKS, Drawings, stem, style_of
from bench.report.html.scores import histogram
from bench.report.table import build_tables


def lines_of(drawing):
    return [line.get_xydata().tolist() for line in drawing.figure.axes[0].lines if len(line.get_xdata()) > 1]


def labels_of(drawing):
    return [text.get_text() for text in drawing.figure.legends[0].get_texts()]


@pytest.fixture
def sweep(make_meta, make_set):
    aurocs = {2.0: 0.0, 0.5: 0.9, 1.0: 0.7}
    return [make_meta("gat", eps=eps, sets={"letters": make_set(auroc)}) for eps, auroc in aurocs.items()]


def test_a_curve_begins_at_the_mean_of_the_sets_that_count_alone(make_meta, make_set):
    sets = {"letters": make_set(0.8, clean=0.9), "uniform": make_set(0.99, clean=0.5, counts=False)}
    axes = auroc_curves(build_tables([make_meta(eps=1.0, sets=sets)])[0])[0].figure.axes[0]
    assert axes.lines[0].get_ydata()[0] == pytest.approx(0.9)
    without = {name: m.model_copy(update={"counts": False}) for name, m in sets.items()}
    axes = auroc_curves(build_tables([make_meta(eps=1.0, sets=without)])[0])[0].figure.axes[0]
    assert axes.lines[0].get_ydata()[0] == pytest.approx(0.7)


def test_a_curve_begins_at_the_clean_auroc_and_goes_through_every_radius(sweep):
    (drawing,) = auroc_curves(build_tables(sweep)[0])
    assert lines_of(drawing) == [[[0.0, 0.95], [0.5, 0.9], [1.0, 0.7], [2.0, 0.0]]]


def test_its_band_is_the_interval_of_each_mean(sweep):
    (drawing,) = auroc_curves(build_tables(sweep)[0])
    corners = drawing.figure.axes[0].collections[0].get_paths()[0].vertices
    means = {meta.eps: meta.mean for meta in sweep}
    for eps, mean in means.items():
        at = corners[corners[:, 0] == eps][:, 1]
        assert (at.min(), at.max()) == (mean.low, mean.high)
    assert means[2.0].high > 0  # where the standard error vanishes


def test_each_threat_has_a_panel_and_each_detector_a_line(make_meta):
    metas = [make_meta(d, t, eps=e) for d in ("gat", "msp") for t in ("pgd-l2", "fgm-l2") for e in (0.5, 1.0)]
    drawings = auroc_curves(build_tables(metas)[0])
    assert [drawing.name for drawing in drawings] == ["auroc-digits-evade-l2-fgm-l2", "auroc-digits-evade-l2-pgd-l2"]
    assert [labels_of(drawing) for drawing in drawings] == [["gat", "msp"]] * 2


def test_a_radius_that_proves_nothing_shows_its_ceiling(make_meta):
    plain = auroc_curves(build_tables([make_meta(eps=1.0, reachable=0.0)])[0])
    reached = auroc_curves(build_tables([make_meta(eps=10.0, reachable=0.7)])[0])
    assert (labels_of(plain[0]), labels_of(reached[0])) == (["gat"], ["gat", "no detector can exceed"])


def test_a_cell_that_is_not_to_be_believed_has_an_open_mark(sweep):
    tables = build_tables(sweep, {sweep[1].key: ("D4",)})
    axes = auroc_curves(tables[0])[0].figure.axes[0]
    (mark,) = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert mark.get_xydata().tolist() == [[0.5, 0.9]]


def fool_at(eps, accuracy, undetected, **other):
    return FoolAtEps(
        eps=eps, adversarial_accuracy=accuracy, misclassified=1 - accuracy, undetected=undetected, detection_rate=None,
        auroc=None, se=None, median_norm=None, **other,
    )  # fmt: skip


def test_shares_of_fooled_images_begin_at_the_clean_accuracy_and_leave_no_radius_out(make_meta):
    curve = (fool_at(0.5, 0.6, 0.1, by_percentile={"1": 0.05}), fool_at(2.0, 0.2, 0.4), fool_at(None, 0.0, 0.9))
    fool = FoolMetrics(goal=Goal.ACCEPT, loss=Loss.JOINT, n=10, attacked=8, curve=curve)
    accuracy, undetected = curves_of(build_tables([make_meta(side=Side.FOOL, fool=fool)])[0])
    assert lines_of(accuracy) == [[[0.0, 0.8], [0.5, 0.6], [2.0, 0.2]]]
    assert lines_of(undetected) == [[[0.0, 0.0], [0.5, 0.1], [2.0, 0.4]], [[0.0, 0.0], [0.5, 0.05]]]
    assert labels_of(undetected) == ["gat", "gat, class thresholds at 1 %"]


def between(**changes):
    fields = {
        "paths": 9, "alphas": (0.0, 0.5, 1.0), "score": (4.0, 1.0, 5.0), "accepted": (1.0, 0.5, 1.0),
        "confidence_from": (0.9, 0.4, 0.1), "confidence_to": (0.1, 0.3, 0.9), "accepted_throughout": 0.5,
        "midpoint_auroc": 0.8, "midpoint_se": 0.02,
    }  # fmt: skip
    return BetweenMetrics(**{**fields, **changes})


def test_paths_are_shown_by_acceptance_by_score_in_iqr_and_by_confidence(make_meta):
    meta = make_meta(threat="interpolation", side=Side.BETWEEN, between=between(), iqr=2.0)
    accepted, score, sure = curves_of(build_tables([meta])[0])
    assert lines_of(accepted) == [[[0.0, 1.0], [0.5, 0.5], [1.0, 1.0]]]
    assert lines_of(score) == [[[0.0, 0.0], [0.5, -1.5], [1.0, 0.5]]]
    assert dict(zip(labels_of(sure), lines_of(sure), strict=True)) == {
        "gat, of the start": [[0.0, 0.9], [0.5, 0.4], [1.0, 0.1]],
        "gat, of the end": [[0.0, 0.1], [0.5, 0.3], [1.0, 0.9]],
    }


def test_every_radius_of_a_curve_has_a_visible_mark_and_lines_differ_by_colour_mark_or_dashes(sweep, make_meta):
    lines = auroc_curves(build_tables([*sweep, make_meta("msp", eps=1.0)])[0])[0].figure.axes[0].lines
    assert all(line.get_markersize() >= 3 and line.get_linewidth() >= 1 and line.get_markevery() == 1 for line in lines)
    styles = {tuple(style_of(number)[kind] for kind in ("color", "marker", "linestyle")) for number in range(32)}
    assert len(styles) == 32
    assert len({style_of(number)["color"] for number in range(8)}) == 8


def test_of_a_line_of_many_points_about_a_dozen_are_marked():
    assert [style_of(0, points)["markevery"] for points in (1, 11, 1000)] == [1, 1, 1000 // _MARKS]


def test_the_way_begins_at_the_left_edge_and_shares_go_from_0_to_1(make_meta):
    meta = make_meta(threat="interpolation", side=Side.BETWEEN, between=between())
    accepted, score, sure = (drawing.figure.axes[0] for drawing in curves_of(build_tables([meta])[0]))
    assert [axes.get_xlim()[0] for axes in (accepted, score, sure)] == [0.0] * 3
    assert accepted.get_ylim() == sure.get_ylim() == (-0.02, 1.02) != score.get_ylim()
    assert [axes.get_ylabel() for axes in (accepted, score, sure)] == ["accepted", "score, in IQR", "probability"]
    assert {axes.get_xlabel() for axes in (accepted, score, sure)} == {"share of the way"}


def test_paths_of_a_detector_without_a_classifier_have_no_confidence(make_meta):
    found = between(confidence_from=(), confidence_to=())
    meta = make_meta(threat="interpolation", side=Side.BETWEEN, between=found)
    assert [drawing.title for drawing in curves_of(build_tables([meta])[0])] == [
        "paths: share accepted",
        "paths: score",
    ]


def test_a_histogram_shows_each_group_as_shares_of_itself(make_meta):
    cell = make_cell(make_meta(thresholds={"calibration_tpr95": 1.5}))
    drawing = histogram(cell)
    assert labels_of(drawing) == ["clean ID", "clean OOD", "attacked OOD", "threshold that accepts 95 %"]
    groups = drawing.figure.axes[0].patches[::2]  # each is drawn twice: its area and its edge
    assert [patch.get_data().values.sum() for patch in groups] == pytest.approx([1.0] * 3)
    attacked = cell.samples[(cell.samples["set"] == "letters")]["score"].to_numpy()  # uniform does not count
    edges, counts = groups[2].get_data().edges, np.zeros(len(groups[2].get_data().values))
    for score in attacked:
        at = sum(1 for edge in edges[1:-1] if min(max(score, edges[0]), edges[-1]) >= edge)
        counts[at] += 1 / EACH
    assert groups[2].get_data().values == pytest.approx(counts)


def test_the_lowest_and_the_highest_score_lie_in_the_outermost_bins(make_meta):
    """Of 24 scores 0.5 per cent at an end is less than one, so the edges lie inside the outermost two."""
    cell = make_cell(make_meta(), attacked=())
    of_id = cell.samples["set"] == "test"
    cell.samples.loc[of_id, "clean_score"] = np.float32([-9.0, 0.0, 0.0, 0.0, 0.0, 9.0])
    shares = histogram(cell).figure.axes[0].patches[0].get_data().values
    assert (shares[0], shares[-1]) == pytest.approx((1 / EACH, 1 / EACH))


def test_scores_that_are_not_finite_are_left_out_of_histograms(make_meta):
    cell = make_cell(make_meta())
    cell.samples["score"] = np.inf
    assert labels_of(histogram(cell)) == ["clean ID", "clean OOD"]
    cell.samples["clean_score"] = np.nan
    assert histogram(cell) is None


def test_one_score_for_all_images_is_a_histogram_of_one_bar(make_meta):
    cell = make_cell(make_meta())
    cell.samples[["score", "clean_score"]] = 3.0
    assert len(histogram(cell).figure.axes[0].patches[0].get_data().values) == 1


@pytest.mark.parametrize(("side", "attacked", "sign"), [(Side.EVADE, "letters", 1), (Side.ALARM, "test", -1)])
def test_convergence_is_the_gain_in_the_attackers_direction(make_meta, side, attacked, sign):
    cell = make_cell(make_meta(side=side, iqr=4.0), attacked=(attacked,))
    (found,) = gains_of(cell).items()
    assert found[0] is side
    for point in range(5):
        gains = [
            sign * (float(cell.arrays["trace"][i][point]) - float(row.clean_score)) / 4.0
            for i, row in enumerate(cell.samples.itertuples())
            if row.set == attacked
        ]
        middle = sorted(gains)[EACH // 2 - 1 : EACH // 2 + 1]
        assert found[1][1][point] == pytest.approx(sum(middle) / 2)


@pytest.mark.parametrize("trace", [np.zeros((3, 4), np.float32), np.zeros(24, np.float32), None])
def test_a_trace_that_does_not_fit_is_not_drawn(make_meta, trace):
    cell = make_cell(make_meta())
    cell.arrays.pop("trace")
    if trace is not None:
        cell.arrays["trace"] = trace
    convergence = Convergence()
    convergence.add(cell, "pgd-l2", "gat")
    assert convergence.drawings() == []


@pytest.mark.parametrize("name", ["$\\frac{$", "_hidden", "a<b>&\"'", "\x00\x1b[31m", "漢字", "%s {} \\", "x" * 5000])
def test_any_name_can_stand_in_a_figure(make_meta, name):
    (drawing,) = auroc_curves(build_tables([make_meta(name, name, eps=e) for e in (0.5, 1.0)])[0])
    root = ElementTree.fromstring(drawing.svg())
    shown = "".join(text for element in root.iter() if element.tag.endswith("text") for text in element.itertext())
    printable = "".join(sign if sign.isprintable() else "?" for sign in name)
    assert printable[:30] in shown
    assert drawing.png().startswith(b"\x89PNG")


def test_a_figure_is_the_same_whatever_the_users_settings_are(sweep):
    table = build_tables(sweep)[0]
    first = auroc_curves(table)[0].svg()
    with mpl.rc_context({"font.size": 30, "axes.grid": False, "svg.hashsalt": "other"}):
        assert auroc_curves(table)[0].svg() == first
    assert "prefers-color-scheme:dark" in first
    assert "dc:date" not in first and "DOCTYPE" not in first


@pytest.mark.parametrize("part", ["../../etc/passwd", "/abs", "..", "a/b\\c", "", "CON:\x00"])
def test_a_files_name_never_leaves_its_folder(part):
    name = stem(part)
    assert "/" not in name and "\\" not in name and not name.startswith(".") and name


def test_figures_show_themselves_in_a_notebook(sweep):
    html = Drawings(auroc_curves(build_tables(sweep)[0]))._repr_html_()
    assert html.count('<img src="data:image/svg+xml;base64,') == 1
