"""What a run says last: right for one detector and many, one radius and several, one track and several."""

import pytest

from bench.cards.threat import Goal, Loss, Norm, Side
from bench.evaluation.results import FoolAtEps, FoolMetrics, NearestFigures, NearestMetrics
from bench.report.closing import closing_sentences
from bench.report.table import build_tables


@pytest.fixture
def swept(make_meta, make_set):
    """Makes a cell whose two figures are the ones that it is given."""

    def make(detector, threat="pgd-l2", eps=1.0, auroc=0.5, clean=0.99, **other):
        sets = {"letters": make_set(auroc, clean=clean, reachable=other.get("reachable", 0.0))}
        return make_meta(detector, threat, eps=eps, sets=sets, **other)

    return make


def said(*metas, failed=None):
    return closing_sentences(build_tables(metas, failed or {}))


def test_of_one_detector_it_says_what_is_kept_of_what(swept):
    assert said(swept("gat", auroc=0.956)) == ["gat keeps 0.96 of 0.99 at L2 1."]


def test_of_several_it_names_the_first_and_the_next(swept):
    metas = [swept("msp", auroc=0.4), swept("oe", auroc=0.851), swept("gat", auroc=0.956)]
    assert said(*metas) == ["gat keeps 0.96 of 0.99 at L2 1; the next, oe, 0.85."]


def test_figures_that_two_digits_do_not_tell_apart_have_three(swept):
    metas = [swept("oe", auroc=0.9601), swept("gat", auroc=0.9634, clean=0.992)]
    assert said(*metas) == ["gat keeps 0.963 of 0.992 at L2 1; the next, oe, 0.960 (their intervals overlap)."]


def test_where_nothing_is_left_nobody_is_named(swept):
    assert said(*(swept(name, auroc=0.0) for name in ("a", "b", "c"))) == ["none of 3 detectors keeps 0.01 at L2 1."]


def test_of_several_radii_the_largest_that_tells_detectors_apart_counts(swept):
    metas = [swept("gat", eps=eps, auroc=0.96 - eps / 10, reachable=0.7 * (eps > 4)) for eps in (0.5, 2.0, 8.0)]
    assert said(*metas) == ["gat keeps 0.76 of 0.99 at L2 2."]


def test_at_a_radius_that_is_too_large_it_says_what_nobody_can_keep(swept, make_meta):
    meta = swept("gat", eps=10.0, auroc=0.001, reachable=0.7)
    meta = meta.model_copy(update={"mean": meta.mean.model_copy(update={"ceiling": 0.65})})
    (sentence,) = said(meta)
    assert sentence == "gat keeps less than 0.01 of 0.99 at L2 10, where no detector can keep more than 0.65."


def test_of_several_attacks_in_one_ball_the_lowest_figure_counts(swept):
    metas = [swept("gat", "pgd-l2", auroc=0.9), swept("gat", "square-l2", auroc=0.8, gradients=0)]
    assert said(*metas) == ["gat keeps 0.80 of 0.99 at L2 1."]


def test_a_detector_that_met_fewer_attacks_is_not_compared(swept):
    metas = [swept("gat", "pgd-l2", auroc=0.7), swept("gat", "square-l2", auroc=0.8), swept("knn", "square-l2")]
    metas[2] = swept("knn", "square-l2", auroc=0.95)
    assert said(*metas) == ["gat keeps 0.70 of 0.99 at L2 1."]


def test_an_attack_without_gradients_is_named(swept):
    assert said(swept("gat", "noise-l2", auroc=0.98, gradients=0)) == ["gat keeps 0.98 of 0.99 at L2 1 under noise-l2."]


def test_what_a_check_refutes_is_not_the_best(swept):
    masked = swept("masked", auroc=0.98)
    failed = {masked.key: ("D4",)}
    assert said(masked, swept("gat", auroc=0.9), failed=failed) == ["gat keeps 0.90 of 0.99 at L2 1."]
    assert said(masked, failed=failed) == ["no figure at L2 1 can be believed."]


def test_each_norm_has_its_own_figure(swept):
    metas = [swept("gat", auroc=0.9), swept("gat", "pgd-linf", norm=Norm.LINF, eps=8 / 255, auroc=0.8)]
    assert said(*metas) == ["gat keeps 0.90 of 0.99 at L2 1. gat keeps 0.80 of 0.99 at Linf 8/255."]


def test_the_side_is_named_where_it_is_not_the_usual_one(swept):
    assert said(swept("gat", auroc=0.9, side=Side.ALARM)) == [
        "gat keeps 0.90 of 0.99 at L2 1 with the ID images attacked."
    ]


def test_without_an_attack_it_says_so(swept):
    metas = [
        swept(d, "clean", eps=None, auroc=a, clean=a, gradients=0, queries=0) for d, a in (("gat", 0.98), ("oe", 0.991))
    ]
    assert said(*metas) == ["oe has 0.99 without an attack; the next, gat, 0.98 (their intervals overlap)."]


def test_each_track_has_a_sentence_that_names_it(swept):
    assert said(swept("gat", auroc=0.9), swept("gat", auroc=0.8, track="mnist")) == [
        "digits: gat keeps 0.90 of 0.99 at L2 1.",
        "mnist: gat keeps 0.80 of 0.99 at L2 1.",
    ]


def test_worst_cases_over_other_attacks_are_not_compared(swept):
    metas = [
        swept("gat", "auto-l2", members={"pgd-l2": 0.5}),
        swept("knn", "auto-l2", members={"square-l2": 0.9}, left_out={"pgd-l2": "no gradient."}, auroc=0.9),
    ]
    (sentence,) = said(*metas)
    assert "next" not in sentence


def test_of_fooled_images_the_smallest_share_at_the_largest_radius_stands_first(make_meta):
    def fooled(detector, *undetected):
        curve = [
            FoolAtEps(eps=eps, adversarial_accuracy=0.5, misclassified=0.5, undetected=share, detection_rate=None,
                      auroc=None, se=None, median_norm=None)
            for eps, share in zip((0.5, 2.0, None), undetected, strict=True)
        ]  # fmt: skip
        fool = FoolMetrics(goal=Goal.ACCEPT, loss=Loss.JOINT, n=100, attacked=90, curve=tuple(curve))
        return make_meta(detector, "cw-l2", side=Side.FOOL, fool=fool, sets={}, mean=None)

    assert said(fooled("sdim", 0.1, 0.42, 1.0), fooled("msp", 0.05, 0.6, 0.6)) == [
        "of the images that sdim classifies right, 42 % can be misclassified and accepted at L2 2; of the next, msp, "
        "60 %."
    ]


def test_of_nearest_images_the_largest_median_radius_stands_first(make_meta):
    def crossed(detector, radius):
        found = NearestFigures(n=9, counts=True, across=0.1, median_radius=radius, curve=(), gradients=1, queries=1)
        nearest = NearestMetrics(threshold="calibration_tpr95", sets={"letters": found}, mean=found)
        return make_meta(detector, "ddn-l2", nearest=nearest, sets={}, mean=None)

    assert said(crossed("msp", 0.4), crossed("gat", 0.75)) == [
        "half of the images of gat are across within L2 0.75; of the next, msp, within 0.4."
    ]
