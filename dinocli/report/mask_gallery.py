"""Images on the page of `segment`: thumbnails with masks, written per image, then collected."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.data.canvas import Canvas, rgb, scaled, shrunk_size
from dinocli.data.mask_images import jpeg, label_overlay, map_png, png, truth_outline, write_image_file
from dinocli.report.gallery_page import UNSURE_FACTOR, GalleryImage
from dinocli.report.page import Cell
from dinocli.report.picture import Picture
from dinocli.segmentation.regions import ImageRecord

THUMBNAIL_SHORT_SIDE = 320
"""Shorter side of a thumbnail, pixels."""

HEAT_SHORT_SIDE = 96
"""Largest shorter side of a soft map in the page, cells; a default grid has 60, and the page interpolates."""

MAX_HEAT_IMAGES = 2000
"""Number of images up to which the page holds soft maps, of a few kilobytes each."""

VERDICT_NOTE = (
    "Defective, unsure and good follow from the patch of an image that is furthest from those of other images: "
    f"unsure is within a factor of {UNSURE_FACTOR} of the threshold, with or without a mask."
)

FACT_NAMES = {"furthest": "furthest patch (1 is the threshold)"}
"""Names on the page for metrics of an image."""

MAX_EMBEDDED_IMAGES = 300
"""Number of images up to which the page holds its pictures, and can be sent as one file."""


def write_thumbnail(
    folder: MaskFolder,
    stem: str,
    picture_CHW: Canvas,
    labels_HW: NDArray[np.uint16],
    *,
    heat_hw: NDArray[np.float32] | None = None,
    truth_HW: NDArray[np.bool_] | None = None,
) -> None:
    """Write the thumbnail of an image, and its overlay, soft map and truth outline if there are any.

    Args:
        folder: Output folder.
        stem: File stem of the outputs of the image.
        picture_CHW: The image.
        labels_HW: Its mask.
        heat_hw: Its soft map on the patch grid; None if the page shows none.
        truth_HW: Its true mask; None if unknown.
    """
    height, width = labels_HW.shape
    size = shrunk_size(height, width, THUMBNAIL_SHORT_SIDE)
    small = jpeg(Image.fromarray(rgb(scaled(picture_CHW, size))))
    write_image_file(folder.gallery / "pictures", stem, ".jpg", small)
    if labels_HW.any():
        tinted = label_overlay(_nearest(labels_HW, size))
        write_image_file(folder.gallery / "masks", stem, ".png", png(Image.fromarray(tinted)))
    if heat_hw is not None:
        h, w = heat_hw.shape
        heat = Image.fromarray(heat_hw).resize(shrunk_size(h, w, HEAT_SHORT_SIDE)[::-1], Image.Resampling.BOX)
        write_image_file(folder.gallery / "heat", stem, ".png", map_png(np.asarray(heat)))
    if truth_HW is not None and truth_HW.any():
        outline = truth_outline(_nearest(truth_HW.astype(np.uint16), size) > 0)
        write_image_file(folder.gallery / "truth", stem, ".png", png(Image.fromarray(outline)))


def _nearest(labels_HW: NDArray[np.uint16], size: tuple[int, int]) -> NDArray[np.uint16]:
    """Resize a label map without interpolating labels."""
    return np.asarray(Image.fromarray(labels_HW).resize(size[::-1], Image.Resampling.NEAREST), np.uint16)


def gallery_image(
    folder: MaskFolder, record: ImageRecord, original: Path, labels: Sequence[int], *, inside: bool, heat: bool
) -> GalleryImage:
    """Return the entry of an image on the page.

    Args:
        folder: Output folder with the thumbnails.
        record: Record of the image.
        original: Its file.
        labels: Label of each segment of the legend.
        inside: Store the pictures in the page; otherwise it links to their files.
        heat: Store the soft map in the page.
    """
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
        segments=sorted({labels.index(found.label) for found in record.regions}),
        facts=[("area of the mask", f"{fraction:.1%}"), ("regions", len(record.regions)), *metrics],
        empty_reason=record.empty_reason,
        mask=folder.final / record.mask,
        heat=heat_map if isinstance(heat_map, Picture) else None,
        truth=shown_as("truth", ".png", inside=inside),
        verdict=_verdict(record),
        furthest=record.metrics.get("furthest", float("nan")),
    )


def _verdict(record: ImageRecord) -> str:
    """Judge an image by the distance of its furthest patch, 1 at the threshold; empty for methods without distance."""
    furthest = record.metrics.get("furthest")
    if furthest is None:
        return ""
    if 1 / UNSURE_FACTOR < furthest < UNSURE_FACTOR:
        return "unsure"
    return "defective" if record.regions else "good"
