"""Takes the picture of a report: `python -m tests.report_picture RUN/report.html PICTURE.png`.

Chromium draws the page 1440 pixels wide, with the sections of SECTIONS alone, without the list of facts, which names
folders of this machine, and with the heat maps of the first gallery.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.helpers.browser import LAUNCH, Reader, find_chromium

WIDTH = 1440
SECTIONS = ("result", "training", "confusion", "images")
COLORS = 200
MAX_BYTES = 200_000

CHOOSE = """sections => {
    for (const section of document.querySelectorAll("section")) section.hidden = !sections.includes(section.id);
    for (const gallery of document.querySelectorAll(".gallery + .gallery")) gallery.hidden = true;
    for (const other of document.querySelectorAll(".bar, #result .facts, .alert")) other.hidden = true;
    document.querySelector(".switch input").click();
}"""


def take_picture(report: Path) -> bytes:
    """Return a PNG of the beginning of a report."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=LAUNCH)
        reader = Reader(browser, report.resolve(), WIDTH, "light")
        reader.page.evaluate(CHOOSE, SECTIONS)
        shot = reader.page.screenshot(full_page=True)
        browser.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLORS)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    picture = take_picture(source)
    assert len(picture) < MAX_BYTES, f"{len(picture):,} bytes are too many for a README"
    target.write_bytes(picture)
