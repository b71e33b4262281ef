"""The gallery of segmented images: pictures under their masks, and a slider for how much of the mask is seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dinocli.files import write_atomic
from dinocli.report.app import app_page, template
from dinocli.report.chart import Curve
from dinocli.report.page import Cell, Table, curves_html, facts_html, notes_html, table_html
from dinocli.report.picture import Picture, link, source
from dinocli.report.text import html_text, number, visible

_STYLES = ("page.css", "web/app.css", "web/gallery_page.css")
_SCRIPTS = tuple(f"web/{name}.js" for name in ("dom", "rows", "choices", "viewer", "heat", "gallery_page"))


@dataclass(frozen=True)
class Segment:
    """One entry of the legend.

    Args:
        name: Of the segment, as it is shown.
        colour: Red, green and blue, 0-255: how the overlays draw it.
    """

    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class GalleryImage:
    """One image of the gallery.

    Args:
        name: As it is shown and searched for: the relative path.
        picture: The image, small enough for a page.
        overlay: The mask over it, transparent where there is nothing, of the same proportions; None for nothing here.
        original: The image file, relative to the working directory or absolute.
        score: What images are sorted by; NaN where there is none.
        segments: Places in `GalleryPage.segments` that were found here; empty: nothing here.
        facts: (name, value) pairs: area, box, truth and the like.
        nothing: Why nothing was found here, or empty.
        mask: The label map at full size, or None.
        heat: The soft map, grey, 255 for 1, of any size; inside the page, whose scripts read its pixels.
        truth: The outline of the true mask, transparent elsewhere, of the proportions of the picture.
        verdict: `good`, `unsure` or `defective`; empty where images are not judged.
    """

    name: str
    picture: Picture | Path
    overlay: Picture | Path | None
    original: Path
    score: float
    segments: Sequence[int] = ()
    facts: Sequence[tuple[str, Cell]] = ()
    nothing: str = ""
    mask: Path | None = None
    heat: Picture | None = None
    truth: Picture | Path | None = None
    verdict: str = ""


@dataclass(frozen=True)
class GalleryPage:
    """All that the page shows; empty parts are left out.

    Args:
        title: Of the page and the browser's tab.
        images: In the order in which they are shown first.
        segments: The legend.
        score_name: What the score of an image is called, such as "anomaly".
        tables: Scores against the truth and the like.
        curves: Charts.
        facts: (name, value) pairs about how this was made.
        notes: Sentences for the careful reader.
        warning: A sentence at the top, for everybody.
        advice: What to try where nothing was found, as a sentence.
        threshold: Of the soft maps, where the masks were cut; None for masks that no one threshold makes.
        highest_first: Images are sorted by their score at first.
    """

    title: str
    images: Sequence[GalleryImage]
    segments: Sequence[Segment]
    score_name: str = "score"
    tables: Sequence[Table] = ()
    curves: Sequence[Curve] = ()
    facts: Sequence[tuple[str, Cell]] = ()
    notes: Sequence[str] = ()
    warning: str = ""
    advice: str = ""
    threshold: float | None = None
    highest_first: bool = False


def write_gallery_page(path: Path, page: GalleryPage, *, at: Path | None = None) -> None:
    """Write the gallery as one HTML file that needs nothing but the pictures that were given as files.

    The same page gives the same bytes.

    Args:
        path: Of the file, replaced as a whole; links to originals and pictures are relative to its folder.
        page: Plain data; all text is escaped here and nowhere before.
        at: Where the file will be read, if that is another place.

    Raises:
        ValueError: If an image names a segment that is not in the legend.
        OSError: If the file cannot be written.
    """
    if any(not 0 <= place < len(page.segments) for image in page.images for place in image.segments):
        raise ValueError(f"an image names none of the {len(page.segments)} segments")
    write_atomic(path, app_page(page.title, _body(page), _data(page, at or path), styles=_STYLES, scripts=_SCRIPTS))


def _data(page: GalleryPage, path: Path) -> dict[str, object]:
    return {
        "segments": [{"name": visible(segment.name), "colour": list(segment.colour)} for segment in page.segments],
        "scoreName": visible(page.score_name),
        "advice": visible(page.advice),
        "threshold": page.threshold,
        "order": "high" if page.highest_first else "given",
        "images": [_image(image, path) for image in page.images],
    }


def _image(image: GalleryImage, path: Path) -> dict[str, object]:
    return {
        "name": visible(image.name),
        "picture": source(image.picture, path),
        "overlay": None if image.overlay is None else source(image.overlay, path),
        "original": link(image.original, path),
        "mask": None if image.mask is None else link(image.mask, path),
        "score": float(f"{image.score:.4g}") if math.isfinite(image.score) else None,
        "segments": list(image.segments),
        "heat": None if image.heat is None else source(image.heat, path),
        "truth": None if image.truth is None else source(image.truth, path),
        "verdict": image.verdict,
        "nothing": visible(image.nothing),
        "facts": [
            [visible(name), visible(value) if isinstance(value, str) else number(value)] for name, value in image.facts
        ],
    }


def _body(page: GalleryPage) -> str:
    parts = [*map(table_html, page.tables), curves_html(page.curves), facts_html(page.facts), notes_html(page.notes)]
    return template(
        "web/gallery_page.html",
        title=html_text(page.title),
        summary=_summary(page),
        warning=f'<p class="warning">{html_text(page.warning)}</p>' if page.warning else "",
        numbers="\n".join(filter(None, parts)),
        viewer=template("web/viewer.html", tools=template("web/gallery_tools.html")),
    )


def _summary(page: GalleryPage) -> str:
    empty = sum(not image.segments for image in page.images)
    parts = [f"{number(len(page.images))} images", f"{number(len(page.images) - empty)} with a mask"]
    parts += [f"nothing in {number(empty)}"] if empty else []
    return html_text(" · ".join(parts))
