import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

VIEWPORT = {"width": 1440, "height": 900}
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


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


@pytest.fixture
def visit(browser: Any, window: Any) -> Iterator[Callable[..., Any]]:
    """Open a file, in a window of its own if it has settings; nothing is fetched from elsewhere, and nothing logged."""
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

    def visit(path: Path, **settings: Any) -> Any:
        page = browser.new_context(**{"viewport": VIEWPORT, **settings}).new_page() if settings else window
        page.set_default_timeout(5000)
        for event, ear in ears.items():
            page.on(event, ear)
        opened.append(page)
        page.goto(path.resolve().as_uri())
        return page

    yield visit
    for page in opened:
        if page is not window:
            page.context.close()
            continue
        for event, ear in ears.items():
            page.remove_listener(event, ear)
        page.set_viewport_size(VIEWPORT)
        page.goto("about:blank")
        page.mouse.move(0, 0)
    assert not trouble
    assert requests
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
