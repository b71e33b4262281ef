"""The map in a real browser, with mouse, touch and keyboard."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from dinocli.quality.duplicates import DuplicateGroup
from dinocli.quality.image_issues import ImageIssue
from dinocli.report.chart import Curve
from dinocli.report.drift_part import DriftPart
from dinocli.report.map_page import MapImage, MapPage, write_map_page
from dinocli.report.picture import Picture
from tests.report.conftest import boxes, until

HOSTILE = "<img src=x onerror=alert(1)>.png"
HOSTILE_TOO = '"><script>alert(1)</script>.png'
CENTRES = [(0, 0), (100, 0), (0, 80)]
COLOURS = [(200, 60, 60), (60, 160, 60), (60, 60, 200)]
EACH = 20

Visit = Callable[..., Any]


def png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 16), colour).save(file, "PNG")
    return file.getvalue()


def images(folder: Path) -> list[MapImage]:
    """Three groups on three circles; the first two names are hostile, and every file exists."""
    found = []
    for cluster, (x, y) in enumerate(CENTRES):
        for turn in range(EACH):
            name = f"part {cluster}/image_{turn:02d}.png"
            if cluster == 0 and turn < 2:
                name = (HOSTILE, HOSTILE_TOO)[turn]
            original = folder / "images" / name
            original.parent.mkdir(parents=True, exist_ok=True)
            original.write_bytes(png(COLOURS[cluster]))
            angle = 2 * math.pi * turn / EACH
            found.append(
                MapImage(
                    name=name,
                    x=x + 10 * math.cos(angle),
                    y=y + 10 * math.sin(angle),
                    cluster=cluster,
                    distance=0.1 + 0.01 * turn,
                    margin=0.5 - 0.02 * turn if turn else 0.0,  # the medoid is also nearest to another group
                    outlier=math.nan if turn == 3 else 0.02 * turn + 0.001 * cluster,
                    thumbnail=Picture(png(COLOURS[cluster]), "image/png"),
                    original=original,
                    medoid=turn == 0,
                    label="odd" if turn % 2 else "even",
                    neighbours=[(EACH * cluster + (turn + n) % EACH, 1 - 0.01 * n) for n in (1, 2, 3)],
                )
            )
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("map")
    path = folder / "out" / "report.html"
    path.parent.mkdir()
    write_map_page(
        path,
        MapPage(
            title="Groups of <b>parts</b>",
            images=images(folder),
            clusters=["round", "<i>bent</i>", "third"],
            root=folder / "images",
            method="PCA: the two directions of largest variance, 41% of it",
            duplicates=[
                DuplicateGroup([40, 41, 42, 43], [True, True, False, False], [1, 1, 0.98765, math.nan]),
                DuplicateGroup([0, 1], [True, True], [1, 1]),
            ],
            copies=2,
            near=3,
            issues=[
                ImageIssue(20, "dark", 0.0812, 0.45),
                ImageIssue(20, "odd_size", 1200.0, 384.0),
                ImageIssue(22, "unreadable", math.nan, math.nan),
            ],
            drift=DriftPart(
                "the new batch differs from the old one (p = 0.004: features 0.002)",
                [HOSTILE, "part 1/image_05.png"],
                [3.25, 1.5],
                [Picture(png(COLOURS[0]), "image/png"), Picture(png(COLOURS[1]), "image/png")],
                folder / "images",
            ),
            curves=[Curve("Silhouette", "k", "", [2, 3, 4], {"silhouette": [0.2, 0.4, 0.3]}, mark=3)],
            agreement=[("NMI", 0.798)],
            facts=[("seed", 7), ("medoid", HOSTILE)],
            notes=["A remark."],
        ),
    )
    return path


def place(page: Any, index: int) -> tuple[float, float]:
    """Where an image is on the screen."""
    x, y = page.evaluate(
        "i => { const box = plot.above.getBoundingClientRect(); "
        "return [box.left + plot.across(i), box.top + plot.down(i)]; }",
        index,
    )
    return x, y


def shown(page: Any) -> int:
    return int(page.evaluate("chosen.length"))


def painted(page: Any, index: int) -> str:
    """Colour of the map at the place of an image, as soon as something is drawn there."""
    return str(
        page.evaluate(
            "async i => {"
            "const one = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });"
            "const at = (v) => -Math.round(v * plot.ratio);"
            "let pixel = [0, 0, 0, 0];"
            "for (let frame = 0; frame < 300 && pixel[3] < 255; frame++) {"
            "await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame);"
            "one.drawImage(plot.points, at(plot.across(i)), at(plot.down(i)));"
            "pixel = [...one.getImageData(0, 0, 1, 1).data]; }"
            "return '#' + pixel.slice(0, 3).map((v) => v.toString(16).padStart(2, '0')).join(''); }",
            index,
        )
    )


def variable(page: Any, name: str) -> str:
    return str(page.evaluate("n => getComputedStyle(document.documentElement).getPropertyValue(n).trim()", name))


def test_every_group_is_painted_in_its_colour_light_and_dark(report: Path, visit: Visit) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page = visit(report, scheme=scheme)
        colours.append([painted(page, 5 + EACH * cluster) for cluster in range(3)])
        assert colours[-1] == [variable(page, f"--tone-{cluster}") for cluster in range(3)]
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(252, 252, 250)" if scheme == "light" else "rgb(21, 24, 27)"
        )
    assert len({*colours[0], *colours[1]}) == 6
    page.emulate_media(color_scheme="light")
    until(page, f"plot.tones[0] === '{colours[0][0]}'")
    assert painted(page, 5) == colours[0][0]


def test_the_mouse_sees_opens_moves_and_zooms(report: Path, visit: Visit) -> None:
    page = visit(report)
    assert not page.locator("#hover").is_visible()
    page.mouse.move(*place(page, 25))
    assert page.inner_text("#hover-name") == "part 1/image_05.png"
    assert page.inner_text("#hover-group") == "<i>bent</i>"
    until(page, "byId('hover-image').naturalWidth === 24")
    page.mouse.click(*place(page, 25))
    assert page.inner_text("#viewer-name") == "part 1/image_05.png"
    assert "0.150" in page.inner_text("#viewer-facts")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()

    x, y = place(page, 25)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)
    until(page, "plot.scale > 1.2 * plot.whole")
    assert place(page, 25) == pytest.approx((x, y), abs=0.5)  # what is under the pointer stays there
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=3)
    page.mouse.up()
    assert place(page, 25) == pytest.approx((x + 30, y + 20), abs=0.5)
    assert not page.locator("#viewer").is_visible()  # a drag is not a click
    page.click("#fit")
    assert page.evaluate("plot.scale === plot.whole")
    page.set_viewport_size({"width": 1000, "height": 700})  # what was seen whole stays whole
    until(page, "plot.scale === plot.whole && plot.across(20) < plot.wide && plot.wide < 600")


def test_a_click_on_a_group_filters_map_and_gallery(report: Path, visit: Visit) -> None:
    page = visit(report)
    assert page.locator(".heading").count() == 3
    page.click("#facets button:has-text('third')")
    assert shown(page) == EACH
    assert painted(page, 45) == variable(page, "--tone-2")
    assert painted(page, 5) == variable(page, "--faint")
    assert page.locator(".subheading").all_inner_texts()[:2] == ["Typical", "At the border"]
    tiles = page.locator(".row").nth(1).locator(".tile")
    assert tiles.first.get_attribute("title") == "part 2/image_00.png"  # the medoid
    border = page.locator(".row").nth(3).locator(".tile")
    assert border.first.get_attribute("title") == "part 2/image_19.png"  # the least margin
    page.click(".chip")
    assert shown(page) == 3 * EACH
    painted(page, 0)
    left, top, *_ = page.evaluate("plot.labelBoxes.find(({ place }) => place === 1).box")
    page.click(".above", position={"x": left + 10, "y": top + 10})  # the name of the second group
    assert shown(page) == EACH
    assert page.inner_text(".chip span:first-of-type") == "<i>bent</i>"


def test_a_lasso_selects_the_images_inside(report: Path, visit: Visit) -> None:
    page = visit(report)
    x, y = place(page, 40)  # rightmost of its circle, whose radius is a tenth of the distance of the first two
    radius = page.evaluate("10 * plot.scale * plot.xs[20] / (110 + 10)")
    centre = (x - radius, y)
    around = [
        (centre[0] + 1.6 * radius * math.cos(a / 4), centre[1] + 1.6 * radius * math.sin(a / 4)) for a in range(26)
    ]
    page.mouse.move(*around[0])
    page.keyboard.down("Shift")
    page.mouse.down()
    for step in around[1:]:
        page.mouse.move(*step)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.evaluate("chosen.map((i) => DATA.cluster[i])") == [2] * EACH
    assert page.locator("#facets .size").all_inner_texts() == ["20", "0", "0", "20"]
    page.click("#lasso")
    assert page.get_attribute("#lasso", "aria-pressed") == "true"
    assert page.locator("#gallery .tile.selected").count() == page.locator("#gallery .tile").count() > 0
    page.click(".chip")  # all images again, with the selected ones marked
    assert shown(page) == 3 * EACH
    assert page.inner_text("#selected-count") == "20 selected"
    page.click("#selected-clear")
    assert not page.locator("#selection").is_visible()


def test_the_selection_is_a_list_of_paths(report: Path, visit: Visit) -> None:
    page = visit(report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    root = report.parent.parent / "images"
    plain = painted_ring(page, 5)
    page.fill("#search", "part 0/")
    page.click("#select-shown")
    page.fill("#search", "")
    assert page.evaluate("selection.count") == EACH - 2  # two have hostile names
    assert painted_ring(page, 5) > plain + 3
    page.click(".above", position=within(page, 25), modifiers=["Control"])
    page.click(".above", position=within(page, 5), modifiers=["Control"])
    wanted = [f"part 0/image_{turn:02}.png" for turn in range(2, EACH) if turn != 5] + ["part 1/image_05.png"]
    with page.expect_download() as download:
        page.click("#selected-save")
    assert download.value.suggested_filename == "selected.txt"
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines == [str(root / name) for name in wanted]
    assert all(Path(line).is_file() for line in lines)
    assert copied(page) == lines
    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject(new Error('not here')))")
    page.click("#selected-only")
    page.focus("#gallery .tile >> nth=0")
    page.keyboard.press("x")
    assert page.evaluate("selection.count") == EACH - 3
    assert page.evaluate("document.activeElement.classList.contains('tile')")
    assert len(copied(page)) == EACH - 3


def copied(page: Any) -> list[str]:
    """Copy the selection; the button says so for two seconds only, the line for screen readers until another one."""
    page.evaluate("void (byId('live').textContent = '')")
    page.click("#selected-copy")
    until(page, "byId('live').textContent === 'Copied'")
    return str(page.evaluate("navigator.clipboard.readText()")).splitlines()


def within(page: Any, index: int) -> dict[str, float]:
    x, y = page.evaluate("i => [plot.across(i), plot.down(i)]", index)
    return {"x": x, "y": y}


def painted_ring(page: Any, index: int) -> int:
    """How many pixels around a point have the colour of ink."""
    return int(
        page.evaluate(
            "async i => { await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame);"
            "const one = new OffscreenCanvas(16, 16).getContext('2d', { willReadFrequently: true });"
            "const at = (v) => 8 - Math.round(v * plot.ratio);"
            "one.drawImage(plot.points, at(plot.across(i)), at(plot.down(i)));"
            "const data = new Uint32Array(one.getImageData(0, 0, 16, 16).data.buffer);"
            "return data.filter((value) => value === pixel(plot.ink)).length; }",
            index,
        )
    )


def test_an_image_has_neighbours_and_its_file(
    report: Path, visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit(report)
    page.mouse.click(*place(page, 25))
    near = page.locator("#viewer-more .tile")
    assert [near.nth(n).get_attribute("title") for n in range(3)] == [f"part 1/image_{n:02}.png" for n in (6, 7, 8)]
    assert near.locator(".caption").all_inner_texts() == ["0.990", "0.980", "0.970"]
    assert page.inner_text("#viewer-actions a") == "Open the file"
    page.click("#viewer-actions >> text='Select'")
    assert page.inner_text("#viewer-actions >> text=Remove") == "Remove from selection"
    near.nth(1).click()
    assert page.inner_text("#viewer-name") == "part 1/image_07.png"
    assert page.evaluate("selection.indices()") == [25]
    (tmp_path / "a.png").write_bytes(png(COLOURS[0]))
    one = MapImage("a.png", 3.0, 4.0, -1, 0.0, 0.0, 0.0, Picture(png(COLOURS[0]), "image/png"), tmp_path / "a.png")
    monkeypatch.setattr("dinocli.report.map_page.is_near", lambda root, page: False)
    write_map_page(tmp_path / "far.html", MapPage("Far", [one], [], root=tmp_path))
    page = visit(tmp_path / "far.html")
    page.mouse.click(*place(page, 0))
    assert page.locator("#viewer-actions a").count() == 0
    assert page.input_value("#viewer-actions input") == str(tmp_path / "a.png")


def test_names_of_groups_stand_beside_the_points(report: Path, visit: Visit) -> None:
    page = visit(report)
    until(page, "plot.settled && plot.labelBoxes.length === 3")
    boxes = page.evaluate("plot.labelBoxes.map(({ box }) => box)")
    points = page.evaluate("[...Array(SIZE).keys()].map((i) => [plot.across(i), plot.down(i)])")
    assert not [1 for left, top, right, low in boxes for x, y in points if left < x < right and top < y < low]
    lines = "plot.labelBoxes.every((a) => plot.labelBoxes.every((b) => a === b || !crosses(a.from, a.to, b.box)))"
    assert page.evaluate(lines), "no line runs through another name"
    assert page.inner_text(".method") == "PCA: the two directions of largest variance, 41% of it"
    page.mouse.move(*place(page, 25))
    page.mouse.wheel(0, -100)
    until(page, "plot.settled && plot.scale > 1.2 * plot.whole")
    tools = page.evaluate("boxOf(document.querySelector('.tools'))")
    for left, top, right, low in page.evaluate("plot.labelBoxes.map(({ box }) => box)"):
        assert not (left < tools[2] and right > tools[0] and top < tools[3] and low > tools[1])


def test_search_goes_by_words_in_any_order(report: Path, visit: Visit) -> None:
    page = visit(report)
    page.keyboard.press("/")
    page.keyboard.type("_07 PART")
    assert shown(page) == 3
    assert page.inner_text("#count") == "3 images of 60"
    assert page.inner_text("#live") == "3 images"
    page.fill("#search", "no such name")
    assert shown(page) == 0
    assert page.inner_text("#gallery") == "No image passes the filters."
    page.press("#search", "Escape")
    assert shown(page) == 3 * EACH


def test_the_keyboard_reaches_everything(report: Path, visit: Visit) -> None:
    page = visit(report)
    page.focus(".above")
    page.keyboard.press("ArrowRight")  # the first press finds an image, the next ones walk
    here = page.evaluate("plot.current")
    page.keyboard.press("ArrowRight")
    there = page.evaluate("plot.current")
    assert there != here
    assert page.evaluate("([a, b]) => plot.xs[b] > plot.xs[a]", [here, there])
    assert page.evaluate("DATA.name[plot.current]") in page.inner_text("#live")
    page.keyboard.press("Enter")
    assert page.evaluate("byId('viewer').open")
    name = page.inner_text("#viewer-name")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer-name") != name
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement === plot.above")
    page.keyboard.press("+")
    assert page.evaluate("plot.scale > plot.whole")
    page.keyboard.press("0")

    page.focus("#facets button")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert shown(page) == EACH
    assert page.evaluate("document.activeElement.innerText").startswith("round")
    page.focus(".tile >> nth=0")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.title") == "part 0/image_19.png"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.title") == "part 0/image_18.png"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.title") == "part 0/image_18.png"

    page.focus("[role=tab][tabindex='0']")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("state.tab") == "outliers"
    assert page.evaluate("chosen.slice(0, 2).concat(chosen.at(-1))") == [19, 18, 3]  # what has no score comes last


def test_hostile_names_are_names(report: Path, visit: Visit) -> None:
    page = visit(report)
    for name in (HOSTILE, HOSTILE_TOO):
        page.fill("#search", name)
        assert shown(page) == 1
        tile = page.locator("#gallery .tile")
        assert tile.get_attribute("title") == name
        tile.click()
        assert page.inner_text("#viewer-name") == name
        address = page.get_attribute("#viewer-actions a", "href")
        assert unquote(address) == f"../images/{name}"
        assert not set('<>"') & set(address)
        until(page, "byId('viewer-image').src.startsWith('file:')")  # the file itself was found by its link
        page.keyboard.press("Escape")
    page.fill("#search", "")
    page.click("[data-tab=numbers]")
    assert HOSTILE in page.inner_text("#numbers")
    assert page.locator("script").count() == 2
    assert (
        page.locator("h1 *, td *, .name :not(.ends, .head, .tail), #viewer-name *, [onerror], img[src=x]").count() == 0
    )
    assert page.inner_text("h1") == "Groups of <b>parts</b>"


def test_the_page_itself_forbids_other_scripts_and_the_network(report: Path, window: Any) -> None:
    window.goto(report.as_uri())
    window.evaluate(
        "window.refused = [];"
        "addEventListener('securitypolicyviolation', ({ effectiveDirective }) => refused.push(effectiveDirective));"
        "document.body.insertAdjacentHTML('beforeend', '<img src=data: onerror=window.harm=1>');"
        "document.body.append(Object.assign(document.createElement('script'), { text: 'window.harm = 1' }));"
        "fetch('http://127.0.0.1:1/').then(() => (window.harm = 1)).catch(() => 0)"
    )
    for part in ("script-src-attr", "script-src-elem", "connect-src"):
        until(window, f"refused.includes('{part}')")
    assert window.evaluate("window.harm") is None
    window.goto("about:blank")


def test_exact_and_near_copies_are_apart_with_the_file_to_keep(report: Path, visit: Visit) -> None:
    page = visit(report)
    assert page.inner_text(".summary") == "60 images · 3 groups · 2 exact copies · 3 pairs of near-copies"
    page.click("[data-tab=duplicates]")
    assert page.inner_text("[data-tab=duplicates]") == "Duplicates2"
    assert page.locator("#gallery h3").all_inner_texts() == ["Exact copies: 1 group", "Near-copies: 1 group"]
    captions = [caption.split(" · ")[0] for caption in page.locator("#gallery .caption").all_inner_texts()]
    assert captions == ["keep", "identical", "keep", "identical", "cosine 0.988", "linked"]
    left, right, *_ = boxes(page.locator("#gallery .tile"))
    assert left["y"] == right["y"]
    assert left["right"] < right["x"]
    page.click("#gallery .tile >> nth=1")
    assert page.inner_text("#viewer-place") == "2 of 6"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer-name") == "part 2/image_00.png"  # as in the list
    page.keyboard.press("Escape")
    page.click(".heading:has-text('Near') button")
    assert page.evaluate("selection.indices()") == [41, 42, 43]
    page.fill("#search", "image_41")
    assert page.inner_text("#gallery") == "No group passes the filters."
    page.fill("#search", "part 2/")
    assert page.inner_text("#count") == "1 group of 2"
    page.click("#gallery .tile >> nth=2")
    assert page.inner_text("#viewer-more h3 >> nth=1") == "4 duplicates, the file to keep first"


def test_issues_are_listed_by_kind(report: Path, visit: Visit) -> None:
    page = visit(report)
    page.click("[data-tab=issues]")
    assert page.inner_text("[data-tab=issues]") == "Issues2"
    assert page.locator("#gallery h3").all_inner_texts() == [
        "Unreadable: 1 image",
        "Dark: 1 image",
        "Odd size: 1 image",
    ]
    captions = ["brightness, usually 0.450", "pixels, usually 384.0"]
    assert page.locator(".subheading").all_inner_texts() == captions
    assert page.locator("#gallery .caption").all_inner_texts() == ["image_02.png", "0.0812", "1,200"]
    page.fill("#search", "image_00")
    assert page.inner_text("#count") == "1 image of 2"
    page.click("#gallery .tile >> nth=0")
    assert "dark, odd size" in page.inner_text("#viewer-facts")
    page.keyboard.press("Escape")
    page.fill("#search", "image_01")
    assert page.inner_text("#gallery") == "No image passes the filters."


def test_drift_shows_its_verdict_and_the_most_different_images(report: Path, visit: Visit) -> None:
    page = visit(report)
    page.click("[data-tab=drift]")
    assert page.inner_text("[data-tab=drift]") == "Drift"
    assert "The new batch differs from the old one (p = 0.004: features 0.002)." in page.inner_text("#drift")
    assert page.locator("#drift figcaption").all_inner_texts() == [f"3.250 · {HOSTILE}", "1.500 · part 1/image_05.png"]
    until(page, "[...document.querySelectorAll('#drift img')].every((image) => image.naturalWidth === 24)")
    links = page.locator("#drift a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    assert [unquote(address) for address in links] == [f"../images/{HOSTILE}", "../images/part 1/image_05.png"]
    page.click("#facets button:has-text('third')")
    assert not page.locator("#drift").is_visible()
    assert page.locator("#gallery .tile").count() > 0


def test_a_page_without_findings_has_no_tab_of_them(tmp_path: Path, visit: Visit) -> None:
    write_map_page(tmp_path / "r.html", MapPage("", images(tmp_path), ["a", "b", "c"]))
    page = visit(tmp_path / "r.html")
    assert page.locator("[role=tab]").all_inner_texts() == ["Gallery", "Outliers", "Numbers"]


def test_numbers_are_there(report: Path, visit: Visit) -> None:
    page = visit(report)
    page.click("[data-tab=numbers]")
    words = page.inner_text("#numbers")
    for wanted in ("Silhouette", "NMI", "0.798", "Groups against labels", "medoid", "seed", "A remark."):
        assert wanted in words
    assert page.locator("#numbers .mark").count() == 1
    page.click("[data-facet=label]")
    page.click("#facets button:has-text('odd')")
    assert shown(page) == 3 * EACH / 2


def test_a_phone_has_room_for_everything(report: Path, visit: Visit) -> None:
    page = visit(report, on_phone=True)
    for tab in ("Numbers", "Duplicates", "Drift", "Gallery"):
        page.tap(f"[role=tab]:has-text('{tab}')")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert painted(page, 5) == variable(page, "--tone-0")
    page.touchscreen.tap(*place(page, 25))
    page.wait_for_selector("#viewer")  # a tap is known as one some time after the touch
    assert page.inner_text("#viewer-name") == "part 1/image_05.png"
    assert page.evaluate("byId('viewer').getBoundingClientRect().width") == 390


def test_only_visible_rows_of_many_images_are_built(tmp_path: Path, visit: Visit) -> None:
    (tmp_path / "thumbs").mkdir()
    (tmp_path / "thumbs/one.png").write_bytes(png(COLOURS[0]))
    many = [
        MapImage(f"{n}.png", n % 100, n // 100, 0, n, n, n, tmp_path / "thumbs/one.png", tmp_path / f"{n}.png")
        for n in range(1000)
    ]
    write_map_page(tmp_path / "report.html", MapPage("Many", many, ["all"]))
    page = visit(tmp_path / "report.html")
    page.click("#facets button:has-text('all') >> nth=1")
    assert 8 <= page.locator(".tile").count() < 200
    page.locator("#gallery").evaluate("box => box.scrollTo(0, box.scrollHeight)")
    page.wait_for_selector(".tile[title='999.png']")
    assert page.locator(".tile").count() < 200


@pytest.mark.parametrize("size", [0, 1])
def test_maps_of_no_image_and_of_one_image(size: int, tmp_path: Path, visit: Visit) -> None:
    (tmp_path / "a.png").write_bytes(png(COLOURS[0]))
    one = MapImage(
        "a.png", 3.0, 4.0, -1, math.nan, math.nan, math.nan, Picture(png(COLOURS[0]), "image/png"), tmp_path / "a.png"
    )
    write_map_page(tmp_path / "report.html", MapPage("Little", [one] * size, []))
    page = visit(tmp_path / "report.html")
    assert shown(page) == size
    assert page.inner_text(".summary") == ("0 images · 0 groups", "1 image · 0 groups · 1 in no group")[size]
    if size:
        page.mouse.click(*place(page, 0))
        assert page.inner_text("#viewer-name") == "a.png"


def test_indices_out_of_range_are_rejected(tmp_path: Path) -> None:
    one = MapImage("a", 0, 0, 1, 0, 0, 0, Path("a"), Path("a"))
    with pytest.raises(ValueError, match="none of the 1 groups"):
        write_map_page(tmp_path / "r.html", MapPage("", [one], ["only"]))
    lost = MapImage("a", 0, 0, 0, 0, 0, 0, Path("a"), Path("a"), neighbours=[(1, 0.5)])
    with pytest.raises(ValueError, match="a neighbour is beyond the 1 images"):
        write_map_page(tmp_path / "r.html", MapPage("", [lost], ["a"]))
    beyond = [DuplicateGroup([0, 1], [True, False], [1, 0.9])]
    with pytest.raises(ValueError, match="a duplicate is beyond the 1 images"):
        write_map_page(tmp_path / "r.html", MapPage("", [one], ["a", "b"], duplicates=beyond))
    far = MapImage("a", math.nan, 0, 0, 0, 0, 0, Path("a"), Path("a"))
    with pytest.raises(ValueError, match="no place on the map"):
        write_map_page(tmp_path / "r.html", MapPage("", [far], ["a"]))
    assert not (tmp_path / "r.html").exists()


def test_the_same_page_gives_the_same_bytes(report: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_map_page(tmp_path / name, MapPage("", images(tmp_path), ["a", "b", "c"]))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    ("clear", "words"), [(False, "3 groups, not clear ·"), (True, "3 groups ·"), (None, "3 groups ·")]
)
def test_groups_that_are_not_clear_are_named_so_beside_their_number(
    tmp_path: Path, clear: bool | None, words: str
) -> None:
    page = MapPage("", images(tmp_path), ["a", "b", "c"], clear=clear, near=None)
    write_map_page(tmp_path / "r.html", page)
    written = (tmp_path / "r.html").read_text("utf-8")
    assert words in written
    assert "· too many near-copies to list<" in written
