"""What every detector keeps in each ball: the lowest of all attacks there, and what cannot be believed apart."""

import pytest

from bench.cards.threat import Norm, Side
from bench.report.html.answers import shown_means
from bench.report.html.soundness import soundness_of
from bench.report.means import means_csv, means_of
from bench.report.table import build_tables
from bench.soundness.verdicts import Finding, Verdict, Verdicts


@pytest.fixture
def swept(make_meta, make_set):
    def make(detector, threat, eps, auroc, norm=Norm.L2):
        return make_meta(detector, threat, eps=eps, norm=norm, sets={"letters": make_set(auroc)})

    return make


def words(means):
    return {label: [one and one.words for one in kept] for label, kept in zip(means.labels, means.kept, strict=True)}


def test_of_several_attacks_in_one_ball_the_lowest_counts(swept):
    metas = [swept("gat", "pgd-l2", 1.0, 0.9), swept("gat", "square-l2", 1.0, 0.7), swept("gat", "pgd-l2", 0.5, 0.95)]
    means = means_of(build_tables(metas)[0])
    assert [(ball.title, ball.threats) for ball in means.balls] == [
        ("L2 0.5", ("pgd-l2",)),
        ("L2 1", ("pgd-l2", "square-l2")),
    ]
    assert words(means) == {"gat": ["0.950", "0.700"]}


def test_who_met_fewer_attacks_is_marked(swept):
    metas = [swept("gat", "pgd-l2", 1.0, 0.9), swept("gat", "square-l2", 1.0, 0.7), swept("msp", "pgd-l2", 1.0, 0.8)]
    table = build_tables(metas)[0]
    assert words(means_of(table)) == {"msp": ["0.800 *"], "gat": ["0.700"]}
    (grid,) = shown_means(means_of(table))
    assert grid.title == "l2 eps, lowest under pgd-l2, square-l2" and "fewer" in grid.said[0]


def test_a_figure_that_cannot_be_believed_counts_only_where_there_is_no_other(swept):
    metas = [swept("gat", "pgd-l2", 1.0, 0.9), swept("gat", "square-l2", 1.0, 0.7), swept("msp", "pgd-l2", 1.0, 0.95)]
    failed = {metas[1].key: ("D4",), metas[2].key: ("D4",)}
    assert words(means_of(build_tables(metas, failed)[0])) == {"gat": ["0.900"], "msp": ["0.950! *"]}


def test_a_detector_without_an_attack_stands_with_its_clean_figure(swept, make_meta, make_set):
    clean = make_meta("oe", "clean", eps=None, gradients=0, sets={"letters": make_set(0.99, clean=0.99)})
    means = means_of(build_tables([swept("gat", "pgd-l2", 1.0, 0.9), clean])[0])
    assert means_csv(means) == "detector (mean AUROC),clean,L2 1\ngat,0.95,0.9\noe,0.99,\n"


def test_names_in_the_csv_are_no_formulas(swept):
    means = means_of(build_tables([swept("=1+1", "pgd-l2", 1.0, 0.9)])[0])
    assert "\n'=1+1," in means_csv(means)


@pytest.mark.parametrize("side", [Side.FOOL, Side.BETWEEN])
def test_sides_without_an_auroc_have_no_means(make_meta, side):
    assert means_of(build_tables([make_meta(side=side)])[0]) is None


def test_grids_hold_at_most_four_radii_of_one_norm_and_twenty_detectors(swept):
    metas = [swept("gat", "pgd-l2", eps / 4, 0.9) for eps in range(1, 7)]
    metas += [swept("gat", "pgd-linf", 8 / 255, 0.8, Norm.LINF)]
    grids = shown_means(means_of(build_tables(metas)[0]))
    assert [grid.header[2:] for grid in grids] == [("0.25", "0.5", "0.75", "1"), ("1.25", "1.5"), ("8/255",)]
    many = [swept(f"d{i:02}", "pgd-l2", 1.0, 0.9 - i / 100) for i in range(23)]
    first, more = shown_means(means_of(build_tables(many)[0]))
    assert (len(first.rows), first.folded, len(more.rows), more.folded) == (20, False, 3, True)
    assert [row[2].best for row in first.rows] == [True] + [False] * 19


def test_the_matrix_of_checks_names_what_is_asked_and_of_how_many_attacks_it_is_said(make_meta):
    metas = [make_meta("gat", eps=eps, key=f"{number:064x}") for number, eps in enumerate((0.5, 1.0))]

    def verdicts(number, *findings):
        made = tuple(Finding(check=check, title="t", verdict=verdict, found=".") for check, verdict in findings)
        return Verdicts(key=metas[number].key, findings=made)

    found = soundness_of(
        metas,
        {
            metas[0].key: verdicts(0, ("D1", Verdict.PASS), ("D4", Verdict.FAIL), ("D6", Verdict.SKIPPED)),
            metas[1].key: verdicts(1, ("D1", Verdict.PASS), ("D4", Verdict.PASS)),
        },
    )
    told = [(own.check, own.title, [one.words for one in own.judgements]) for own in found.asked]
    assert told == [
        ("D1", "the score is the same twice", ["pass"]),
        ("D4", "random points do not beat it", ["fail in 1 of 2"]),
    ]
    assert "more steps do not help (D6)" in found.absent and len(found.absent) == 18
    assert found.unchecked == ()
    assert len(soundness_of(metas, {}).unchecked) == 2
