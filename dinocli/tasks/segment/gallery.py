"""The report: small pictures with their masks, kept as files while the work goes on, then put into one page."""

import io
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.data.mask_images import colour_of, jpeg, tint, write_below
from dinocli.data.read import Canvas, rgb, scaled, shrunk_size
from dinocli.report.gallery_page import GalleryImage, GalleryPage, Segment, write_gallery_page
from dinocli.report.page import Cell, Table
from dinocli.report.picture import Picture
from dinocli.tasks.segment.mask_folder import MaskFolder
from dinocli.tasks.segment.regions import ImageRecord

SHORT_SIDE = 320
"""Pixels of the shorter side of a picture in the report."""

INSIDE = 300
"""Images up to which the page carries its pictures inside, and can be sent as one file."""


@dataclass(frozen=True)
class GalleryReport:
    """What the page says besides its images.

    Args:
        title: Of the page.
        names: Category of each label.
        facts: How this was made.
        scores: Against the truth: name -> value, low, high.
        notes: Sentences.
    """

    title: str
    names: Mapping[int, str]
    facts: Mapping[str, Cell]
    scores: Mapping[str, tuple[float, float, float]]
    notes: tuple[str, ...]


def write_thumbnail(folder: MaskFolder, stem: str, picture_CHW: Canvas, labels_HW: NDArray[np.uint16]) -> None:
    """Keep the small picture of an image, and the small mask if there is one."""
    height, width = labels_HW.shape
    size = shrunk_size(height, width, SHORT_SIDE)
    write_below(folder.gallery, stem, ".jpg", jpeg(Image.fromarray(rgb(scaled(picture_CHW, size)))))
    if labels_HW.any():
        # nearest: between two labels there is no third
        small = Image.fromarray(labels_HW).resize(size[::-1], Image.Resampling.NEAREST)
        file = io.BytesIO()
        Image.fromarray(tint(np.asarray(small, np.uint16))).save(file, "png")
        write_below(folder.gallery, stem, ".png", file.getvalue())


def remove_thumbnails(folder: MaskFolder) -> None:
    """Let go of the small pictures, once a page carries them."""
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
        folder: With the small pictures.
        records: Of all images.
        original: File of an image, by its name.
        report: The rest.
        inside: The page carries the pictures; otherwise it shows the files beside it.
    """
    places = {label: place for place, label in enumerate(report.names)}
    page = GalleryPage(
        title=report.title,
        images=[_entry(folder, record, original(record.image), places, inside) for record in records],
        segments=[Segment(name, colour_of(label)) for label, name in report.names.items()],
        tables=[_table(report.scores)] if report.scores else [],
        facts=list(report.facts.items()),
        notes=report.notes,
    )
    write_gallery_page(folder.report, page, at=folder.final / folder.report.name)


def _table(scores: Mapping[str, tuple[float, float, float]]) -> Table:
    rows: list[list[Cell]] = [[name, *three] for name, three in scores.items()]
    return Table("Against the truth", ["", "value", "95 % from", "to"], rows)


def _entry(
    folder: MaskFolder, record: ImageRecord, original: Path, places: Mapping[int, int], inside: bool
) -> GalleryImage:
    stem = record.mask.removeprefix("masks/").removesuffix(".png")
    picture, overlay = (folder.gallery / f"{stem}{suffix}" for suffix in (".jpg", ".png"))
    facts: list[tuple[str, Cell]] = [("regions", len(record.regions)), *record.metrics.items()]
    if record.empty_reason:
        facts.insert(0, ("empty", record.empty_reason))
    fraction = sum(found.area for found in record.regions) / (record.height * record.width)
    return GalleryImage(
        name=record.image,
        picture=Picture(picture.read_bytes(), "image/jpeg") if inside else _moved(picture, folder),
        overlay=_overlay(overlay, folder, inside),
        original=original,
        score=record.score,
        segments=sorted({places[found.label] for found in record.regions}),
        facts=[("area fraction", fraction), *facts],
        mask=folder.final / record.mask,
    )


def _overlay(path: Path, folder: MaskFolder, inside: bool) -> Picture | Path | None:
    if not path.is_file():
        return None
    return Picture(path.read_bytes(), "image/png") if inside else _moved(path, folder)


def _moved(path: Path, folder: MaskFolder) -> Path:
    """Return where a file will be when the folder is complete."""
    return folder.final / path.relative_to(folder.path)
