"""The gallery of masks in a real browser."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dinocli.report.gallery_page import GalleryImage, GalleryPage, Segment, write_gallery_page
from dinocli.report.page import Table
from dinocli.report.picture import Picture
from tests.report.conftest import boxes, until

HOSTILE = ["<img src=x onerror=alert(1)>.png", '"><script>alert(1)</script>.png']
Visit = Callable[..., Any]


def png(mode: str, colour: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (40, 20), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images: nothing in every third, the first two names hostile, the pictures beside the page in files."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "picture.png").write_bytes(png("RGB", (90, 90, 90)))
    images = []
    for n in range(12):
        name = HOSTILE[n] if n < 2 else f"strip/image_{n:02d}.png"
        original = folder / "images" / name
        original.parent.mkdir(parents=True, exist_ok=True)
        original.write_bytes(png("RGB", (120, 120, 120)))
        segments = [] if n % 3 == 2 else [0] if n % 2 else [0, 1]
        images.append(
            GalleryImage(
                name=name,
                picture=folder / "picture.png",
                overlay=Picture(png("RGBA", (230, 80, 40, 255)), "image/png") if segments else None,
                original=original,
                score=math.nan if n == 4 else float((n * 5) % 12),
                segments=segments,
                facts=[("box", "1, 2, 3, 4"), ("area", 0.125)],
                mask=original if segments else None,
                empty_reason="" if segments else "all patches look alike",
            )
        )
    legend = [Segment("scratch", (230, 80, 40)), Segment("<b>dent</b>", (40, 80, 230))]
    tables = [Table("Against the truth", ["", "value"], [["IoU", 0.414]])]
    facts, advice = [("method", "anomaly")], "Try another --method."
    page = GalleryPage("Masks", images, legend, "anomaly", tables, facts=facts, notes=["A remark."], advice=advice)
    write_gallery_page(folder / "report.html", page)
    return folder / "report.html"


def chosen(page: Any) -> list[int]:
    return list(page.evaluate("chosen"))


def test_masks_lie_on_their_pictures_as_much_as_the_slider_says(report: Path, visit: Visit) -> None:
    page = visit(report)
    first = page.locator(".tile").first
    picture, overlay = (first.locator("img").nth(n) for n in (0, 1))
    for image in (picture, overlay):
        image.wait_for()  # they are loaded one after the other
    over, under = boxes(first.locator("img"))
    assert over == under
    assert overlay.evaluate("image => getComputedStyle(image).opacity") == "0.65"
    page.fill(".opacity input >> nth=0", "30")
    assert overlay.evaluate("image => getComputedStyle(image).opacity") == "0.3"
    assert page.inner_text(".opacity output >> nth=0") == "30 %"
    page.keyboard.press("m")
    assert overlay.evaluate("image => getComputedStyle(image).opacity") == "0"
    page.keyboard.press("m")
    assert page.locator(".opacity input").evaluate_all("all => all.map((one) => one.value)") == ["30", "30"]
    assert page.locator(".tile").nth(2).locator("img").count() == 1  # an empty mask: no overlay
    assert page.locator(".heat-tool:visible").count() == 0  # there are no soft maps, and no slider for them


def test_segments_filter_and_scores_sort(report: Path, visit: Visit) -> None:
    page = visit(report)
    assert page.locator("#facets .size").all_inner_texts() == ["12", "8", "4", "4"]
    assert page.locator("#facets button:has-text('Unsure')").count() == 0
    colour = page.locator("#facets .swatch").first.evaluate("mark => getComputedStyle(mark).backgroundColor")
    assert colour == "rgb(230, 80, 40)"
    page.click("#facets button:has-text('Empty mask')")
    assert chosen(page) == [2, 5, 8, 11]
    assert page.inner_text("#advice") == "Nothing was found in these images. Try another --method."
    assert page.inner_text("#advice .option") == "--method"
    assert page.inner_text(".tile.nothing .value >> nth=0").startswith("empty")
    page.click("#facets button:has-text('dent')")
    assert not page.locator("#advice").is_visible()
    assert chosen(page) == [0, 4, 6, 10]
    assert page.inner_text(".chip span >> nth=1") == "<b>dent</b>"
    page.select_option("#order", "high")
    assert chosen(page) == [6, 10, 0, 4]  # 6, 2, 0 and none
    page.select_option("#order", "low")
    assert chosen(page) == [0, 10, 6, 4]
    page.click(".chip")
    page.select_option("#order", "name")
    assert chosen(page)[2:] == [*range(2, 12)]
    page.fill("#search", "11 strip")
    assert chosen(page) == [11]


def test_one_image_with_its_facts(report: Path, visit: Visit) -> None:
    page = visit(report)
    page.locator(".tile").first.click()
    assert page.inner_text("#viewer-name") == HOSTILE[0]
    facts = page.text_content("#viewer-facts")
    for wanted in ("scratch", "<b>dent</b>", "anomaly", "1, 2, 3, 4", "0.125"):
        assert wanted in facts
    over, under = boxes(page.locator("#viewer-overlay, #viewer-image"))
    assert over == under
    assert page.locator("#viewer-actions a").all_inner_texts() == ["Open the file", "Open the mask"]
    page.fill("#viewer .opacity input", "80")
    assert page.locator("#viewer-overlay").evaluate("image => getComputedStyle(image).opacity") == "0.8"
    page.focus("#viewer")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer-name") == "strip/image_02.png"
    for wanted in ("Empty mask", "all patches look alike", "Try another --method."):
        assert wanted in page.inner_text("#viewer-facts")
    assert not page.locator("#viewer-overlay").is_visible()
    page.keyboard.press("Escape")
    page.click("[data-tab=numbers]")
    for wanted in ("Against the truth", "0.414", "method", "A remark."):
        assert wanted in page.inner_text("#numbers")


def test_hostile_names_are_names(report: Path, visit: Visit) -> None:
    page = visit(report)
    for place, name in enumerate(HOSTILE):
        tile = page.locator(".tile").nth(place)
        assert tile.get_attribute("title") == name
        tile.click()
        assert page.inner_text("#viewer-name") == name
        assert page.get_attribute("#viewer-actions a", "href").startswith("./images/%")
        page.keyboard.press("Escape")
    assert page.locator("script").count() == 2
    assert page.locator(".name :not(.ends, .head, .tail), .tile img[src=x], [onerror], b").count() == 0


def test_a_phone_has_room_for_everything(report: Path, visit: Visit) -> None:
    for scheme in ("light", "dark"):
        page = visit(report, on_phone=True, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        first, second = boxes(page.locator(".tile"))[:2]
        assert first["y"] == second["y"]  # two in a row
        page.locator(".tile").first.tap()
        page.wait_for_selector("#viewer .opacity")  # a tap is known as one some time after the touch
        assert page.evaluate("byId('viewer').scrollWidth") == 390


def test_a_segment_that_is_not_in_the_legend_is_refused(tmp_path: Path) -> None:
    one = GalleryImage("a", Path("a"), None, Path("a"), 0.0, segments=[1])
    with pytest.raises(ValueError, match="none of the 1 segments"):
        write_gallery_page(tmp_path / "report.html", GalleryPage("", [one], [Segment("only", (0, 0, 0))]))


def test_a_gallery_without_images_is_empty(tmp_path: Path, visit: Visit) -> None:
    write_gallery_page(tmp_path / "report.html", GalleryPage("None", [], []))
    assert chosen(visit(tmp_path / "report.html")) == []


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images whose soft map rises from 0 on the left to 1 on the right; one of each verdict."""
    folder = tmp_path_factory.mktemp("judged")
    file = io.BytesIO()
    Image.linear_gradient("L").rotate(90).resize((20, 10)).save(file, "PNG")
    for verdict in ("good", "unsure", "defective"):
        (folder / f"{verdict}.png").write_bytes(png("RGB", (120, 120, 120)))
    images = [
        GalleryImage(
            name=f"{verdict}.png",
            picture=Picture(png("RGB", (90, 90, 90)), "image/png"),
            overlay=Picture(png("RGBA", (230, 80, 40, 255)), "image/png") if verdict != "good" else None,
            original=folder / f"{verdict}.png",
            score=score,
            segments=[0] if verdict != "good" else [],
            heat=Picture(file.getvalue(), "image/png"),
            truth=Picture(png("RGBA", (255, 255, 255, 40)), "image/png") if verdict == "defective" else None,
            verdict=verdict,
            furthest=furthest,
        )
        for verdict, score, furthest in (("good", 0.95, 0.7), ("unsure", 0.5, 1.1), ("defective", 0.9, 2.0))
    ]
    legend = [Segment("anomaly", (230, 80, 40))]
    page = GalleryPage("Masks", images, legend, "anomaly", threshold=0.5, defective_first=True, warning="Look twice.")
    write_gallery_page(folder / "report.html", page)
    return folder / "report.html"


SHARE = """(() => {
  const canvas = document.querySelector(".tile canvas.overlay");
  const copy = Object.assign(document.createElement("canvas"), {width: canvas.width, height: canvas.height});
  const context = copy.getContext("2d", {willReadFrequently: true});  // else Chromium complains of the second reading
  context.drawImage(canvas, 0, 0);
  const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((value, i) => i % 4 === 3 && value > 0).length / (data.length / 4);
})()"""
"""The share of the first image that its mask covers."""


def test_verdicts_filter_and_another_threshold_redraws_the_masks(judged: Path, visit: Visit) -> None:
    page = visit(judged)
    assert chosen(page) == [2, 1, 0]  # not by the score alone, which is highest for the good image
    assert page.inner_text(".warning") == "Look twice."
    first = page.locator(".tile").first
    assert first.locator("img.overlay").count() == 1
    assert first.locator("canvas.heat").count() == 1
    assert first.locator("img.truth").count() == 1
    assert "white outline: true mask" in page.inner_text(".summary")
    for value, share in (("0.5", 0.5), ("0.2", 0.8)):
        page.fill("#threshold", value)
        until(page, "document.querySelector('.tile canvas.overlay')?.width === 80")
        until(page, f"Math.abs({SHARE} - {share}) < 0.08")
    assert page.locator(".tile img.overlay").count() == 0
    assert page.inner_text("#threshold-value") == "0.20"
    first.click()
    assert page.locator("#viewer-layers canvas").count() == 2
    assert not page.locator("#viewer-overlay").is_visible()
    page.keyboard.press("Escape")
    page.click("#threshold-reset")
    assert page.locator(".tile img.overlay").count() == 2
    assert page.inner_text("#threshold-value") == "as written"
    for name, index in (("Good", 0), ("Unsure", 1), ("Defective", 2)):
        page.click(f"#facets button:has-text('{name}')")
        assert chosen(page) == [index]
    page.click("#facets button:has-text('All images')")
    for value, verdicts in (("0.9", {"Good": [0, 1], "Defective": [2], "Empty": [0, 1]}), ("0.2", {"Empty": []})):
        page.fill("#threshold", value)  # distances .7, 1.1 and 2 are .45, .71, 1.29, then 1.07, 1.68, 3.06
        until(page, f"document.querySelector('#threshold-value').value === '{float(value):.2f}'")
        for name, images in verdicts.items():
            page.click(f"#facets button:has-text('{name}')")
            assert sorted(chosen(page)) == images
        page.click("#facets button:has-text('All images')")
