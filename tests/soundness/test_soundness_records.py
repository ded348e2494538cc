"""Each check on one cell or one probe passes on a sound case and trips on a broken one."""

from dataclasses import replace

import numpy as np
import pytest
from soundness_cases import COUNT, ID, view

from bench.cards.network import RecordedSpec
from bench.soundness import records
from bench.soundness.verdicts import Verdict


@pytest.mark.parametrize(
    ("largest", "verdict"), [(5e-5, Verdict.PASS), (5e-3, Verdict.WARN), (2e-2, Verdict.FAIL)], ids=str
)
def test_scores_that_differ_when_asked_again_warn_and_fail(largest, verdict):
    assert records.same_twice({"asked_twice": 0.0, "one_by_one": largest}).verdict is verdict


def test_fresh_draws_that_do_not_confirm_the_claim_fail_it():
    assert records.same_twice({"asked_twice": 0.0}, claimed=0.398, fresh=0.694).verdict is Verdict.FAIL
    assert records.same_twice({"asked_twice": 0.0}, claimed=0.5, fresh=0.505).verdict is Verdict.PASS


@pytest.mark.parametrize(("share", "verdict"), [(0.0, Verdict.PASS), (0.02, Verdict.WARN), (0.06, Verdict.FAIL)])
def test_images_without_a_gradient_warn_and_fail(share, verdict):
    shares = {"at_the_image": 0.0, "at_a_random_start": share}
    found = records.usable_gradient(view(), shares)
    assert found.verdict is verdict
    assert ("at a random start" in found.found) == (share > 0)


@pytest.mark.parametrize(("error", "verdict"), [(0.05, Verdict.PASS), (0.3, Verdict.WARN), (0.9, Verdict.FAIL)])
def test_a_gradient_that_differences_do_not_confirm_warns_and_fails(error, verdict):
    finding = records.gradient_is_the_gradient(view(), {0.01: 2.0, 0.1: error}, declared="")
    assert finding.verdict is verdict
    assert finding.figures["step"] == 0.1


def test_a_declared_approximation_of_the_gradient_is_only_told():
    assert records.gradient_is_the_gradient(view(), {0.1: 0.9}, declared="sign").verdict is Verdict.INFO


def test_a_declared_approximation_that_differences_confirm_passes_like_any_other():
    assert records.gradient_is_the_gradient(view(), {0.1: 0.01}, declared="sign").verdict is Verdict.PASS


def test_the_share_of_last_iterates_that_are_worse_is_told():
    seen = view(0.5)
    last = seen.attacked["near"] - np.where(np.arange(COUNT) < 10, 0.1, 0.0)
    finding = records.last_against_best(seen, last)
    assert finding.verdict is Verdict.INFO
    assert finding.figures["share_worse"] == pytest.approx(10 / COUNT)


def test_scores_that_are_all_different_pass():
    assert records.resolution(view(0.3141)).verdict is Verdict.PASS


def test_scores_on_a_grid_fail():
    seen = view(0.3)
    grid = np.round(seen.attacked["near"] * 4) / 4
    finding = records.resolution(replace(seen, attacked={"near": grid}))
    assert finding.verdict is Verdict.FAIL
    assert finding.figures["ties"] == pytest.approx(1 - len(set(grid.tolist())) / COUNT)


def test_ties_that_the_attack_undoes_are_only_told():
    seen = view(0.3141)
    tied = seen.clean["near"].copy()
    tied[20:24] = tied[20]
    finding = records.resolution(replace(seen, clean={"near": tied}))
    assert finding.verdict is Verdict.PASS
    assert finding.figures["clean_ties"] == pytest.approx(3 / COUNT)


def test_scores_piled_up_at_an_extreme_are_noticed():
    seen = view(0.3141)
    finding = records.resolution(replace(seen, opponents=(np.minimum(ID, 0.9),)))
    assert finding.verdict is Verdict.WARN
    assert finding.figures["share_at_an_extreme"] == pytest.approx(3 / 80)


def test_an_auroc_that_lives_on_ties_fails():
    seen = view(0.0)
    one = replace(seen, attacked={"near": seen.opponents[0].copy()}, opponents=(np.full(COUNT, 0.5),))
    assert records.resolution(one).figures["auroc_by_ties"] == pytest.approx(one.auroc() - one.conservative_auroc())
    level = replace(seen, attacked={"near": np.full(COUNT, 1.0)}, opponents=(np.full(COUNT, 1.0),))
    assert records.resolution(level).figures["auroc_by_ties"] == pytest.approx(0.5)


def test_a_landscape_in_which_noise_moves_as_far_as_the_attack_is_a_warning():
    assert records.smooth(view(0.4), 0.5).verdict is Verdict.WARN
    assert records.smooth(view(0.4), 0.1).verdict is Verdict.PASS


def test_an_attack_that_gains_nothing_where_noise_moves_the_score_is_a_warning():
    assert records.smooth(view(0.0), 0.1).verdict is Verdict.WARN
    assert records.smooth(view(0.0), 0.0).verdict is Verdict.PASS


def test_images_outside_the_ball_fail():
    norms = np.full(COUNT, 0.99)
    assert records.feasible(view(), norms, 1.0).verdict is Verdict.PASS
    norms[3] = 1.001
    finding = records.feasible(view(), norms, 1.0)
    assert finding.verdict is Verdict.FAIL
    assert finding.figures["share_outside"] == pytest.approx(1 / COUNT)


def test_a_norm_that_is_not_a_number_is_outside():
    assert records.feasible(view(), np.array([0.5, np.nan]), 1.0).figures["share_outside"] == 0.5


@pytest.mark.parametrize("pixel", [-0.01, 1.01, np.nan])
def test_kept_images_outside_the_box_fail(pixel):
    images = np.full((4, 1, 2, 2), 0.5)
    assert records.feasible(view(), np.zeros(4), 1.0, images=images).verdict is Verdict.PASS
    images[2, 0, 1, 1] = pixel
    assert records.feasible(view(), np.zeros(4), 1.0, images=images).verdict is Verdict.FAIL


def test_an_attack_that_rounding_to_bytes_undoes_is_a_warning():
    assert records.feasible(view(), np.zeros(4), 1.0, rounded=(0.30, 0.31)).verdict is Verdict.PASS
    assert records.feasible(view(), np.zeros(4), 1.0, rounded=(0.30, 0.40)).verdict is Verdict.WARN


def test_an_objective_that_leaves_out_a_component_fails():
    assert records.covers_the_defence(()).verdict is Verdict.PASS
    finding = records.covers_the_defence(("preprocessing",))
    assert finding.verdict is Verdict.FAIL
    assert "preprocessing" in finding.found


@pytest.mark.parametrize(
    ("auroc", "accuracy", "verdict"),
    [
        (0.95, 0.99, Verdict.PASS),
        (0.97, 0.99, Verdict.PASS),
        (0.971, 0.99, Verdict.FAIL),
        (0.95, 0.975, Verdict.FAIL),
        (None, None, Verdict.SKIPPED),
    ],
)
def test_clean_figures_must_be_those_of_the_card(auroc, accuracy, verdict):
    recorded = RecordedSpec(clean_auroc=0.95, id_accuracy=0.99)
    assert records.identity(auroc, accuracy, recorded).verdict is verdict


def test_worse_than_chance_is_a_warning_with_or_without_a_record():
    assert records.identity(0.4, None, None).verdict is Verdict.WARN
    assert records.identity(0.4999, None, None).verdict is Verdict.WARN
    assert records.identity(0.5, None, None).verdict is not Verdict.WARN
    assert records.identity(0.4, None, RecordedSpec(clean_auroc=0.41)).verdict is Verdict.WARN
