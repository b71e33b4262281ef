"""Label maps and soft maps as files, and masks over pictures for the eye.

All are upright, as viewers show the source, and carry no turn of their own.

Legend: H W pixels of the source, C channels.
"""

import colorsys
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dinocli.data.read import Canvas, rgb
from dinocli.files import write_atomic

Colour = tuple[int, int, int]

MASK_OPACITY = 0.45
"""Of a mask over its picture; its outline is opaque."""

_GOLDEN = 0.618033988749895  # steps of this share of the circle keep any number of hues apart
_FIRST_HUE = 0.97


def label_colour(label: int) -> Colour:
    """Return the colour of a label, the same in every picture and report: reds first, then far apart."""
    hue = (_FIRST_HUE + (label - 1) * _GOLDEN) % 1
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, 1.0))
    return red, green, blue


def label_png(labels_HW: NDArray[np.uint16]) -> bytes:
    """Return a grey PNG whose values are the labels: 8-bit, or 16-bit for more than 255 of them.

    Not a palette: most readers would turn its colours into numbers of their own.
    """
    deep = labels_HW.max(initial=0) > 255
    return _png(Image.fromarray(labels_HW if deep else labels_HW.astype(np.uint8)))


def soft_png(soft_HW: NDArray[np.float32]) -> bytes:
    """Return a 16-bit grey PNG: 0 is 0, 65535 is 1."""
    return _png(Image.fromarray(np.rint(soft_HW.clip(0, 1) * 65535).astype(np.uint16)))


def soft_npy(soft_HW: NDArray[np.float32]) -> bytes:
    """Return the map as it is, float32."""
    file = io.BytesIO()
    np.save(file, soft_HW, allow_pickle=False)
    return file.getvalue()


def map_png(map_HW: NDArray[np.float32]) -> bytes:
    """Return a further map of a method, grey or in colour, as an 8-bit PNG of its own small size."""
    return _png(Image.fromarray(np.rint(map_HW.clip(0, 1) * 255).astype(np.uint8)))


def label_overlay(labels_HW: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the labels as colours, (H, W, 4): transparent where there is nothing, opaque along outlines."""
    table = np.zeros((int(labels_HW.max(initial=0)) + 1, 4), np.uint8)
    for label in range(1, len(table)):
        table[label] = (*label_colour(label), round(255 * MASK_OPACITY))
    tinted: NDArray[np.uint8] = table[labels_HW]
    edge = ndimage.grey_dilation(labels_HW, 3) != ndimage.grey_erosion(labels_HW, 3)
    tinted[edge & (labels_HW > 0), 3] = 255
    return tinted


def truth_outline(truth_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the outline of a true mask, (H, W, 4): white with a dark rim, transparent elsewhere."""
    inner = truth_HW & ~ndimage.binary_erosion(truth_HW, np.ones((3, 3)))
    rim = ndimage.binary_dilation(truth_HW, np.ones((3, 3))) & ~truth_HW
    outline = np.zeros((*truth_HW.shape, 4), np.uint8)
    outline[rim] = (0, 0, 0, 200)
    outline[inner] = (255, 255, 255, 255)
    return outline


def overlay_jpeg(picture_CHW: Canvas, labels_HW: NDArray[np.uint16]) -> bytes:
    """Return the picture with its labels over it, at full size."""
    below = Image.fromarray(rgb(picture_CHW))
    above = Image.fromarray(label_overlay(labels_HW))
    below.paste(above, mask=above.getchannel("A"))
    return jpeg(below)


def jpeg(image: Image.Image) -> bytes:
    """Return a picture for looking at."""
    file = io.BytesIO()
    image.save(file, "jpeg", quality=88)
    return file.getvalue()


def write_image_file(folder: Path, stem: str, suffix: str, data: bytes) -> Path:
    """Write one file of an image, whole or not at all, in the same folders as the image; return its path."""
    path = folder / f"{stem}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return path


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()
