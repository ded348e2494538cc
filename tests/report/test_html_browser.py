"""The page in a browser: it answers on the first screens, sorts, opens images large, and can be read by everybody."""

import pytest
from html_cells import NoCards, make_cell, store_of
from page_checks import check_page, screens_above_details

from bench.report.html.build import build_page
from bench.report.html.page import render_page
from bench.report.table import build_tables
from bench.soundness.verdicts import Finding, Verdict, Verdicts

pytestmark = pytest.mark.browser

DETECTORS = {"msp": 0.6, "gat": 0.9, "energy": 0.0, "odin": 1.0, "mahalanobis": 0.3, "oe": 0.8}


def finding(verdict, **changes):
    fields = {"check": "D4", "title": "random points do not beat it", "found": "they do.", "figures": {"share": 0.25}}
    return Finding(verdict=verdict, **{**fields, **changes})


@pytest.fixture(scope="module")
def pages(make_meta, make_set, tmp_path_factory):
    """Six detectors under two threats at three radii, and two of them under one, with samples and images."""
    folder = tmp_path_factory.mktemp("page")
    metas = [
        make_meta(
            name,
            threat,
            norm=norm,
            eps=eps,
            key=f"{number:02}{norm}{eps:.4f}".encode().hex().ljust(64, "0"),
            sets={"letters": make_set(auroc), "uniform": make_set(0.5, counts=False)},
        )
        for number, (name, auroc) in enumerate(DETECTORS.items())
        for threat, norm in (("pgd-l2", "l2"), ("pgd-linf", "linf"))
        for eps in (4 / 255, 8 / 255, 16 / 255)
    ]
    verdicts = {
        meta.key: Verdicts(key=meta.key, findings=(finding(Verdict.FAIL if meta.detector == "odin" else Verdict.PASS),))
        for meta in metas
    }
    few = [meta for meta in metas if meta.detector in ("gat", "odin") and meta.threat == "pgd-l2" and meta.eps < 0.02]
    for name, shown in (("large", metas), ("small", few)):
        tables = build_tables(shown, {meta.key: ("D4",) for meta in shown if meta.detector == "odin"})
        page = build_page(tables, store_of(*map(make_cell, few)), NoCards(), verdicts=verdicts)
        (folder / f"{name}.html").write_text(render_page(page), encoding="utf-8")
    return folder


@pytest.fixture
def opened(watched, pages):
    """Opens a page, with nothing to complain of."""
    return lambda name="large", **options: watched((pages / f"{name}.html").as_uri(), **options)


def table(page):
    return page.locator("main table.sortable").first


def names(page):
    return table(page).locator("tbody th").all_inner_texts()


def button(page, name):
    return table(page).get_by_role("button", name=name, exact=True)


def focused(page):
    return page.evaluate("document.activeElement.textContent").strip()


def test_what_comes_before_the_details_fits_three_screens(opened):
    screens = screens_above_details(opened())
    assert screens[1400] <= 1.2 and screens[390] <= 3


def test_everybody_can_read_the_page(opened):
    check_page(opened("small"))


def test_a_click_or_a_key_sorts_by_a_column_and_a_second_one_turns_it_round(opened):
    page = opened()
    ranked = ["gat", "oe", "msp", "mahalanobis", "energy", "odin"]  # what cannot be believed comes last
    assert names(page) == ranked
    button(page, "detector").click()
    assert names(page) == sorted(DETECTORS)
    button(page, "detector").focus()
    page.keyboard.press("Enter")
    assert names(page) == sorted(DETECTORS, reverse=True)
    assert table(page).locator('th[aria-sort="descending"]').inner_text() == "detector"
    button(page, "0.0157").focus()
    page.keyboard.press("Space")
    assert names(page)[:2] == ["odin", "gat"] and names(page)[-1] == "energy"  # [0.985, 1]! and [0, 0.015]


def test_images_open_large_by_click_and_by_keyboard(opened):
    page = opened("small")
    assert page.locator("dialog").is_hidden()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the answer"
    page.locator("details.detector summary").first.focus()
    page.keyboard.press("Enter")
    inner = page.locator("details.detector details").first
    inner.locator("summary").focus()
    page.keyboard.press("Enter")
    first = inner.locator("button.open").first
    small = first.locator("img").first.bounding_box()["width"]
    first.focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog")
    assert large.locator("img").first.bounding_box()["width"] > 2 * small
    assert large.locator("p").first.inner_text().startswith("letters: score")
    page.keyboard.press("ArrowRight")
    assert large.locator("p").first.inner_text().startswith("uniform: score")
    large.get_by_role("button", name="next").click()
    assert large.locator("p").first.inner_text().startswith("letters: score")
    page.keyboard.press("Escape")
    assert large.is_hidden()
    assert first.evaluate("one => one === document.activeElement")


def test_the_page_can_be_read_without_scripts(opened):
    page = opened(java_script_enabled=False)
    assert table(page).is_visible()
    assert page.locator("h2").first.inner_text().startswith("gat keeps")
