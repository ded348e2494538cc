"""What every page must bear: both widths, both schemes, the keyboard, and a machine's look at contrast and names."""

import pytest

WIDTHS = {1400: 900, 390: 844}
"""Width of a window -> its height."""

TOO_WIDE = """() => [...document.querySelectorAll(".scroll")]
    .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.getAttribute("aria-label"))"""

BROKEN = (
    """() => [...document.querySelectorAll("img")].filter((one) => !one.complete || one.naturalWidth === 0).length"""
)


def check_page(page, *, scrolls=()):
    """Look at an open page at both widths and in both schemes, everything unfolded.

    Args:
        page: The page.
        scrolls: Labels of tables that may be wider than a wide window; on a phone none may.
    """
    axe_api = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for (width, height), scheme in zip(WIDTHS.items(), ("light", "dark"), strict=True):
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        cut = set(page.evaluate(TOO_WIDE)) - (set(scrolls) if width > 1000 else set())
        assert not cut, f"at {width} pixels these tables are cut off: {sorted(cut)}"
        found = axe_api.Axe().run(page)
        said = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found.response["violations"]]
        assert not said, f"at {width} pixels, {scheme}: {said}"
    assert page.evaluate(BROKEN) == 0


def screens_above_details(page):
    """For each width, how many screens a reader passes before the first folded part."""
    found = {}
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        top = page.evaluate("document.querySelector('details').getBoundingClientRect().top + scrollY")
        found[width] = top / height
    return found
