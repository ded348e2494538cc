"""What all attacks of a diagnosis together say of a figure, and of a gradient that looks wrong."""

import numpy as np
import pytest

from bench.cards.threat import Side
from bench.soundness import comparisons
from bench.soundness.checklist import CHECKS
from bench.soundness.fooling import FoolView
from bench.soundness.standing import Standing, settled, standing_of
from bench.soundness.verdicts import Verdict
from bench.soundness.view import View

CLEAN = np.linspace(-1.0, 0.0, 100)


def view(gain=0.5) -> View:
    return View(
        side=Side.EVADE,
        rows={"near": np.arange(100)},
        clean={"near": CLEAN},
        attacked={"near": CLEAN + gain},
        opponents=(np.linspace(0.0, 1.0, 100),),
        target=None,
        iqr=0.5,
    )


def gained(gain) -> dict[str, np.ndarray]:
    return {"near": CLEAN + gain}


def test_the_lowest_figure_takes_the_best_attack_of_every_image():
    first, second = (np.where((np.arange(100) < 50) == low, 0.9, 0.1) for low in (True, False))
    seen = view()
    found = standing_of(seen, {"one": gained(first), "two": gained(second)})
    assert found.printed == seen.auroc()
    assert found.lowest == pytest.approx(seen.auroc(gained(0.9)))
    assert found.excess == pytest.approx(found.printed - found.lowest)
    assert (found.moved, found.images, found.stands) == (100, 100, False)
    assert found.by in ("one", "two")
    assert f"too high by at least {found.excess:.3f}" in str(found)


def test_a_figure_stands_where_others_reach_less_than_the_attack():
    found = standing_of(view(), {"one": gained(0.4)})
    assert (found.excess, found.moved, found.by, found.stands) == (0.0, 0, "", True)
    assert "stands" in str(found)
    assert standing_of(view(), {}).stands


def test_the_attack_that_alone_lowers_most_is_named():
    assert standing_of(view(), {"weak": gained(0.6), "strong": gained(0.8), "none": gained(0.0)}).by == "strong"


@pytest.mark.parametrize(("excess", "stands"), [(0.01, True), (0.011, False)])
def test_a_figure_is_beaten_by_more_than_a_hundredth(excess, stands):
    assert Standing(Side.EVADE, 10, 0.9, 0.9 - excess, "x", 3).stands is stands


STANDS = Standing(Side.EVADE, 10, 0.9, 0.9, "", 0)
FALLS = Standing(Side.EVADE, 10, 0.9, 0.8, "square-l2", 5)


def finding(check, verdict, side=Side.EVADE):
    return CHECKS[check].finding(verdict, "something is odd.", side=side)


@pytest.mark.parametrize("check", ["D2", "D3"])
def test_a_gradient_that_looks_wrong_is_a_warning_where_the_figure_stands_without_it(check):
    odd, repaired = finding(check, Verdict.FAIL), finding("D20", Verdict.PASS)
    settled_one = settled([odd, repaired], [STANDS])[0]
    assert settled_one.verdict is Verdict.WARN
    assert "the figure stands" in settled_one.found
    assert settled([odd, repaired], [FALLS])[0] == odd
    assert settled([odd, finding("D20", Verdict.SKIPPED)], [STANDS])[0] == odd
    assert settled([odd, finding("D20", Verdict.PASS, Side.ALARM)], [STANDS])[0] == odd
    assert settled([odd], [STANDS])[0] == odd


@pytest.mark.parametrize("check", ["D1", "D4", "D9", "D11", "D14", "D17"])
def test_what_is_about_the_figure_stays_a_failure(check):
    odd = finding(check, Verdict.FAIL)
    assert settled([odd, finding("D20", Verdict.PASS)], [STANDS])[0] == odd


def test_repairs_fail_an_attack_where_both_together_lower_the_figure():
    seen = view()
    few = np.where(np.arange(100) < 5, 2.0, 0.0)  # of themselves they reach much less
    found = comparisons.repair_does_not_win(seen, gained(few))
    assert found.verdict is Verdict.FAIL
    assert found.figures["repaired_auroc"] > found.figures["auroc"] > found.figures["lowest_auroc"]
    assert found.figures["share_repair_gains_more"] == 0.05
    assert "5.0% of the images gain more by it, most often those of near" in found.found
    assert comparisons.repair_does_not_win(seen, gained(0.5)).verdict is Verdict.PASS
    assert comparisons.repair_does_not_win(seen, gained(0.5)).advice == ""


def fool_view(judges) -> FoolView:
    clean = np.full(len(judges), -0.5)
    return FoolView(
        side=Side.FOOL,
        rows={"test": np.arange(len(judges))},
        clean={"test": clean},
        attacked={"test": np.array(judges)},
        opponents=(),
        target=None,
        iqr=1.0,
    )


def test_on_side_fool_the_figure_is_the_share_of_images_that_hold():
    seen = fool_view([0.2, -0.1, 0.0, 0.4])
    assert seen.auroc() == seen.conservative_auroc() == 0.5
    assert seen.unit == "share that holds"
    other = {"test": np.array([-0.2, 0.1, 0.3, 0.4])}
    fall = seen.compare(other)
    assert fall.difference == pytest.approx(0.25 - 0.5)
    assert fall.se == pytest.approx(np.std([1, -1, -1, 0]) / 2)
    assert seen.error(fall) == 2 * fall.se
    assert seen.error(seen.compare(seen.attacked)) == 0.75
    assert standing_of(seen, {"other": other}).lowest == 0.0
