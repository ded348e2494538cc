"""A figure that failed a soundness check has a mark, stands after all others, and a line says which check."""

import pytest

from bench.cards.threat import Norm
from bench.report.closing import closing_sentences
from bench.report.markdown import render_markdown
from bench.report.table import build_tables
from bench.report.text import render_text


@pytest.fixture
def shown(make_meta, make_set):
    """A doubted cell with the higher AUROC beside one that is sound."""
    doubted = make_meta("masked", sets={"letters": make_set(0.944)})
    sound = make_meta("sound", sets={"letters": make_set(0.3)})
    return build_tables([doubted, sound], {doubted.key: ("D2", "D4")})[0]


def test_a_doubted_figure_has_a_mark_and_a_sound_one_has_none(shown):
    for text in (render_text(shown), render_markdown(shown)):
        assert "0.944!" in text
        assert "0.300!" not in text


def test_the_mark_stands_before_the_interval(shown):
    assert "0.944! [0.904, 0.984]" in render_text(shown)


def test_a_doubted_cell_is_not_ranked_but_follows_all_others(shown):
    assert [row.label for row in shown.sections[0].rows] == ["sound", "masked"]
    assert [row.failed for row in shown.sections[0].rows] == [(), ("D2", "D4")]


def test_a_line_says_which_checks_failed(shown):
    line = next(line for line in render_text(shown, width=400).splitlines() if line.startswith("!"))
    assert "D2, D4" in line and "masked under pgd-l2 l2 1" in line and "sound" not in line


def test_in_the_overview_a_doubted_curve_comes_last(make_meta, make_set):
    metas = [
        make_meta(name, sets={"letters": make_set(auroc)}, eps=eps, norm=Norm.L2)
        for name, auroc in (("masked", 0.9), ("sound", 0.3))
        for eps in (0.5, 1.0, 2.0)
    ]
    text = render_text(build_tables(metas, {metas[1].key: ("D4",)})[0])
    overview = text[text.index("mean AUROC under each attack") :]
    assert overview.index("sound") < overview.index("masked")
    assert overview.count("0.900!") == 1


def test_a_figure_above_its_ceiling_by_more_than_its_interval_is_doubted(make_meta, make_set):
    weak = make_meta("weak", sets={"letters": make_set(0.9, reachable=0.7)}, reachable=0.7)
    near = make_meta("near", sets={"letters": make_set(0.67, reachable=0.7)}, reachable=0.7)
    clean = make_meta("weak", "clean", eps=None, sets={"letters": make_set(0.9)})
    assert weak.mean.low > weak.mean.ceiling > near.mean.low and near.mean.auroc > near.mean.ceiling
    table = build_tables([weak, near, clean])[0]
    text = render_text(table, width=400)
    assert text.count("!") == text.count("0.900!") + 1 and "0.670!" not in text
    line = next(line for line in text.splitlines() if line.startswith("!"))
    assert "above its ceiling" in line and "weak under pgd-l2 l2 1" in line and "near" not in line
    assert [row.label for row in table.sections[1].rows] == ["near", "weak"]
    assert closing_sentences([table])[0].startswith("near keeps 0.67")


def test_without_verdicts_nothing_is_marked(make_meta):
    assert "!" not in render_text(build_tables([make_meta()])[0])
