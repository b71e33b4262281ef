import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

VIEWPORT = {"width": 1440, "height": 900}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FRAMES = """count => new Promise(done => {
    const next = () => (count-- ? requestAnimationFrame(next) : done());
    next();
})"""


def boxes(locator: Any) -> list[dict[str, float]]:
    """Where the elements lie, read at once: `bounding_box` is None where a page draws an element again meanwhile."""
    return list(locator.evaluate_all("all => all.map((one) => one.getBoundingClientRect().toJSON())"))


def until(page: Any, condition: str) -> None:
    """Wait for what happens soon (the browser's own way to wait for a condition is forbidden by the page's policy)."""
    limit = time.monotonic() + 30  # of a busy machine
    while not page.evaluate(condition):
        assert time.monotonic() < limit, f"never happened: {condition}"
        page.wait_for_timeout(20)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests of pages."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with the extra `dev`")
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip("pages are tested in a browser: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def window(browser: Any) -> Any:
    """One window of the usual size: to open one takes longer than most tests."""
    return browser.new_context(viewport=VIEWPORT).new_page()


@pytest.fixture(scope="package")
def phone(browser: Any) -> Any:
    """One window of a phone."""
    return browser.new_context(**PHONE).new_page()


@pytest.fixture
def visit(window: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Open a file in the window, or on the phone; nothing is fetched from elsewhere, and nothing logged."""
    opened: list[Any] = []
    trouble: list[str] = []
    requests: list[str] = []

    def refuse(dialog: Any) -> None:
        trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    ears: dict[str, Callable[[Any], None]] = {
        "request": lambda request: requests.append(request.url),
        "console": lambda message: trouble.append(f"console: {message.text}"),
        "pageerror": lambda error: trouble.append(f"error: {error}"),
        "dialog": refuse,
    }

    def visit(path: Path, *, on_phone: bool = False, scheme: str = "light") -> Any:
        page = request.getfixturevalue("phone") if on_phone else window
        if page not in opened:
            opened.append(page)
            page.set_default_timeout(30_000)  # of a busy machine
            for event, ear in ears.items():
                page.on(event, ear)
        page.emulate_media(color_scheme=scheme)
        page.goto(path.resolve().as_uri())
        page.evaluate(FRAMES, 4)  # the observers of sizes have been called once, and what they draw again is drawn
        return page

    yield visit
    for page in opened:
        for event, ear in ears.items():
            page.remove_listener(event, ear)
        page.goto("about:blank")
        if page is window:
            page.set_viewport_size(VIEWPORT)
            page.mouse.move(0, 0)
    assert not trouble
    assert requests
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
