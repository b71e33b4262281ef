"""DICOM: what radiology and much of non-destructive testing stores, read by pydicom (extra `dicom`).

Values are those of the modality (rescale slope and intercept, or its table), not of a screen: a window is for viewers,
and belongs to a folder rather than to an image, as `--range window:LEVEL,WIDTH`.
"""

from typing import Any

import numpy as np

from dinocli.data.limits import Allowance, check_pixels
from dinocli.data.pixels import Decoded, Mask, Pixels
from dinocli.data.tar_shards import Source, decoder_input
from dinocli.errors import DataError

HEAD = 132
"""First bytes of a file that tell a DICOM: 128 of anything, then its name."""

NO_PREAMBLE = "not a DICOM file: its preamble is missing; pydicom can write it anew: dcmread(NAME, force=True).save_as"

_NEEDED = "DICOM needs pydicom: pip install 'dinocli[dicom]'"


def is_dicom(head: bytes) -> bool:
    """Tell from a file's first `HEAD` bytes whether it is a DICOM."""
    return head[128:HEAD] == b"DICM"


def dicom_size(source: Source) -> tuple[int, int]:
    """Return (h, w) from the header."""
    return _size(_header(source))


def dicom_frames(source: Source) -> int:
    """Return the number of frames from the header."""
    return _frames(_header(source))


def read_dicom(source: Source, frame: int, allowance: Allowance, stored: int) -> Decoded:
    """Read one frame.

    Args:
        source: A DICOM.
        frame: Counted from 0.
        allowance: Asked before anything is decoded.
        stored: Size of the file, bytes.

    Returns:
        Integers where slope and intercept are whole, else float32; colour as RGB. MONOCHROME1, whose smallest value is
        white, comes out negated within the range of its bits, so that more is brighter. Padding is masked.

    Raises:
        DataError: No such frame, no pixels, a missing package, or the file claims too much.
        Exception: What pydicom raises for damaged files.
    """
    about = _header(source)
    height, width = _size(about)
    samples, size = int(about.get("SamplesPerPixel", 1)), int(about.get("BitsAllocated", 8)) // 8 or 1
    allowance.reserve(height, width, height * width * samples * size, stored)
    count = _frames(about)
    if frame >= count:
        raise DataError(f"page {frame} of a file with {count} (counted from 0)")
    from pydicom.pixels import apply_color_lut, pixel_array

    try:
        pixels = pixel_array(decoder_input(source), index=frame)
    except RuntimeError as error:  # of a compression that no installed package knows
        raise DataError(f"its compression cannot be read here ({_first(error)}): pip install pylibjpeg[all]") from None
    if about.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, about)
    if pixels.ndim == 3:
        return Decoded(pixels, (height, width))
    values, window, masked = _modality(pixels, about), _window(about), _padding(pixels, about)
    if about.get("PhotometricInterpretation") == "MONOCHROME1":
        ends = float(_modality(_stored_ends(pixels, about), about).astype(np.float64).sum())
        values = (ends - values).astype(values.dtype)
        window = (ends - window[0], window[1]) if window else None
    return Decoded(values[..., None], (height, width), window=window, masked=masked)


def _modality(stored: Pixels, about: Any) -> Pixels:
    """Turn stored values into those of the modality, integers where they are whole."""
    from pydicom.pixels import apply_modality_lut

    slope, intercept = float(about.get("RescaleSlope", 1)), float(about.get("RescaleIntercept", 0))
    if (slope, intercept) == (1, 0) and "ModalityLUTSequence" not in about:
        return stored
    values: Pixels = apply_modality_lut(stored, about)
    if values.dtype.kind != "f":
        return values
    whole = slope.is_integer() and intercept.is_integer()
    return np.rint(values).astype(np.int32) if whole else values.astype(np.float32)


def _stored_ends(pixels: Pixels, about: Any) -> Pixels:
    """Return the smallest and largest value that the stored bits can hold."""
    bits = int(about.get("BitsStored", 8 * pixels.dtype.itemsize))
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if about.get("PixelRepresentation") else (0, (1 << bits) - 1)
    return np.array(ends, pixels.dtype)


def _padding(pixels: Pixels, about: Any) -> Mask | None:
    """Return where a scanner filled a grey image up, by stored value; None where it did not."""
    first = about.get("PixelPaddingValue")
    if not isinstance(first, int):
        return None
    last = about.get("PixelPaddingRangeLimit", first)
    low, high = min(first, last), max(first, last)
    masked = ((pixels >= low) & (pixels <= high))[..., None]
    return masked if masked.any() else None


def _window(about: Any) -> tuple[float, float] | None:
    """Return the first window that the file names, level and width."""
    level, width = (about.get(key) for key in ("WindowCenter", "WindowWidth"))
    if level is None or width is None:
        return None
    # Several windows are a sequence, one is a number.
    level, width = (float(value[0] if hasattr(value, "__getitem__") else value) for value in (level, width))
    return (level, width) if width > 0 else None


def _header(source: Source) -> Any:
    try:
        from pydicom import dcmread
    except ImportError:
        raise DataError(_NEEDED) from None
    about = dcmread(decoder_input(source), stop_before_pixels=True)
    if "Rows" not in about or "Columns" not in about:
        raise DataError("a DICOM without an image")
    return about


def _size(about: Any) -> tuple[int, int]:
    height, width = int(about.Rows), int(about.Columns)
    check_pixels(height, width)
    return height, width


def _frames(about: Any) -> int:
    return int(about.get("NumberOfFrames") or 1)


def _first(error: BaseException) -> str:
    return " ".join((str(error).strip().splitlines() or [""])[0].split())[:120]
