"""Make the pictures of the README from what the demo left: four PNG files in docs/images.

    make demo
    python demo/pictures.py

Needs Chromium, and playwright of the extra `dev`. Run it again after a change to a page, and look at the pictures.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

RESULTS, IMAGES = Path("demo-results"), Path("docs/images")
PAGES = {
    "report.png": (RESULTS / "run" / "report.html", 1000, 900),
    "map.png": (RESULTS / "map.html", 1200, 800),
    "masks.png": (RESULTS / "defects" / "report.html", 1200, 800),
}
"""Picture -> page, and the size of the window in pixels."""

SHEET = RESULTS / "search.png"
WIDTH, COLOURS = 900, 96
"""Of the pictures: pixels, and entries of their palettes."""


def small(data: bytes) -> bytes:
    """Scale a picture to the README's width, and give it a palette."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    scaled = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    scaled.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def screenshots(browser: Any) -> dict[str, bytes]:
    """Look at each page as a light desktop browser shows it, without any network."""
    found = {}
    for name, (path, width, height) in PAGES.items():
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.goto(path.resolve().as_uri())
        page.wait_for_timeout(1500)  # the map draws itself in several frames
        found[name] = page.screenshot()
        page.close()
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium or not SHEET.is_file():
        sys.exit("install Chromium, and run `make demo` first")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found = {**screenshots(browser), "search.png": SHEET.read_bytes()}
        browser.close()
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, data in found.items():
        (IMAGES / name).write_bytes(small(data))
        sys.stdout.write(f"{IMAGES / name}  {(IMAGES / name).stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
