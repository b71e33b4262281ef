"""HTML report of `segment`: thumbnails with masks, written per image, then collected in one page."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.data.canvas import Canvas, rgb, scaled, shrunk_size
from dinocli.data.mask_images import (
    jpeg,
    label_colour,
    label_overlay,
    map_png,
    png,
    truth_outline,
    write_image_file,
)
from dinocli.report.gallery_page import GalleryImage, GalleryPage, Segment, write_gallery_page
from dinocli.report.page import Cell, Table
from dinocli.report.picture import Picture
from dinocli.segmentation.regions import ImageRecord

THUMBNAIL_SHORT_SIDE = 320
"""Shorter side of a thumbnail, pixels."""

HEAT_SHORT_SIDE = 96
"""Largest shorter side of a soft map in the page, cells; a default grid has 60, and the page interpolates."""

MAX_HEAT_IMAGES = 2000
"""Number of images up to which the page holds soft maps, of a few kilobytes each."""

UNSURE_FACTOR = 1.25
"""An image is unsure if its furthest patch is within this factor of the threshold."""

VERDICT_NOTE = (
    "Defective, unsure and good follow from the patch of an image that is furthest from those of other images: "
    f"unsure is within a factor of {UNSURE_FACTOR} of the threshold, with or without a mask."
)

FACT_NAMES = {"furthest": "furthest patch (1 is the threshold)"}
"""Names on the page for metrics of an image."""

MAX_EMBEDDED_IMAGES = 300
"""Number of images up to which the page holds its pictures, and can be sent as one file."""


@dataclass(frozen=True)
class GalleryReport:
    """Content of the page besides its images.

    Args:
        title: Title of the page.
        names: Category of each label.
        facts: Method and settings.
        scores: Scores against the truth: name -> value and bounds of the 95 % interval.
        notes: Explanatory sentences.
        score_name: Name of the image score.
        threshold: Threshold of the soft maps; None if the method has no single threshold.
        warning: Sentence at the top of the page.
        advice: Sentence about what to try if masks are empty.
    """

    title: str
    names: Mapping[int, str]
    facts: Mapping[str, Cell]
    scores: Mapping[str, tuple[float, float, float]]
    notes: tuple[str, ...]
    score_name: str = "score"
    threshold: float | None = None
    warning: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Thumbnail:
    """Data of an image in the report.

    Args:
        picture_CHW: The image.
        labels_HW: Its mask.
        heat_hw: Its soft map on the patch grid; None if the page shows none.
        truth_HW: Its true mask; None if unknown.
    """

    picture_CHW: Canvas
    labels_HW: NDArray[np.uint16]
    heat_hw: NDArray[np.float32] | None = None
    truth_HW: NDArray[np.bool_] | None = None


def write_thumbnail(folder: MaskFolder, stem: str, image: Thumbnail) -> None:
    """Write the thumbnail of an image, and its overlay, soft map and truth outline if there are any."""
    height, width = image.labels_HW.shape
    size = shrunk_size(height, width, THUMBNAIL_SHORT_SIDE)
    small = jpeg(Image.fromarray(rgb(scaled(image.picture_CHW, size))))
    write_image_file(folder.gallery / "pictures", stem, ".jpg", small)
    if image.labels_HW.any():
        tinted = label_overlay(_nearest(image.labels_HW, size))
        write_image_file(folder.gallery / "masks", stem, ".png", png(Image.fromarray(tinted)))
    if image.heat_hw is not None:
        h, w = image.heat_hw.shape
        heat = Image.fromarray(image.heat_hw).resize(shrunk_size(h, w, HEAT_SHORT_SIDE)[::-1], Image.Resampling.BOX)
        write_image_file(folder.gallery / "heat", stem, ".png", map_png(np.asarray(heat)))
    if image.truth_HW is not None and image.truth_HW.any():
        outline = truth_outline(_nearest(image.truth_HW.astype(np.uint16), size) > 0)
        write_image_file(folder.gallery / "truth", stem, ".png", png(Image.fromarray(outline)))


def _nearest(labels_HW: NDArray[np.uint16], size: tuple[int, int]) -> NDArray[np.uint16]:
    """Resize a label map without interpolating labels."""
    return np.asarray(Image.fromarray(labels_HW).resize(size[::-1], Image.Resampling.NEAREST), np.uint16)


def remove_thumbnails(folder: MaskFolder) -> None:
    """Remove the thumbnail files, once a page holds the pictures."""
    shutil.rmtree(folder.gallery, ignore_errors=True)


def write_report(
    folder: MaskFolder,
    records: Iterable[ImageRecord],
    original: Callable[[str], Path],
    report: GalleryReport,
    *,
    inside: bool,
) -> None:
    """Write the page.

    Args:
        folder: Output folder with the thumbnails.
        records: Records of all images.
        original: Returns the file of an image by its name.
        report: Content besides the images.
        inside: Store the pictures in the page; otherwise it links to their files.
    """
    places = {label: index for index, label in enumerate(report.names)}
    heat = sum(1 for _ in records) <= MAX_HEAT_IMAGES
    page = GalleryPage(
        title=report.title,
        score_name=report.score_name,
        threshold=report.threshold if heat else None,
        highest_first=report.threshold is not None,
        images=[_entry(folder, record, original(record.image), places, inside=inside, heat=heat) for record in records],
        segments=[Segment(name, label_colour(label)) for label, name in report.names.items()],
        tables=[_table(report.scores)] if report.scores else [],
        facts=list(report.facts.items()),
        notes=(*report.notes, *([VERDICT_NOTE] if report.threshold is not None else [])),
        warning=report.warning,
        advice=report.advice,
    )
    write_gallery_page(folder.report, page, at=folder.final / folder.report.name)


def _table(scores: Mapping[str, tuple[float, float, float]]) -> Table:
    rows: list[list[Cell]] = [[name, *three] for name, three in scores.items()]
    return Table("Against the truth", ["", "value", "95 % from", "to"], rows)


def _entry(
    folder: MaskFolder, record: ImageRecord, original: Path, places: Mapping[int, int], *, inside: bool, heat: bool
) -> GalleryImage:
    stem = record.mask.removeprefix("masks/").removesuffix(".png")

    def shown_as(kind: str, suffix: str, *, inside: bool) -> Picture | Path | None:
        path = folder.gallery / kind / f"{stem}{suffix}"
        if not path.is_file():
            return None
        # The link is valid once the complete folder has replaced the old one.
        mime = "image/jpeg" if suffix == ".jpg" else "image/png"
        return Picture(path.read_bytes(), mime) if inside else folder.final / path.relative_to(folder.path)

    metrics: list[tuple[str, Cell]] = [(FACT_NAMES.get(key, key), value) for key, value in record.metrics.items()]
    fraction = sum(found.area for found in record.regions) / (record.height * record.width)
    picture = shown_as("pictures", ".jpg", inside=inside)
    heat_map = shown_as("heat", ".png", inside=True) if heat else None
    assert picture is not None
    return GalleryImage(
        name=record.image,
        picture=picture,
        overlay=shown_as("masks", ".png", inside=inside),
        original=original,
        score=record.score,
        segments=sorted({places[found.label] for found in record.regions}),
        facts=[("area of the mask", f"{fraction:.1%}"), ("regions", len(record.regions)), *metrics],
        empty_reason=record.empty_reason,
        mask=folder.final / record.mask,
        heat=heat_map if isinstance(heat_map, Picture) else None,
        truth=shown_as("truth", ".png", inside=inside),
        verdict=_verdict(record),
    )


def _verdict(record: ImageRecord) -> str:
    """Judge an image by the distance of its furthest patch, 1 at the threshold; empty for methods without distance."""
    furthest = record.metrics.get("furthest")
    if furthest is None:
        return ""
    if 1 / UNSURE_FACTOR < furthest < UNSURE_FACTOR:
        return "unsure"
    return "defective" if record.regions else "good"
