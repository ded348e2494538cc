"""The site in a browser: sort, filter, compare and open rows, by mouse and keyboard, with nothing loaded from afar."""

import pytest
from board_rows import varied_board
from page_checks import check_page

from bench.leaderboards.ranking import Leaderboards
from bench.leaderboards.site import write_site

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("undrawn")]

WIDE = ("ranking of small",)
"""Tables that may be wider than a window of 1400 pixels."""


@pytest.fixture(scope="module")
def site(undrawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_site(Leaderboards((varied_board(),)), folder)
    return folder


@pytest.fixture
def opened(watched, site):
    """Opens the start page, and goes from there by links alone."""

    def open_at(*links, **options):
        page = watched((site / "index.html").as_uri(), **options)
        for link in links:
            page.get_by_role("link", name=link, exact=True).first.click()
        return page

    return open_at


def detectors(page):
    return [name for name in page.locator("#board tbody th").all_inner_texts() if name]


def shown(page):
    return page.locator("#board tbody tr:visible th").all_inner_texts()


def sort_by(page, name):
    page.locator("#board").get_by_role("button", name=name, exact=True).click()


def figures(page):
    return [line.split("\t") for line in page.locator("main table tbody").first.locator("tr").all_inner_texts()]


RANKED = [own.row.detector.name for own in varied_board().standings]


def test_the_ranking_stands_in_its_order_and_a_click_sorts_it_by_another_figure(opened):
    page = opened("small")
    assert detectors(page) == RANKED
    sort_by(page, "clean AUROC")
    clean = {own.row.detector.name: own.row.clean.auroc for own in varied_board().standings}
    assert detectors(page) == sorted(RANKED, key=lambda name: -clean[name])
    sort_by(page, "clean AUROC")
    assert detectors(page) == sorted(RANKED, key=lambda name: clean[name])
    sort_by(page, "place")
    sort_by(page, "place")
    assert detectors(page) == RANKED


def test_filters_hide_rows_and_say_how_many_are_left(opened):
    page = opened("small")
    page.get_by_label("extra data").first.select_option("yes")
    assert shown(page) == ["outlier"]
    assert page.locator("output").inner_text() == "1 of 5 rows"
    page.get_by_label("extra data").first.select_option("no")
    page.get_by_label("white-box").select_option("no")
    assert shown(page) == ["boxed"]
    page.get_by_label("white-box").select_option("")
    page.get_by_label("certified").select_option("yes")
    assert shown(page) == ["bounded"]
    page.get_by_label("extra data").first.select_option("yes")
    assert shown(page) == []


def test_a_detector_opens_with_its_figures_and_its_history(opened):
    page = opened("small", "anchor")
    assert page.locator("h1").inner_text() == "anchor re-attacked"
    assert "median of 3 fresh attacks" in page.locator("header").inner_text()
    assert "0.8400" in page.locator("#attacks").inner_text()
    page.locator("#history a").click()
    assert "Not ranked" in page.locator("header").inner_text()
    page.get_by_role("link", name="All tracks").click()
    assert page.title() == "robustood leaderboards"


def test_images_that_beat_a_row_are_shown_beneath_its_figure(opened):
    assert "AUROC 0.400 by 50 images" in opened("small").locator(".beaten").inner_text()


def test_two_rows_are_compared_pair_by_pair_and_the_address_remembers_them(opened):
    page = opened("small", "Compare two rows")
    page.locator("#a").select_option(label=page.locator("#a option").nth(2).inner_text())
    found = {line[0]: line[1:] for line in figures(page)}
    assert set(found) >= {"clean", "worst case", "all-l2 at 1"}
    page.locator("#a").select_option(index=1)
    page.locator("#b").select_option(index=2)
    forth = {line[0]: line[1:] for line in figures(page)}
    page.locator("#a").select_option(index=2)
    page.locator("#b").select_option(index=1)
    back = {line[0]: line[1:] for line in figures(page)}
    one, other = forth["worst case"], back["worst case"]
    assert one[:2] == other[1::-1]
    assert one[2].lstrip("+\u2212") == other[2].lstrip("+\u2212") and one[2] != other[2]
    assert one[3] == other[3]
    expected = float(one[0]) - float(one[1])
    assert float(one[2].split(" ")[0].replace("\u2212", "-")) == pytest.approx(expected, abs=1.5e-4)
    page.reload()
    assert {line[0]: line[1:] for line in figures(page)} == back


def test_a_row_is_not_compared_with_itself_and_other_images_are_said_to_be_others(opened):
    page = opened("small", "Compare two rows")
    page.locator("#b").select_option(index=0)
    page.locator("#a").select_option(index=0)
    assert page.locator("#verdict").inner_text() == "Choose two different rows."
    assert figures(page) == []
    page.locator("#a").select_option(index=RANKED.index("boxed"))
    page.locator("#b").select_option(index=RANKED.index("plain"))
    assert page.locator("#verdict").inner_text().startswith("Unpaired")


def test_a_detector_page_leads_to_its_comparison(opened):
    page = opened("small", "plain", "compare it with another")
    assert page.locator("#name-a").inner_text() == "plain"


def test_an_address_that_names_no_row_falls_back_to_the_first(watched, site):
    page = watched((site / "small/compare.html").as_uri() + "#a=<img src=x onerror=alert(1)>&b=nobody")
    assert page.locator("#name-a").inner_text() == RANKED[0]
    assert page.locator("img").count() == 0


def test_the_keyboard_reaches_filters_sorting_and_links(opened):
    page = opened("small")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent"))
    assert {"Skip to the content", "Compare two rows", "anyyesno", "clean AUROC", "anchor"} <= reached
    page.locator("#board").get_by_role("button", name="detector", exact=True).focus()
    page.keyboard.press("Enter")
    assert detectors(page) == sorted(RANKED)


@pytest.mark.parametrize("links", [(), ("small",), ("small", "anchor"), ("small", "Compare two rows")])
def test_everybody_can_read_every_page(opened, links):
    check_page(opened(*links), scrolls=WIDE)


def test_a_setting_hides_what_is_of_another(opened):
    page = opened("small")
    parts = page.locator("section[data-settings]")
    assert parts.count() == 2 and all(part.is_visible() for part in parts.all())
    page.locator("form.settings select").select_option("Linf 0.05")
    assert [part.locator("h2").inner_text() for part in parts.all() if part.is_visible()] == ["At Linf 0.05"]
    page.locator("form.settings select").select_option("")
    assert all(part.is_visible() for part in parts.all())


def test_two_rows_are_compared_image_by_image_where_they_have_the_same(opened):
    page = opened("small", "Compare two rows")
    page.locator("#a").select_option(index=RANKED.index("anchor"))
    page.locator("#b").select_option(index=RANKED.index("plain"))
    assert page.locator("#images circle").count() == 50
    assert page.locator("#differ").inner_text().startswith("Of 50 attacked images, ")
    rows = [line.split("\t") for line in page.locator("#images tbody tr").all_inner_texts()]
    gaps = [abs(float(row[1]) - float(row[2])) for row in rows]
    assert len(rows) == 10 and gaps == sorted(gaps, reverse=True) and gaps[0] > 0
    page.locator("#b").select_option(index=RANKED.index("boxed"))
    assert not page.locator("#images").is_visible()


def test_the_dark_scheme_is_dark(opened):
    page = opened("small", color_scheme="dark")
    ground = page.evaluate("getComputedStyle(document.querySelector('select')).backgroundColor")
    assert max(int(part) for part in ground[4:-1].split(",")) < 64


def test_the_ranking_can_be_read_without_scripts(opened):
    page = opened("small", java_script_enabled=False)
    assert shown(page) == RANKED
    assert not any(form.is_visible() for form in page.locator("form").all())
