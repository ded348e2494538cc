import pytest

from bench.cards.threat import Norm
from bench.report import numbers


def test_an_auroc_stands_with_three_digits_and_its_interval(make_set):
    assert numbers.attacked_auroc(make_set(0.81239), with_interval=True) == "0.812 [0.788, 0.837]"
    assert numbers.attacked_auroc(make_set(0.81239)) == "0.812"


def test_at_0_and_1_the_interval_alone_is_printed(make_set):
    assert numbers.attacked_auroc(make_set(0.0)) == "[0, 0.015]"
    assert numbers.attacked_auroc(make_set(1.0), with_interval=True) == "[0.985, 1]"
    assert numbers.clean_auroc(make_set(0.5, clean=1.0, n_ood=100)) == "[0.970, 1]"


def test_a_figure_that_cannot_be_believed_is_marked_behind_the_figure_and_never_inside_an_interval(make_set):
    assert numbers.attacked_auroc(make_set(0.81239), with_interval=True, doubted=True) == "0.812! [0.788, 0.837]"
    assert numbers.attacked_auroc(make_set(1.0), doubted=True) == "[0.985, 1]!"


def test_the_mean_at_0_has_the_interval_of_its_smallest_set(make_meta, make_set):
    meta = make_meta(sets={"a": make_set(0.0, n_ood=100), "b": make_set(0.0, n_ood=300)})
    assert numbers.attacked_auroc(meta.mean, with_interval=True) == "[0, 0.030]"


def test_a_track_without_counting_sets_has_no_mean(make_meta, make_set):
    meta = make_meta(sets={"uniform": make_set(0.9, counts=False)})
    assert meta.mean is None
    assert numbers.attacked_auroc(meta.mean, with_interval=True) == numbers.ABSENT


@pytest.mark.parametrize(
    ("norm", "eps", "expected"),
    [
        (Norm.LINF, 8 / 255, "0.0314 = 8/255"),
        (Norm.LINF, 0.1, "0.1 = 25.5/255"),
        (Norm.L2, 1.0, "1 (255 on the 0-255 scale)"),
        (None, None, ""),
    ],
)
def test_a_radius_is_written_on_both_scales(norm, eps, expected):
    assert numbers.both_scales(norm, eps) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (999, "999"), (1000, "1k"), (12345, "12.3k"), (999_999, "1000k"), (1_250_000, "1.25M")],
)
def test_counts_are_short(value, expected):
    assert numbers.amount(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.97, "97 %"), (0.999, "over 99 %"), (1.0, "100 %"), (0.001, "under 1 %")]
)
def test_per_cent_is_never_rounded_to_all_or_nothing(value, expected):
    assert numbers.percent(value) == expected


def test_a_radius_in_l0_is_a_number_of_values():
    assert numbers.both_scales(Norm.L0, 10.0) == "10 values"
    assert numbers.both_scales(Norm.L1, 2.0) == "2 (510 on the 0-255 scale)"


@pytest.mark.parametrize(
    ("norm", "eps", "said"),
    [
        (Norm.LINF, 8 / 255, "Linf 8/255"),
        (Norm.LINF, 0.0314, "Linf 8/255"),
        (Norm.LINF, 0.01, "Linf 0.01"),
        (Norm.LINF, 0.1, "Linf 0.1"),
        (Norm.L2, 0.5, "L2 0.5"),
        (Norm.L0, 10.0, "L0 10 values"),
        (None, 1.0, "any distance"),
    ],
)
def test_a_ball_is_in_255ths_where_it_is_a_whole_number_of_them(norm, eps, said):
    assert numbers.ball(norm, eps) == said
