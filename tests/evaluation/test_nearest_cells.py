"""Cells of attacks that look for the nearest image across a threshold: radii of images, and no AUROC."""

import numpy as np
import pytest

from bench.metrics import MetricError, median_radius, radii_across, share_within


def rows(cell, name):
    return cell.samples[cell.samples["set"] == name]


def radii_of(cell, name, side):
    """As the samples say it."""
    part = rows(cell, name)
    line = cell.meta.thresholds["calibration_tpr95"]
    sign = -1 if side == "alarm" else 1
    across = sign * part["score"] > sign * line if side == "alarm" else part["score"] >= line
    return np.where(across, part["norm"], np.inf)


@pytest.mark.parametrize(("side", "sets"), [("evade", ("near", "far", "noise")), ("alarm", ("test",))])
def test_one_run_counts_who_is_across_at_every_radius(cells, side, sets):
    cell = cells("net", "crossing", "0.6,0.3,1", side=side)[1]
    found = cell.meta.nearest
    assert cell.meta.eps is None and tuple(found.sets) == sets and found.threshold == "calibration_tpr95"
    for name, figures in found.sets.items():
        radii = radii_of(cell, name, side)
        assert [at.eps for at in figures.curve] == [0.3, 0.6, 1.0, None]
        assert [at.across for at in figures.curve] == pytest.approx(
            [np.mean(radii <= eps * (1 + 1e-5)) for eps in (0.3, 0.6, 1.0, 1e9)]
        )
        assert figures.median_radius == pytest.approx(np.median(radii))
        assert figures.n == len(radii) and figures.gradients == rows(cell, name)["gradients"].sum()
        assert figures.across == pytest.approx(np.mean(radii == 0))
    assert all(name in sets or (rows(cell, name)["status"] == "").all() for name in cell.samples["set"].unique())


def test_an_image_that_stops_at_a_threshold_has_no_auroc(cells):
    clean, cell = cells("net", "crossing")
    assert cell.meta.sets == {} and cell.meta.mean is None and cell.meta.groups == {}
    assert clean.meta.nearest is None and clean.meta.mean is not None


def test_the_mean_is_over_the_sets_that_count_and_their_medians(cells):
    found = cells("net", "crossing")[1].meta.nearest
    near, far = found.sets["near"], found.sets["far"]
    assert found.mean.n == near.n + far.n and not found.sets["noise"].counts
    assert found.mean.median_radius == pytest.approx((near.median_radius + far.median_radius) / 2)
    assert found.mean.across == pytest.approx((near.across + far.across) / 2)
    for at, one, other in zip(found.mean.curve, near.curve, far.curve, strict=True):
        assert at.across == pytest.approx((one.across + other.across) / 2)


def test_every_image_found_is_just_across_the_threshold(cells):
    cell = cells("net", "crossing", side="evade")[1]
    part, line = rows(cell, "far"), cell.meta.thresholds["calibration_tpr95"]
    moved = part[(part["norm"] > 0) & (part["status"] == "completed")]
    assert len(moved) > 5 and (moved["score"] >= line).all()
    assert ((moved["score"] - line) < 0.02 * cell.meta.iqr).all()  # a short search ends at the line
    nowhere = part[part["status"] == "failed"]
    assert (nowhere["score"] == nowhere["clean_score"]).all()


@pytest.mark.parametrize("side", ["evade", "alarm"])
def test_an_image_that_moved_and_is_not_across_counts_as_infinitely_far(cells, side):
    cell = cells("net", "halfway", side=side)[1]
    name = "far" if side == "evade" else "test"
    part, figures = rows(cell, name), cell.meta.nearest.sets[name]
    assert (part["norm"] > 0).mean() > 0.9 and figures.curve[-1].across < 0.5
    assert figures.median_radius is None
    assert figures.curve[-1].across == pytest.approx(np.isfinite(radii_of(cell, name, side)).mean())


def test_thresholds_by_class_are_those_of_the_class_that_is_predicted(cells):
    cell = cells("by-class", "crossing", side="evade")[1]
    part, lines = rows(cell, "far"), cell.meta.thresholds
    floor = part["attacked_predicted"].map(lambda c: lines[f"calibration_tpr95/{c}"])
    assert cell.meta.nearest.sets["far"].curve[-1].across == pytest.approx((part["score"] >= floor).mean())


def test_radii_are_of_the_key_and_early_stop_and_the_search_copy_are_not(planned):
    def key(eps="0.3", **options):
        return planned("net", "crossing", eps, **options)[1].key

    assert key("0.3,0.6") == key("0.6,0.3") != key("0.3")
    assert key(early_stop=True) == key(early_stop=False)


def test_both_sides_at_once_cannot_be_asked_for(planned):
    with pytest.raises(Exception, match="cannot attack the side 'both'"):
        planned("net", "crossing", side="both")


def test_a_worst_case_of_scores_leaves_out_who_stops_at_a_threshold(cells, planned):
    cell = cells("net", "worst-crossing", side="evade")[-1]
    assert list(cell.meta.members) == ["fooling"] and "nearest image past a threshold" in cell.meta.left_out["crossing"]
    (worst,) = [c for c in planned("labelled", "worst-crossing", side="fool") if c.threat.name == "worst-crossing"]
    assert [need.threat.name for need in worst.needs] == ["fooling", "crossing"]


def test_the_median_is_half_of_all_images_and_nothing_where_fewer_are_ever_across():
    norms, across = np.array([0.0, 1.0, 2.0, 0.0]), np.array([True, True, True, False])
    assert median_radius(radii_across(norms, across)) == 1.5
    assert median_radius(radii_across(norms, across & np.array([True, True, False, False]))) is None
    assert median_radius(np.array([0.0, 1.0, np.inf])) == 1.0
    assert share_within(radii_across(norms, across), None) == 0.75
    assert share_within(np.array([0.5]), 0.5) == 1.0 and share_within(np.array([0.5001]), 0.5) == 0.0


@pytest.mark.parametrize("figure", [median_radius, lambda radii, name: share_within(radii, 1.0, name=name)])
def test_no_images_have_no_radii(figure):
    with pytest.raises(MetricError, match="here: there are no images"):
        figure(np.zeros(0), name="here")
