"""Interactive gallery of segmented images: pictures with masks, heat maps, filters and a threshold slider."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dinocli.files import write_atomic
from dinocli.report.app import app_page, template
from dinocli.report.page import Cell, Part, Table
from dinocli.report.page_parts import FactList, NoteList
from dinocli.report.picture import Picture, link, source
from dinocli.report.text import html_text, number, sentence_html, visible

_STYLES = ("page.css", "web/app.css", "web/gallery_page.css")
_SCRIPTS = tuple(f"web/{name}.js" for name in ("dom", "rows", "choices", "viewer", "heat", "gallery_page"))


UNSURE_FACTOR = 1.25
"""An image is unsure if its furthest patch is within this factor of the threshold."""


@dataclass(frozen=True)
class Segment:
    """A legend entry.

    Args:
        name: Displayed name of the segment.
        colour: Colour in the overlays: red, green and blue, 0-255.
    """

    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class GalleryImage:
    """An image of the gallery.

    Args:
        name: Relative path, displayed and searched.
        picture: The image as a thumbnail.
        overlay: Mask with transparent background, same aspect ratio as `picture`; None if the mask is empty.
        original: The image file, relative to the working directory or absolute.
        score: Sort key; NaN for none.
        segments: Indices into `GalleryPage.segments` of the segments in the mask; empty if the mask is empty.
        facts: (name, value) pairs, such as area, box and scores against the truth.
        empty_reason: Reason for an empty mask; empty for none.
        mask: File of the label map at full size, or None.
        heat: Soft map as a grey image, 255 for 1, of any size; always inside the page, whose scripts read its pixels.
        truth: Outline of the true mask with transparent background, same aspect ratio as `picture`.
        verdict: `good`, `unsure` or `defective`; empty if the method does not judge images.
        furthest: Largest distance of a patch in units of the threshold, which the slider moves; NaN for none.
    """

    name: str
    picture: Picture | Path
    overlay: Picture | Path | None
    original: Path
    score: float
    segments: Sequence[int] = ()
    facts: Sequence[tuple[str, Cell]] = ()
    empty_reason: str = ""
    mask: Path | None = None
    heat: Picture | None = None
    truth: Picture | Path | None = None
    verdict: str = ""
    furthest: float = float("nan")


@dataclass(frozen=True)
class GalleryPage:
    """Content of a gallery page; empty parts are left out.

    Args:
        title: Title of the page and of the browser tab.
        images: The images, in their initial order.
        segments: The legend.
        score_name: Name of the image score, such as "anomaly".
        tables: Tables, such as scores against the truth.
        facts: (name, value) pairs about method and settings.
        notes: Explanatory sentences.
        warning: Sentence at the top of the page.
        advice: Sentence about what to try if masks are empty.
        threshold: Threshold of the soft maps that gave the masks; None if the method has no single threshold.
        defective_first: Show defective images first, by descending score.
    """

    title: str
    images: Sequence[GalleryImage]
    segments: Sequence[Segment]
    score_name: str = "score"
    tables: Sequence[Table] = ()
    facts: Sequence[tuple[str, Cell]] = ()
    notes: Sequence[str] = ()
    warning: str = ""
    advice: str = ""
    threshold: float | None = None
    defective_first: bool = False


def write_gallery_page(path: Path, page: GalleryPage, *, at: Path | None = None) -> None:
    """Write the gallery as an HTML file; only pictures that are given as files stay outside.

    Equal pages give equal bytes.

    Args:
        path: Output file, replaced atomically; links to originals and pictures are relative to its folder.
        page: Content with unescaped text.
        at: Final path of the file, for links, if it differs from `path`.

    Raises:
        ValueError: An image has a segment that is not in the legend.
        OSError: The file cannot be written.
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
        "order": "defective" if page.defective_first else "given",
        "unsureFactor": UNSURE_FACTOR,
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
        "furthest": float(f"{image.furthest:.4g}") if math.isfinite(image.furthest) else None,
        "emptyReason": visible(image.empty_reason),
        "facts": [
            [visible(name), visible(value) if isinstance(value, str) else number(value)] for name, value in image.facts
        ],
    }


def _body(page: GalleryPage) -> str:
    sections: tuple[Part, ...] = (*page.tables, FactList(page.facts), NoteList(page.notes))
    parts = [section.html() for section in sections]
    return template(
        "web/gallery_page.html",
        title=html_text(page.title),
        summary=_summary(page),
        warning=f'<p class="warning">{sentence_html(page.warning)}</p>' if page.warning else "",
        numbers="\n".join(filter(None, parts)),
        viewer=template("web/viewer.html", tools=template("web/gallery_tools.html")),
    )


def _summary(page: GalleryPage) -> str:
    empty = sum(not image.segments for image in page.images)
    parts = [f"{number(len(page.images))} images", f"{number(len(page.images) - empty)} with a mask"]
    parts += [f"{number(empty)} empty"] if empty else []
    parts += ["white outline: true mask"] if any(image.truth for image in page.images) else []
    return html_text(" · ".join(parts))
