"""Encode label maps, soft maps and overlays as image files.

All are upright, as viewers show the source image, without an EXIF orientation.

Legend: H W pixels of the source, C channels.
"""

import colorsys
import io
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dinocli.data.canvas import Canvas, rgb
from dinocli.data.georeference import Georeference
from dinocli.files import write_atomic

Colour = tuple[int, int, int]

MASK_OPACITY = 0.45
"""Opacity of a mask over its image; outlines are opaque."""

_GOLDEN_RATIO = 0.618033988749895  # hue step, as a fraction of the circle: keeps any number of hues distinct
_FIRST_HUE = 0.97


def label_colour(label: int) -> Colour:
    """Return the RGB colour of a label, the same in every image and report; label 1 is red."""
    hue = (_FIRST_HUE + (label - 1) * _GOLDEN_RATIO) % 1
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, 1.0))
    return red, green, blue


def label_png(labels_HW: NDArray[np.uint16]) -> bytes:
    """Encode labels as the values of a grey PNG: 8-bit, or 16-bit for labels above 255.

    A palette PNG would lose the labels in readers that convert it to RGB.
    """
    deep = labels_HW.max(initial=0) > 255
    return png(Image.fromarray(labels_HW if deep else labels_HW.astype(np.uint8)))


def label_geotiff(labels_HW: NDArray[np.uint16], place: Georeference) -> bytes:
    """Encode labels as GeoTIFF with the tags of their image, 8-bit or 16-bit as `label_png`."""
    deep, file = labels_HW.max(initial=0) > 255, io.BytesIO()
    values_HW = labels_HW if deep else labels_HW.astype(np.uint8)
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "metadata": None, "software": False}
    tifffile.imwrite(file, values_HW, extratags=place.tags, **options)
    return file.getvalue()


def soft_png(soft_HW: NDArray[np.float32]) -> bytes:
    """Encode a soft map as a 16-bit grey PNG: 0.0 is 0, 1.0 is 65535."""
    return png(Image.fromarray(np.rint(soft_HW.clip(0, 1) * 65535).astype(np.uint16)))


def soft_npy(soft_HW: NDArray[np.float32]) -> bytes:
    """Encode a soft map as float32 `.npy`."""
    file = io.BytesIO()
    np.save(file, soft_HW, allow_pickle=False)
    return file.getvalue()


def map_png(map_HW: NDArray[np.float32]) -> bytes:
    """Encode an additional map of a method, grey or RGB in 0 to 1, as an 8-bit PNG at its own resolution."""
    return png(Image.fromarray(np.rint(map_HW.clip(0, 1) * 255).astype(np.uint8)))


def label_overlay(labels_HW: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the labels as RGBA, (H, W, 4): transparent background, opaque outlines."""
    table = np.zeros((int(labels_HW.max(initial=0)) + 1, 4), np.uint8)
    for label in range(1, len(table)):
        table[label] = (*label_colour(label), round(255 * MASK_OPACITY))
    tinted: NDArray[np.uint8] = table[labels_HW]
    edge = ndimage.grey_dilation(labels_HW, 3) != ndimage.grey_erosion(labels_HW, 3)
    tinted[edge & (labels_HW > 0), 3] = 255
    return tinted


def truth_outline(truth_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the outline of a ground-truth mask as RGBA, (H, W, 4): white with a black border."""
    inner = truth_HW & ~ndimage.binary_erosion(truth_HW, np.ones((3, 3)))
    rim = ndimage.binary_dilation(truth_HW, np.ones((3, 3))) & ~truth_HW
    outline = np.zeros((*truth_HW.shape, 4), np.uint8)
    outline[rim] = (0, 0, 0, 200)
    outline[inner] = (255, 255, 255, 255)
    return outline


def overlay_jpeg(image_CHW: Canvas, labels_HW: NDArray[np.uint16]) -> bytes:
    """Encode an image with its label overlay as a JPEG at full resolution."""
    image = Image.fromarray(rgb(image_CHW))
    overlay = Image.fromarray(label_overlay(labels_HW))
    image.paste(overlay, mask=overlay.getchannel("A"))
    return jpeg(image)


def png(image: Image.Image) -> bytes:
    """Encode an image as a PNG."""
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def jpeg(image: Image.Image) -> bytes:
    """Encode an image as a JPEG of quality 88."""
    file = io.BytesIO()
    image.save(file, "jpeg", quality=88)
    return file.getvalue()


def write_image_file(folder: Path, stem: str, suffix: str, data: bytes) -> Path:
    """Write an output file of an image atomically to `folder`/`stem``suffix`, creating subfolders; return its path."""
    path = folder / f"{stem}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return path
