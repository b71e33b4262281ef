"""Read a mask file as a label per pixel: 0 is background, every other value an object.

The image `Reader` does not fit masks: a palette holds labels, transparent pixels are background, and JPEG turns two
values into many.

Legend: H W pixels, C channels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.data.decode import page_count, read_native
from dinocli.data.image_formats import decoders
from dinocli.data.limits import Allowance, without_pil_limit
from dinocli.data.pil_content import check_content, correct_header, upright
from dinocli.data.pil_decode import check_claims
from dinocli.errors import DataError

Labels = NDArray[np.int64]

LOSSY_FORMATS = ("JPEG", "WEBP")

SOFT_MIN_VALUES = 16
"""Distinct values from which a grey mask may have soft edges instead of labels."""

SOFT_PEAK_FRACTION = 0.5
"""Fraction of the non-zero pixels at the maximum, from which the other values are soft edges."""

SOFT_ISOLATED_FRACTION = 0.5
"""Fraction of the non-zero pixels without an equal neighbour, from which values are soft edges: labels form areas."""

MAX_LABEL_COLOURS = 256
"""A colour mask with more colours is a picture, not one label per colour."""

INVERTED_BORDER_FRACTION = 0.9
"""Fraction of the border that the only label of a mask covers, from which the mask seems inverted."""

_MIN_VISIBLE_ALPHA = 128  # of 255
_VOID_INDEX, _VOID_COLOUR = 255, (224, 224, 192)  # Pascal VOC: the border of an object, which has no label


class Mask(NamedTuple):
    """A mask as read.

    Args:
        labels_HW: 0 is background; other values are palette indices, grey values or numbered colours.
        note: Assumptions about the file; empty if there are none.
    """

    labels_HW: Labels
    note: str


def read_mask(path: Path) -> Mask:
    """Read a mask, upright.

    - Palette: the index is the label; black or transparent indices and the VOC void are background.
    - Grey, any depth: the value is the label. Lossy files and soft edges are thresholded at half of the maximum.
    - Colour: each colour is a label, black is background; lossy files are thresholded at half of the maximum.
    - Alpha: transparent pixels are background; if all others have one colour, even black, they are the object.
    - Negative values and NaN are background.

    Raises:
        DataError: The file cannot be read as an image; the reason in one line.
    """
    mask = _read_with_pil(path)
    if mask is None:
        mask = _from_values(read_native(path), lossy=False)
    notes = [mask.note, *_notes(mask.labels_HW, page_count(path)[0])]
    return Mask(mask.labels_HW, "; ".join(filter(None, notes)))


def _notes(labels_HW: Labels, pages: int) -> Iterator[str]:
    """Yield notes on several pages, on a mask without background, and on one that seems inverted."""
    if pages > 1:
        yield "the first of several pages is read"
    if labels_HW.size and labels_HW.min() > 0 and labels_HW.min() < labels_HW.max():
        yield "no pixel is background (0, black or transparent), so that all of the image is an object"
    elif _is_inverted(labels_HW):
        yield "one label covers most of the image and its border: in an inverted mask 0 has to be the background"


def _is_inverted(labels_HW: Labels) -> bool:
    """Return whether the only label covers most of the image and nearly all of its border, but not everything."""
    if labels_HW.min(initial=0) or len(np.unique(labels_HW)) != 2:
        return False
    border = np.concatenate([labels_HW[0], labels_HW[-1], labels_HW[:, 0], labels_HW[:, -1]])
    return bool((labels_HW > 0).mean() > 0.5 and (border > 0).mean() > INVERTED_BORDER_FRACTION)


def _read_with_pil(path: Path) -> Mask | None:
    """Read a mask with a palette, alpha or a lossy format by Pillow; None for all others."""
    try:
        with Allowance() as allowance, without_pil_limit(), Image.open(path, formats=decoders()) as opened:
            check_claims(opened, str(path), allowance, path.stat().st_size)
            check_content(opened)
            correct_header(opened)
            file_format = str(opened.format)
            image = upright(opened)
            if image.mode in ("P", "PA"):
                return Mask(_from_palette(image), "")
            if image.mode in ("LA", "RGBA") or (image.mode in ("1", "L", "RGB") and "transparency" in image.info):
                return _from_alpha(image)
            if file_format not in LOSSY_FORMATS:
                return None
            return _from_values(np.asarray(image.convert("L" if image.mode == "L" else "RGB")), lossy=True)
    except Exception:  # Pillow raises nearly every exception class on broken files
        return None  # `read_native` supports more formats, and says why a file cannot be read


def _from_palette(image: Image.Image) -> Labels:
    """Return palette indices, 0 where the colour is black, transparent or the void of Pascal VOC."""
    index_HW = np.asarray(image.getchannel("P") if image.mode == "PA" else image).astype(np.int64)
    rgba_HW4 = np.asarray(image.convert("RGBA"))
    transparent_HW = rgba_HW4[..., 3] < _MIN_VISIBLE_ALPHA
    black_HW = ~rgba_HW4[..., :3].any(axis=-1) & ~transparent_HW
    if len(np.unique(index_HW[black_HW])) > 1:  # several black entries: the palette was never filled
        black_HW = index_HW == 0
    void_HW = (index_HW == _VOID_INDEX) & (rgba_HW4[..., :3] == _VOID_COLOUR).all(axis=-1)
    background_HW = transparent_HW | black_HW | void_HW
    if not background_HW.any():
        background_HW = index_HW == 0
    labels_HW: Labels = np.where(background_HW, 0, index_HW)
    # Index 0 is an object if the background has another index.
    labels_HW[(labels_HW == 0) & ~background_HW] = 256
    return labels_HW


def _from_alpha(image: Image.Image) -> Mask:
    rgba_HW4 = np.asarray(image.convert("RGBA"))
    visible_HW = rgba_HW4[..., 3] >= _MIN_VISIBLE_ALPHA
    colours_HW3 = np.where(visible_HW[..., None], rgba_HW4[..., :3], 0)
    if visible_HW.all():
        return _from_values(colours_HW3, lossy=False)
    if len(np.unique(rgba_HW4[visible_HW][:, :3], axis=0)) <= 1:
        return Mask(visible_HW.astype(np.int64), "")
    return _from_values(colours_HW3, lossy=False)


def _from_values(pixels_HWC: NDArray[np.generic], *, lossy: bool) -> Mask:
    """Return the labels of grey values or colours of any dtype."""
    values_HWC = pixels_HWC if pixels_HWC.ndim == 3 else pixels_HWC[..., None]
    if values_HWC.shape[-1] > 1 and (values_HWC == values_HWC[..., :1]).all():
        values_HWC = values_HWC[..., :1]
    if values_HWC.shape[-1] == 1:
        return _from_grey(values_HWC[..., 0], lossy=lossy)
    if lossy:
        return _thresholded(values_HWC.max(axis=-1), "a lossy file")
    labels_HW = _colour_numbers(values_HWC)
    labels_HW[~values_HWC.any(axis=-1)] = 0
    if labels_HW.max(initial=0) > MAX_LABEL_COLOURS:
        return _thresholded(values_HWC.max(axis=-1), f"{labels_HW.max()} colours")
    return Mask(labels_HW, "")


def _colour_numbers(colours_HWC: NDArray[np.generic]) -> Labels:
    """Number the colours from 1 in the order R + 256 G + 65536 B, as COCO does; DAVIS and VOC have the same order."""
    if colours_HWC.dtype.kind in "ui" and colours_HWC.dtype.itemsize <= 2 and colours_HWC.shape[-1] <= 3:
        packed_HW = colours_HWC.astype(np.int64) @ (1 << 16) ** np.arange(colours_HWC.shape[-1])
        _, number = np.unique(packed_HW, return_inverse=True)
    else:
        _, number = np.unique(colours_HWC.reshape(-1, colours_HWC.shape[-1]), axis=0, return_inverse=True)
    numbers_HW: Labels = number.reshape(colours_HWC.shape[:2]).astype(np.int64) + 1
    return numbers_HW


def _from_grey(values_HW: NDArray[np.generic], *, lossy: bool) -> Mask:
    numbers_HW = np.nan_to_num(values_HW.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if lossy:
        return _thresholded(numbers_HW, "a lossy file")
    distinct = np.unique(numbers_HW)
    if (distinct % 1).any():
        return _thresholded(numbers_HW, "fractions")
    inside = numbers_HW[numbers_HW > 0]
    if len(distinct) >= SOFT_MIN_VALUES and (inside == distinct[-1]).mean() >= SOFT_PEAK_FRACTION:
        return _thresholded(numbers_HW, f"{len(distinct)} values, most of them {distinct[-1]:g}")
    if len(distinct) >= SOFT_MIN_VALUES and _isolated_fraction(numbers_HW) >= SOFT_ISOLATED_FRACTION:
        return _thresholded(numbers_HW, f"{len(distinct)} values, most pixels unlike their neighbours")
    note = f"negative values, down to {distinct[0]:g}, are background" if distinct[0] < 0 else ""
    if SOFT_MIN_VALUES <= len(distinct) < distinct[-1] / 2:
        note = f"{len(distinct)} values from 0 to {distinct[-1]:g} are taken as labels; save soft edges with two values"
    return Mask(np.maximum(numbers_HW, 0).astype(np.int64), note)


def _isolated_fraction(values_HW: NDArray[np.generic]) -> float:
    """Return the fraction of the non-zero pixels without an equal 4-neighbour."""
    has_equal_HW = np.zeros(values_HW.shape, np.bool_)
    for after, before in (
        ((slice(1, None), slice(None)), (slice(-1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
    ):
        equal = values_HW[after] == values_HW[before]
        has_equal_HW[after] |= equal
        has_equal_HW[before] |= equal
    inside_HW = values_HW != 0
    return 1 - float(has_equal_HW[inside_HW].mean()) if inside_HW.any() else 0.0


def _thresholded(values_HW: NDArray[np.generic], reason: str) -> Mask:
    """Threshold at half of the maximum: one object."""
    numbers_HW = values_HW.astype(np.float64)
    half = float(numbers_HW.max(initial=0)) / 2
    labels_HW = (numbers_HW > half).astype(np.int64)
    is_binary = len(np.unique(numbers_HW)) <= 2
    return Mask(labels_HW, "" if is_binary else f"{reason}: cut at half of the highest value, {half:g}")


def check_size(labels_HW: Labels, path: Path, size: tuple[int, ...], image: str) -> None:
    """Raise `DataError` if a mask does not have the size (H, W) of its image."""
    if labels_HW.shape != size:
        mask_size = "{1}x{0}".format(*labels_HW.shape)
        turned = ": turn the mask like the image's EXIF orientation" if labels_HW.shape[::-1] == size else ""
        raise DataError(
            f"the mask {path} has {mask_size} px, {image} {size[1]}x{size[0]}; both need the same size{turned}"
        )
