"""Each check against another attack passes where that one is no better, and trips where it is."""

import numpy as np
import pytest
from soundness_cases import COUNT, gained, stopped, view

from bench import metrics
from bench.cards.threat import Side
from bench.soundness import comparisons
from bench.soundness.verdicts import Verdict
from bench.soundness.view import View

BOTH_SIDES = pytest.mark.parametrize("side", [Side.EVADE, Side.ALARM])


@BOTH_SIDES
def test_a_view_has_the_auroc_of_its_scores_on_either_side(side):
    seen = view(0.3, side=side)
    (attacked,), (opponent,) = seen.attacked.values(), seen.opponents
    pair = (attacked, opponent) if side is Side.ALARM else (opponent, attacked)
    wins = np.mean([(a > b) + 0.5 * (a == b) for a in pair[0] for b in pair[1]])
    assert seen.auroc() == pytest.approx(wins)


@BOTH_SIDES
def test_a_gain_is_counted_in_the_attackers_direction(side):
    assert view(0.3, side=side).gain() == pytest.approx(np.full(COUNT, 0.3))


@BOTH_SIDES
def test_a_gain_ends_at_the_stop_target_on_both_sides_of_a_comparison(side):
    base = view(0.7, side=side)
    cut = stopped(base, base.sign * 0.25)
    assert cut.gain().max() <= 1.25
    assert cut.gain()[-1] == pytest.approx(0.25)  # its clean score is 0, in the attacker's sign
    assert cut.better(gained(cut, 0.9)) < base.better(gained(base, 0.9)) == 1.0


def test_an_early_stop_leaves_the_auroc_as_it_is_while_the_target_is_beyond_every_opponent():
    base = view(1.4)
    assert stopped(base, 1.05).auroc() == base.auroc()


@BOTH_SIDES
def test_random_points_that_gain_less_pass(side):
    seen = view(0.5, side=side)
    assert comparisons.noise_does_not_win(seen, gained(seen, 0.1)).verdict is Verdict.PASS


@BOTH_SIDES
def test_random_points_that_beat_the_attack_fail_it(side):
    seen = view(0.1, side=side)
    assert comparisons.noise_does_not_win(seen, gained(seen, 0.3)).verdict is Verdict.FAIL


def test_random_points_that_gain_more_on_a_few_images_are_told_and_fail_nothing():
    seen = view(0.5)
    lucky = np.where(np.arange(COUNT) < 2, 0.6, 0.0)
    finding = comparisons.noise_does_not_win(seen, gained(seen, lucky))
    assert finding.verdict is Verdict.WARN
    assert finding.figures["share_noise_gains_more"] == pytest.approx(2 / COUNT)
    assert "the figure is 0.000 too high" in finding.found


def test_a_difference_below_the_resolution_is_no_gain():
    seen = view(0.5)
    assert seen.better(gained(seen, 0.5 + 0.5 * seen.tau)) == 0.0
    assert seen.better(gained(seen, 0.5 + 2.0 * seen.tau)) == 1.0


def test_an_auroc_that_falls_with_eps_passes():
    curve = [(eps, view(gain)) for eps, gain in ((0.5, 0.2), (1.0, 0.4), (4.0, 0.9))]
    assert comparisons.monotone_in_eps(curve).verdict is Verdict.PASS


def test_an_auroc_that_rises_with_eps_by_more_than_two_errors_fails():
    curve = [(0.5, view(0.9)), (1.0, view(0.1))]
    finding = comparisons.monotone_in_eps(curve[::-1])  # the order of the cells has no part in it
    assert finding.verdict is Verdict.FAIL
    assert finding.figures["rise"] == pytest.approx(view(0.1).auroc() - view(0.9).auroc())


def test_an_auroc_that_stands_still_over_an_eightfold_eps_is_a_warning():
    assert comparisons.monotone_in_eps([(0.5, view(0.1)), (4.0, view(0.1))]).verdict is Verdict.WARN


def test_an_auroc_that_stands_still_over_a_smaller_range_passes():
    assert comparisons.monotone_in_eps([(0.5, view(0.1)), (2.0, view(0.1))]).verdict is Verdict.PASS


def test_an_auroc_that_has_no_room_to_fall_may_stand_still():
    assert comparisons.monotone_in_eps([(0.5, view(3.0)), (4.0, view(3.0))]).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("extra", "verdict"), [(0.0, Verdict.PASS), (0.026, Verdict.WARN), (0.3, Verdict.FAIL)], ids=str
)
def test_twice_the_steps_warn_above_one_hundredth_and_fail_above_three(extra, verdict):
    seen = view(0.5)
    more = gained(seen, 0.5 + extra)
    fall = seen.auroc() - seen.auroc(more)
    assert {Verdict.PASS: fall <= 0.01, Verdict.WARN: 0.01 < fall <= 0.03, Verdict.FAIL: fall > 0.03}[verdict]
    assert comparisons.converged_in_steps(seen, more, None).verdict is verdict


def test_what_twice_the_steps_found_and_when_the_gain_came_is_said_in_words():
    seen = view()
    found = comparisons.converged_in_steps(seen, seen.attacked, 0.02).found
    assert found.startswith(f"twice the steps bring the AUROC from {seen.auroc():.3f} to {seen.auroc():.3f}")
    assert "2.0% of the gain comes in the last tenth of the steps" in found


def test_a_gain_that_still_rises_in_the_last_tenth_is_a_warning():
    assert comparisons.converged_in_steps(view(), None, 0.06).verdict is Verdict.WARN
    assert comparisons.converged_in_steps(view(), None, 0.04).verdict is Verdict.PASS


@BOTH_SIDES
def test_the_late_rise_of_a_straight_trace_is_a_tenth(side):
    seen = view(1.0, side=side)
    (clean,) = seen.clean.values()
    traces = clean[:, None] + seen.sign * np.linspace(0.0, 1.0, 11)[None, :]
    assert comparisons.late_rise(traces, clean, seen) == pytest.approx(0.1)


def test_images_that_gain_nothing_and_traces_that_are_not_there_have_no_late_rise():
    seen = view(0.0)
    (clean,) = seen.clean.values()
    assert comparisons.late_rise(np.repeat(clean[:, None], 20, axis=1), clean, seen) is None
    assert comparisons.late_rise(np.full((COUNT, 20), np.nan), clean, seen) is None
    assert comparisons.late_rise(clean[:, None], clean, seen) is None


def test_a_trace_is_followed_to_the_stop_target_only():
    seen = stopped(view(1.0), 0.2)
    (clean,) = seen.clean.values()
    traces = clean[:, None] + np.linspace(0.0, 100.0, 50)[None, :]
    assert comparisons.late_rise(traces, clean, seen) == pytest.approx(0.0)


def test_further_restarts_count_where_they_are_better_and_only_there():
    seen = view(0.5)
    assert comparisons.converged_in_restarts(seen, gained(seen, 0.0)).verdict is Verdict.PASS
    some = np.where(np.arange(COUNT) % 2 == 0, 1.0, -1.0)
    finding = comparisons.converged_in_restarts(seen, gained(seen, some))
    assert finding.verdict is Verdict.FAIL
    both = np.where(np.arange(COUNT) % 2 == 0, 1.0, 0.5)
    expected = seen.auroc() - seen.auroc(gained(seen, both))
    assert finding.figures["fall_with_five_times_the_restarts"] == pytest.approx(expected)


def test_the_chosen_step_size_passes_where_no_other_is_better():
    seen = view(0.5)
    finding = comparisons.step_size_is_right(seen, {0.1: gained(seen, 0.4)}, chosen=2.0, path=100.0)
    assert finding.verdict is Verdict.PASS
    assert finding.figures["best"] == 2.0


def test_a_better_step_size_is_named():
    seen = view(0.3)
    finding = comparisons.step_size_is_right(
        seen, {0.1: gained(seen, 0.6), 0.25: gained(seen, 0.4)}, chosen=2.0, path=100.0
    )
    assert finding.verdict is Verdict.FAIL
    assert finding.figures["best"] == 0.1


def test_steps_that_cannot_cross_the_ball_fail():
    assert comparisons.step_size_is_right(view(), {}, chosen=0.01, path=1.9).verdict is Verdict.FAIL
    assert comparisons.step_size_is_right(view(), {}, chosen=0.02, path=2.0).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("boundless", "copied", "verdict"),
    [(1.5, 1.0, Verdict.PASS), (1.5, None, Verdict.PASS), (0.2, None, Verdict.FAIL), (1.1, 1.5, Verdict.FAIL)],
)
def test_without_a_radius_chance_and_interpolation_must_be_reached(boundless, copied, verdict):
    seen = view(0.2)
    walked = None if copied is None else gained(seen, copied)
    assert comparisons.unbounded_succeeds(seen, gained(seen, boundless), walked).verdict is verdict


@BOTH_SIDES
def test_one_step_that_does_better_by_more_than_two_errors_fails_the_attack(side):
    seen = view(0.2, side=side)
    assert comparisons.iterating_helps(seen, gained(seen, 0.8)).verdict is Verdict.FAIL
    alike = 0.2 + 0.3 * np.sin(np.arange(COUNT))
    finding = comparisons.iterating_helps(seen, gained(seen, alike))
    assert finding.figures["one_step_auroc"] != seen.auroc()
    assert finding.verdict is Verdict.PASS


def test_where_the_error_vanishes_the_rule_of_three_takes_its_place():
    seen = view(0.0)
    nothing = metrics.Difference(0.0, 0.0, 1.0)
    assert seen.error(nothing) == pytest.approx(3 / COUNT)
    assert seen.error(metrics.Difference(0.1, 0.02, 0.0)) == pytest.approx(0.04)


@BOTH_SIDES
def test_a_black_box_that_does_better_fails_the_attack(side):
    seen = view(0.2, side=side)
    assert comparisons.black_box_does_not_win(seen, gained(seen, 0.5), name="square").verdict is Verdict.FAIL
    assert comparisons.black_box_does_not_win(seen, gained(seen, 0.1), name="square").verdict is Verdict.PASS


def test_a_black_box_that_gains_more_on_many_images_is_a_warning():
    seen = view(0.5)
    mixed = np.where(np.arange(COUNT) % 3 == 0, 0.55, 0.0)
    assert comparisons.black_box_does_not_win(seen, gained(seen, mixed), name="square").verdict is Verdict.WARN


def test_transferred_images_that_do_better_fail_the_attack():
    seen = view(0.2)
    assert comparisons.transfer_does_not_win(seen, gained(seen, 0.5), name="msp").verdict is Verdict.FAIL
    assert comparisons.transfer_does_not_win(seen, gained(seen, 0.2), name="msp").verdict is Verdict.PASS


def test_a_sample_of_a_view_is_always_the_same_and_evenly_spread():
    seen = view(np.linspace(0, 1, COUNT))
    sample = seen.sample(8)
    assert sample.rows["near"].tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    assert sample.attacked["near"].tolist() == seen.attacked["near"][::5].tolist()
    assert seen.sample(1000).count == COUNT
    assert sample.opponents is seen.opponents


@pytest.mark.parametrize(("lucky", "verdict"), [(1, Verdict.PASS), (2, Verdict.WARN)])
def test_random_points_may_gain_more_on_one_image_in_a_hundred(lucky, verdict):
    clean = np.linspace(-1.0, 0.0, 100)
    seen = View(
        side=Side.EVADE,
        rows={"near": np.arange(100)},
        clean={"near": clean},
        attacked={"near": clean + 0.5},
        opponents=(np.linspace(0.0, 1.0, 100),),
        target=None,
        iqr=0.5,
    )
    rival = {"near": clean + np.where(np.arange(100) < lucky, 0.6, 0.0)}
    assert comparisons.noise_does_not_win(seen, rival).verdict is verdict
