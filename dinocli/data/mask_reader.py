"""A mask file -> a label for every pixel: 0 is the background, every other value an object.

Masks are not photographs: a palette holds labels, a transparent pixel is no object, and what JPEG leaves of two values
are many. So nothing here goes through the reader of images.

Legend: H W pixels, C channels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dinocli.data.decode import page_count, read_native
from dinocli.data.image_formats import decoders
from dinocli.data.limits import Allowance
from dinocli.data.pil_decode import check_claims
from dinocli.errors import DataError

Labels = NDArray[np.int64]

LOSSY = ("JPEG", "WEBP")
"""Formats whose values are not those that were saved."""

MANY_VALUES = 16
"""Distinct values from which a grey mask may have soft edges instead of labels."""

MAXIMUM_FRACTION = 0.5
"""Fraction of the non-zero pixels at the highest value, from which the values between are soft edges."""

ALONE_FRACTION = 0.5
"""Fraction of the non-zero pixels without an equal neighbour, from which values are soft edges: labels are areas."""

MANY_COLOURS = 256
"""Colours from which a colour mask is a picture, not one label a colour."""

_VISIBLE = 128  # alpha of 8 bits
_VOID, _VOID_COLOUR = 255, (224, 224, 192)  # of Pascal VOC: the rim of an object, which is nobody's


class Mask(NamedTuple):
    """A mask as it was read.

    Args:
        labels_HW: 0 is the background; palette indices, grey values or packed colours otherwise.
        note: What was assumed about the file; empty where nothing had to be.
    """

    labels_HW: Labels
    note: str


def read_mask(path: Path) -> Mask:
    """Read a mask, upright.

    - Palette: the index is the label; indices that are black or transparent are background, and so is the void of VOC.
    - Grey, of any depth: the value is the label. Lossy files and soft edges are cut at half of the highest value.
    - Colours: every colour is a label, black is background; lossy files are cut at half of the highest value.
    - Alpha: what is transparent is background; where all the rest has one colour, that is the object, black too.
    - Negative values and NaN are background.

    Raises:
        DataError: The file cannot be read as an image; the reason in one line.
    """
    picture = _through_pil(path)
    if isinstance(picture, Mask):
        mask = picture
    else:
        mask = _from_values(picture if picture is not None else read_native(path), lossy=False)
    notes = [mask.note, *_doubts(mask.labels_HW, page_count(path)[0])]
    return Mask(mask.labels_HW, "; ".join(filter(None, notes)))


def _doubts(labels_HW: Labels, pages: int) -> Iterator[str]:
    """Yield notes on what may not be meant."""
    if pages > 1:
        yield "the first of several pages is read"
    if labels_HW.size and labels_HW.min() > 0 and labels_HW.min() < labels_HW.max():
        yield "no pixel is background (0, black or transparent), so that all of the image is an object"


def _through_pil(path: Path) -> "Mask | NDArray[np.generic] | None":
    """Read the kinds of files in which Pillow tells palettes, alpha and formats apart; None for all others."""
    try:
        with Allowance() as allowance, Image.open(path, formats=decoders()) as opened:
            check_claims(opened, str(path), allowance, path.stat().st_size)
            kind = str(opened.format)
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("P", "PA"):
                return Mask(_from_palette(image), "")
            if image.mode in ("LA", "RGBA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
                return _from_alpha(image)
            if kind not in LOSSY:
                return None
            return _from_values(np.asarray(image.convert("L" if image.mode == "L" else "RGB")), lossy=True)
    except Exception:  # Pillow meets broken files with nearly every class there is
        return None  # `read_native` knows more formats, and says why a file cannot be read


def _from_palette(image: Image.Image) -> Labels:
    """Return palette indices, 0 where their colour is black, transparent or the void of Pascal VOC."""
    index_HW = np.asarray(image.getchannel("P") if image.mode == "PA" else image).astype(np.int64)
    rgba_HW4 = np.asarray(image.convert("RGBA"))
    empty_HW = rgba_HW4[..., 3] < _VISIBLE
    black_HW = ~rgba_HW4[..., :3].any(axis=-1) & ~empty_HW
    if len(np.unique(index_HW[black_HW])) > 1:  # a palette that was never filled says nothing about labels
        black_HW = index_HW == 0
    void_HW = (index_HW == _VOID) & (rgba_HW4[..., :3] == _VOID_COLOUR).all(axis=-1)
    background_HW = empty_HW | black_HW | void_HW
    if not background_HW.any():
        background_HW = index_HW == 0
    labels_HW: Labels = np.where(background_HW, 0, index_HW)
    # Index 0 can be an object where the background has another index.
    labels_HW[(labels_HW == 0) & ~background_HW] = 256
    return labels_HW


def _from_alpha(image: Image.Image) -> Mask:
    rgba_HW4 = np.asarray(image.convert("RGBA"))
    visible_HW = rgba_HW4[..., 3] >= _VISIBLE
    colours_HW3 = np.where(visible_HW[..., None], rgba_HW4[..., :3], 0)
    if visible_HW.all():
        return _from_values(colours_HW3, lossy=False)
    seen = np.unique(rgba_HW4[visible_HW][:, :3], axis=0)
    if len(seen) <= 1:
        return Mask(visible_HW.astype(np.int64), "")
    return _from_values(colours_HW3, lossy=False)


def _from_values(pixels_HWC: NDArray[np.generic], *, lossy: bool) -> Mask:
    """Return labels of grey values or colours, which may be of any number type."""
    values_HWC = pixels_HWC if pixels_HWC.ndim == 3 else pixels_HWC[..., None]
    if values_HWC.shape[-1] > 1 and (values_HWC == values_HWC[..., :1]).all():
        values_HWC = values_HWC[..., :1]
    if values_HWC.shape[-1] == 1:
        return _from_grey(values_HWC[..., 0], lossy=lossy)
    if lossy:
        return _cut(values_HWC.max(axis=-1), "a lossy file")
    labels_HW = _colour_numbers(values_HWC)
    labels_HW[~values_HWC.any(axis=-1)] = 0
    if labels_HW.max(initial=0) > MANY_COLOURS:
        return _cut(values_HWC.max(axis=-1), f"{labels_HW.max()} colours")
    return Mask(labels_HW, "")


def _colour_numbers(colours_HWC: NDArray[np.generic]) -> Labels:
    """Number the colours of a picture from 1, by R + 256 G + 65536 B as COCO does: also the order of DAVIS and VOC."""
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
        return _cut(numbers_HW, "a lossy file")
    distinct = np.unique(numbers_HW)
    if (distinct % 1).any():
        return _cut(numbers_HW, "fractions")
    inside = numbers_HW[numbers_HW > 0]
    if len(distinct) >= MANY_VALUES and (inside == distinct[-1]).mean() >= MAXIMUM_FRACTION:
        return _cut(numbers_HW, f"{len(distinct)} values, most of them {distinct[-1]:g}")
    if len(distinct) >= MANY_VALUES and _alone(numbers_HW) >= ALONE_FRACTION:
        return _cut(numbers_HW, f"{len(distinct)} values, most pixels unlike their neighbours")
    note = f"negative values, down to {distinct[0]:g}, are background" if distinct[0] < 0 else ""
    if MANY_VALUES <= len(distinct) < distinct[-1] / 2:
        note = f"{len(distinct)} values from 0 to {distinct[-1]:g} are taken as labels; save soft edges with two values"
    return Mask(np.maximum(numbers_HW, 0).astype(np.int64), note)


def _alone(values_HW: NDArray[np.generic]) -> float:
    """Return the fraction of the non-zero pixels that have no equal pixel beside, above or below them."""
    alike_HW = np.zeros(values_HW.shape, np.bool_)
    for one, other in (
        ((slice(1, None), slice(None)), (slice(-1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
    ):
        same = values_HW[one] == values_HW[other]
        alike_HW[one] |= same
        alike_HW[other] |= same
    inside_HW = values_HW != 0
    return 1 - float(alike_HW[inside_HW].mean()) if inside_HW.any() else 0.0


def _cut(values_HW: NDArray[np.generic], why: str) -> Mask:
    """Cut at half of the highest value: one object."""
    numbers_HW = values_HW.astype(np.float64)
    half = float(numbers_HW.max(initial=0)) / 2
    labels_HW = (numbers_HW > half).astype(np.int64)
    clean = len(np.unique(numbers_HW)) <= 2
    return Mask(labels_HW, "" if clean else f"{why}: cut at half of the highest value, {half:g}")


def check_size(labels_HW: Labels, path: Path, size: tuple[int, ...], of: str) -> None:
    """Raise a `DataError` if a mask has not the size (H, W) of its image: which pixels are meant is then a guess."""
    if labels_HW.shape != size:
        found = "{1}x{0}".format(*labels_HW.shape)
        raise DataError(f"the mask {path} has {found} px, {of} {size[1]}x{size[0]}; both need the same size")
