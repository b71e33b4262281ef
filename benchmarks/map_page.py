"""Frame times of the map page with many images, in a headless browser without a GPU.

python benchmarks/map_page.py --images 50000
"""

import argparse
import io
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from dinocli.report.map_page import MapImage, MapPage, write_map_page

MOVES = {
    "pan": "plot.pan(k % 40 < 20 ? 5 : -5, 1)",
    "zoom": "plot.zoom(k % 80 < 40 ? 1.03 : 1 / 1.03)",
}
FRAMES = 120
LOOP = """async () => {
  const [between, painting] = [[], []];
  let last = 0;
  for (let k = 0; k < %d; k++) {
    const now = await new Promise(requestAnimationFrame);
    if (last) between.push(now - last);
    last = now;
    %s;
    painting.push(plot.milliseconds);
  }
  return [between, painting];
}"""


def write_page(path: Path, count: int, groups: int) -> None:
    """Write a map of synthetic images: Gaussian clusters of unequal sizes, one thumbnail for all."""
    rng = np.random.default_rng(0)
    thumbnail = path.with_name("thumbnail.png")
    file = io.BytesIO()
    Image.new("L", (96, 96), 128).save(file, "PNG")
    thumbnail.write_bytes(file.getvalue())
    cluster_N = np.sort(rng.choice(groups, count, p=rng.dirichlet(np.full(groups, 3.0))))
    place_N2 = rng.uniform(-10, 10, (groups, 2))[cluster_N] + rng.normal(size=(count, 2))
    images = [
        MapImage(f"line/frame_{n:06d}.png", x, y, int(k), x, y, x, thumbnail, path.with_name(f"{n}.png"))
        for n, ((x, y), k) in enumerate(zip(place_N2.tolist(), cluster_N, strict=True))
    ]
    write_map_page(path, MapPage("Made up", images, [f"group {k}" for k in range(groups)]))


def row(values: list[float]) -> str:
    """Return the median and the 95th percentile."""
    return f"{statistics.median(values):8.1f}{sorted(values)[int(0.95 * len(values))]:8.1f}"


def measure(page: Any, ratio: int) -> None:
    """Print the frame times of each kind of move, with the whole map and with one cluster in sight."""
    for scope in ("all", "one group"):
        if scope != "all":
            page.click("#facets button >> nth=1")
        for name, move in MOVES.items():
            between, painting = page.evaluate(LOOP % (FRAMES, move))
            print(f"{ratio:5}  {scope:10} {name:6}{row(between)}{row(painting[2:])}", flush=True)
        page.click("#fit")
    page.click("#facets button >> nth=0")
    search, hover = (
        page.evaluate(f"(() => {{ const t = performance.now(); {work}; return performance.now() - t; }})()")
        for work in ("state.query = '77'; update()", "plot.nearest(300, 300, 14)")
    )
    print(f"{ratio:5}  search {search:.1f} ms, hover {hover:.2f} ms")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--groups", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = Path(folder) / "report.html"
        began = time.perf_counter()
        write_page(path, options.images, options.groups)
        print(f"written in {time.perf_counter() - began:.1f} s, {path.stat().st_size / 1e6:.1f} MB without thumbnails")
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        print("ratio  in sight   move   ms between frames   ms painting")
        for ratio in (1, 2):
            page = browser.new_page(viewport={"width": 1440, "height": 900}, device_scale_factor=ratio)
            began = time.perf_counter()
            page.goto(path.as_uri())
            page.evaluate("new Promise(requestAnimationFrame)")
            print(f"{ratio:5}  open {time.perf_counter() - began:.2f} s")
            measure(page, ratio)
        browser.close()


if __name__ == "__main__":
    main()
