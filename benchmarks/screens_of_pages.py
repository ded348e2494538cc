"""The screenshots of the documentation, and how many screens of a report come before its details.

bench run --detector msp,energy,mahalanobis,gat.k0,oe,gat --threat pgd-l2,pgd-linf --eps l2:0.5,1,2 \
    --eps linf:4/255,8/255,16/255 --limit 100 --steps 20 --restarts 1 --diagnose --out runs
bench report runs --to report.html
bench leaderboard --html site
python benchmarks/screens_of_pages.py --report report.html --site site --out docs/images
"""

import argparse
import io
from pathlib import Path

from PIL import Image

WIDTHS = {1400: 900, 390: 844}
"""Width of a window -> its height."""

COLOURS = 128
"""Of a screenshot: enough for text and lines, and a third of the bytes."""


def main() -> None:
    """Two screenshots a page, and a line a width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, required=True, help="what `bench report` wrote")
    parser.add_argument("--site", type=Path, required=True, help="the folder that `bench leaderboard --html` wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="the folder of the screenshots")
    parser.add_argument("--chromium", default=None, help="a Chromium of the system; else playwright's own")
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    pages = {"report": asked.report, "leaderboard": asked.site / "index.html"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.chromium, args=["--no-sandbox"])
        for name, path in pages.items():
            for width, height in WIDTHS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(path.resolve().as_uri())
                whole = page.evaluate("document.documentElement.scrollHeight")
                first = "document.querySelector('details')?.getBoundingClientRect().top + scrollY"
                top = page.evaluate(f"{first} || {whole}")
                above, every = top / height, whole / height
                print(f"{name}, {width} x {height}: {above:.2f} screens before details, {every:.2f} in all")
                shot = Image.open(io.BytesIO(page.screenshot()))
                ending = "" if width > 1000 else "-phone"
                shot.convert("RGB").quantize(COLOURS).save(asked.out / f"{name}{ending}.png", optimize=True)
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
