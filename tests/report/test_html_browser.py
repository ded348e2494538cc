"""The page in a browser: it sorts by mouse and keyboard, can be read on a phone and in the dark, and loads nothing."""

from functools import partial

import pytest
from html_cells import make_cell, page_of
from typer.testing import CliRunner

from bench.cli.app import app
from bench.report.html.page import render_page

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def address(make_meta, make_set, tmp_path_factory):
    metas = [
        make_meta(detector, eps=eps, gradients=gradients, sets={"letters": make_set(auroc)})
        for detector, eps, auroc, gradients in (
            ("msp", None, 0.95, 0), ("gat", 1.0, 0.9, 12_300), ("energy", 1.0, 0.0, 950), ("odin", 2.0, 1.0, 1_250_000),
        )
    ]  # fmt: skip
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render_page(page_of(*map(make_cell, metas))), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def opened(watched, address):
    """Opens the page, with nothing to complain of."""
    return partial(watched, address)


def column(page, number):
    return page.locator("#tables table.sortable").first.locator(f"tbody tr > :nth-child({number})").all_inner_texts()


def button(page, name):
    return page.locator("#tables table.sortable").first.get_by_role("button", name=name, exact=True)


def test_a_click_sorts_by_the_attacked_figure_and_a_second_click_turns_it_round(opened):
    page = opened()
    assert column(page, 1) == ["msp", "gat", "energy", "odin"]
    button(page, "letters").click()
    assert column(page, 1) == ["odin", "msp", "gat", "energy"]  # 0.985-1, 0.950, 0.900, 0-0.015
    button(page, "letters").click()
    assert column(page, 1) == ["energy", "gat", "msp", "odin"]
    assert page.locator('#tables table.sortable >> nth=0 >> th[aria-sort="ascending"]').inner_text() == "letters"


def test_counts_are_sorted_by_their_size(opened):
    page = opened()
    button(page, "gradients").click()
    assert column(page, 1) == ["odin", "gat", "energy", "msp"]  # 1.25M, 12.3k, 950, 0


def test_what_has_no_figure_comes_last_both_ways(opened):
    page = opened()
    button(page, "eps").click()
    assert column(page, 1) == ["odin", "gat", "energy", "msp"]
    button(page, "eps").click()
    assert column(page, 1) == ["gat", "energy", "odin", "msp"]


def test_the_keyboard_sorts_too(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the tables"
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "BUTTON":
            break
    assert page.evaluate("document.activeElement.textContent") == "detector"
    page.keyboard.press("Enter")
    assert column(page, 1) == ["energy", "gat", "msp", "odin"]
    page.keyboard.press("Space")
    assert column(page, 1) == ["odin", "msp", "gat", "energy"]


def test_details_open_from_the_keyboard(opened):
    page = opened()
    details = page.locator("#hashes details").first
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.locator("dl").is_visible()


def test_on_a_phone_only_tables_scroll_sideways(opened):
    page = opened(viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("document.querySelector('#tables .scroll').scrollWidth") > PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_in_light_and_dark(opened, scheme):
    page = opened(color_scheme=scheme)
    luminance = page.evaluate(
        """() => ["color", "backgroundColor"].map((name) => {
            const parts = getComputedStyle(document.body)[name].match(/\\d+/g).map((v) => v / 255);
            const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        })"""
    )
    ink, ground = luminance
    assert (ink < ground) == (scheme == "light")
    assert (max(luminance) + 0.05) / (min(luminance) + 0.05) >= 7  # WCAG 2.2, level AAA


def test_figures_and_images_are_there(opened):
    page = opened()
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    widths = page.locator("img").evaluate_all("all => all.map((one) => one.naturalWidth)")
    assert len(widths) >= 8 and min(widths) > 0


def test_the_page_can_be_read_without_scripts(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("#tables table.sortable").first.is_visible()


@pytest.mark.slow
def test_a_report_of_real_cells_can_be_shown_in_the_documentation(browser, tmp_path, screenshots):
    options = ["--detector", "msp,energy,oe,gat", "--threat", "pgd-l2", "--eps", "0.5,1,2", "--limit", "60"]
    small = ["--steps", "20", "--restarts", "1", "--diagnose", "--quiet", "--out", str(tmp_path / "runs")]
    assert CliRunner().invoke(app, ["run", *options, *small]).exit_code == 0
    page_file = tmp_path / "report.html"
    assert CliRunner().invoke(app, ["report", str(tmp_path / "runs"), "--out", str(page_file)]).exit_code == 0
    page = browser.new_page(viewport={"width": 1180, "height": 1700})
    page.goto(page_file.as_uri())
    page.screenshot(path=screenshots / "report.png")
    page.close()
    assert (screenshots / "report.png").stat().st_size > 50_000
