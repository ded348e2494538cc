import xml.etree.ElementTree as ET

import numpy as np
import pytest
from baseline_cells import digest, made, scores

from bench.leaderboards.regression import Verdict, compare
from bench.leaderboards.regression_report import render_junit, render_markdown, summary, text_lines
from bench.leaderboards.same_detector import Computed
from bench.metrics import paired_mean_difference, unpaired_mean_difference


def checked(before, *now, tolerance=0.005, alpha=0.01):
    return compare(before, {cell.identity: cell for cell in now}, tolerance=tolerance, alpha=alpha)


def only(before, now, **options):
    (cell,) = checked([before], now, **options).cells
    return cell


def shifted(found, ood=0.0):
    return {name: part + (0.0 if name == "test" else ood) for name, part in found.items()}


def test_the_same_scores_are_unchanged():
    assert only(made(scores()), made(scores())).verdict is Verdict.UNCHANGED


def test_a_fall_is_worse_whatever_changed():
    for options in ({}, {"weights": "other"}, {"code": "other"}):
        assert only(made(scores()), made(shifted(scores(), 0.5), **options)).verdict is Verdict.WORSE


def test_a_rise_under_attack_of_the_same_detector_is_a_weaker_attack():
    assert only(made(scores()), made(shifted(scores(), -0.5), code="other")).verdict is Verdict.WEAKER


def test_a_detector_that_scores_one_set_of_a_clean_cell_otherwise_is_another_detector():
    before, options = made(scores(), threat="clean"), {"threat": "clean"}
    changed = {**scores(), "far": scores()["far"] - 0.5}
    assert Computed.of([(before, made(scores(), **options))]).same == {("digits", "gat", None): True}
    assert Computed.of([(before, made(changed, **options))]).same == {("digits", "gat", None): False}


def test_a_rise_under_attack_of_another_detector_is_better():
    assert only(made(scores()), made(shifted(scores(), -0.5), weights="other")).verdict is Verdict.BETTER


def test_a_detector_that_computes_other_scores_with_the_same_card_and_weights_is_another_detector():
    improved = {name: part * 2 + 0.5 * (name == "test") for name, part in shifted(scores(), -0.5).items()}
    before = [made(scores(), threat="clean"), made(shifted(scores(), 0.8))]
    now = [made(improved, threat="clean", code="other"), made(improved, code="other")]
    assert [cell.verdict for cell in checked(before, *now).cells] == [Verdict.BETTER, Verdict.BETTER]
    # without a clean cell the ID scores, which nobody attacked, tell
    assert only(before[1], now[1]).verdict is Verdict.BETTER


def test_a_set_that_the_newer_cell_lacks_leaves_cards_and_weights_to_tell_whose_cells_they_are():
    options = {"side": "alarm"}
    before, fewer = made(scores(), **options), {name: part for name, part in scores().items() if name != "far"}
    assert Computed.of([]).the_same(before, made(fewer, **options))
    assert not Computed.of([]).the_same(before, made(fewer, weights="other", **options))


def test_a_detector_that_computes_the_same_scores_from_other_files_is_the_same_detector():
    before = [made(scores(), threat="clean"), made(shifted(scores(), 0.8))]
    now = [made(scores(), threat="clean", weights="saved again"), made(scores(), weights="saved again")]
    assert [cell.verdict for cell in checked(before, *now).cells] == [Verdict.UNCHANGED, Verdict.WEAKER]


def test_scores_that_differ_in_the_last_places_are_those_of_the_same_detector():
    rng = np.random.default_rng(3)
    nearly = {name: part + 1e-5 * rng.normal(size=part.size) for name, part in scores().items()}
    before = [made(scores(), threat="clean"), made(shifted(scores(), 0.8))]
    now = [made(nearly, threat="clean"), made(nearly)]
    assert checked(before, *now).cells[1].verdict is Verdict.WEAKER


def test_without_a_clean_cell_the_side_that_an_attack_leaves_alone_tells_whether_a_detector_is_the_same():
    """Of an attack of OOD images those are the ID images, of one of ID images the OOD ones."""
    found = scores()
    other_id = {name: part + (0.3 if name == "test" else 0.0) for name, part in found.items()}
    for side, changed, same in (
        ("evade", other_id, False),
        ("evade", shifted(found, -0.3), True),
        ("alarm", other_id, True),
        ("alarm", shifted(found, -0.3), False),
    ):
        before, now = made(found, side=side), made(changed, side=side)
        assert Computed.of([]).the_same(before, now) is same, (side, same)


def test_versions_that_differ_are_named():
    before, now = (made(scores(), versions={"torch": torch}) for torch in ("2.14.1", "2.15.0"))
    assert [str(change) for change in only(before, now).changed] == ["torch '2.14.1' -> '2.15.0'"]
    assert only(made(scores()), now).changed == ()  # an older baseline does not say


def test_a_rise_without_an_attack_is_better():
    before, now = (made(part, threat="clean") for part in (scores(), shifted(scores(), -0.5)))
    assert only(before, now).verdict is Verdict.BETTER


def test_a_significant_change_within_the_tolerance_is_none():
    before, now = made(scores()), made(shifted(scores(), 0.5))
    fall = -only(before, now).change.difference
    assert only(before, now, tolerance=fall * 1.001).verdict is Verdict.UNCHANGED
    assert only(before, now, tolerance=fall * 0.999).verdict is Verdict.WORSE


def test_a_large_change_that_is_not_significant_is_none():
    few = {name: part[:8] for name, part in scores().items()}
    cell = only(made(few), made({name: part[:8] for name, part in scores(5, gap=1.0).items()}))
    assert abs(cell.change.difference) > 0.05
    assert cell.p_value > 0.01
    assert cell.verdict is Verdict.UNCHANGED


def test_equal_images_are_compared_in_pairs_and_others_are_not():
    old, new = scores(), scores(1)
    sides = [new["test"], [new["far"], new["near"]], old["test"], [old["far"], old["near"]]]
    sides = [np.asarray(s, np.float32) if not isinstance(s, list) else [np.float32(p) for p in s] for s in sides]
    paired, unpaired = only(made(old), made(new)), only(made(old), made(new, ids="other"))
    assert (paired.paired, unpaired.paired) == (True, False)
    assert paired.change == paired_mean_difference(*sides)
    assert unpaired.change == unpaired_mean_difference(*sides)


def test_p_values_are_adjusted_over_all_cells():
    fallen = made(shifted(scores(), 0.06))
    (alone,) = checked([made(scores())], fallen).cells
    still = [made(scores(), seed=seed) for seed in range(1, 10)]
    among = checked([made(scores()), *still], fallen, *still).cells[0]
    assert among.p_value == pytest.approx(min(1.0, 10 * alone.p_value))


def test_what_withstood_is_compared_image_by_image():
    before = np.arange(100) < 80
    now = np.arange(100) < 60
    cells = [made({"test": part}, figure="withstood", side="fool", goal="misclassify") for part in (before, now)]
    cell = only(*cells)
    assert cell.verdict is Verdict.WORSE
    assert cell.change.p_value == pytest.approx(2 * 0.5**20)
    assert only(cells[1], cells[0]).verdict is Verdict.WEAKER
    said = [
        " ".join(line.text for line in text_lines(checked([before], now)))
        for before, now in (cells, [made(scores())] * 2)
    ]
    assert ["share of ID test images that are right and withstood the attack" in each for each in said] == [True, False]


def test_hashes_and_parameters_that_differ_are_named():
    cell = only(made(scores()), made(scores(), weights="new", code="changed"))
    assert [str(change) for change in cell.changed] == [
        f"weights {digest('weights')[:8]} -> {digest('new')[:8]}",
        f"code {digest('code')[:8]} -> {digest('changed')[:8]}",
    ]


def test_a_cell_that_is_not_there_is_missing_with_its_reason():
    before = made(scores())
    found = compare([before], {}, tolerance=0.005, alpha=0.01, reasons={before.identity: "its weights are gone"})
    assert (found.failed, found.missing) == (False, True)
    assert any("its weights are gone" in line.text for line in text_lines(found))


@pytest.fixture
def mixed():
    """One cell of each verdict."""
    falls, rises = shifted(scores(), 0.5), shifted(scores(), -0.5)
    before = [made(scores(), detector=name) for name in ("same", "worse", "weaker", "better", "gone")]
    now = [
        made(scores(), detector="same"),
        made(falls, detector="worse"),
        made(rises, detector="weaker"),
        made(rises, detector="better", weights="new"),
    ]
    return checked(before, *now)


def test_the_summary_counts_every_verdict(mixed):
    assert summary(mixed) == "5 cells: 1 unchanged, 1 better, 1 worse, 1 attack weaker, 1 missing."


def test_one_cell_is_one_cell():
    assert summary(checked([made(scores())], made(scores()))) == "1 cell: 1 unchanged."


def test_junit_has_a_failure_for_each_regression_and_an_error_for_each_missing_cell(mixed):
    suite = ET.fromstring(render_junit(mixed).encode())
    for case, cell in zip(suite, mixed.cells, strict=True):
        assert case.findtext("system-out").startswith(f"{cell.verdict}, ")  # the label is the test's name already
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "5",
        "failures": "2",
        "errors": "1",
    }
    failed = {case.get("name"): case.find("failure").get("type") for case in suite if case.find("failure") is not None}
    assert failed == {
        "worse x pgd-l2 l2 1 on digits": "worse",
        "weaker x pgd-l2 l2 1 on digits": "attack weaker",
    }


def test_markdown_has_a_row_for_each_cell(mixed):
    rows = [line for line in render_markdown(mixed).splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 5
    assert len({row.count("|") for row in rows}) == 1


def test_names_cannot_break_out_of_markdown_and_xml():
    name = "x | <script>alert(1)</script> `"
    found = checked([made(scores(), detector=name)], made(shifted(scores(), 0.5), detector=name))
    row = render_markdown(found).splitlines()[4]
    assert row.replace("\\|", "").count("|") == 7
    assert "<script>" not in row
    (case,) = ET.fromstring(render_junit(found).encode())
    assert case.get("name").startswith(name)


def test_clean_cells_of_other_images_do_not_tell_whether_a_detector_is_the_same():
    before, now, attack = (
        made(scores(), threat=threat, ids=ids)
        for threat, ids in (("clean", "ids"), ("clean", "others"), ("pgd-l2", "ids"))
    )
    place = before.identity.track, before.identity.detector, before.identity.limit
    assert Computed.of([(before, before)]).same == {place: True}
    assert Computed.of([(before, now)]).same == {}
    assert Computed.of([(attack, attack), (before, None)]).same == {}
