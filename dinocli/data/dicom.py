"""DICOM, the format of radiology and non-destructive testing, read by pydicom (extra `dicom`).

Values are modality values (rescale slope and intercept, or modality LUT). The window (VOI) of a file is not applied: it
is meant for viewers, and one window has to hold for the whole dataset: `--range window:LEVEL,WIDTH`.
"""

from typing import Any

import numpy as np

from dinocli.data.image_source import Source, decoder_input
from dinocli.data.limits import Allowance, check_pixels
from dinocli.data.pixels import Decoded, Mask, Pixels
from dinocli.errors import DataError, first_line

NO_PREAMBLE = "not a DICOM file: its preamble is missing; rewrite it by pydicom: dcmread(NAME, force=True).save_as"

_NEEDED = "DICOM needs pydicom: pip install 'dinocli[dicom]'"


def is_dicom(head: bytes) -> bool:
    """Return whether a file is DICOM, by its first bytes: a preamble of 128 bytes, then `DICM`."""
    return head[128:132] == b"DICM"


def dicom_size(source: Source) -> tuple[int, int]:
    """Return (h, w) from the header."""
    return _size(_header(source))


def dicom_frames(source: Source) -> int:
    """Return the number of frames from the header."""
    return _frames(_header(source))


def read_dicom(source: Source, frame: int, allowance: Allowance, file_bytes: int) -> Decoded:
    """Read one frame.

    Args:
        source: Path or content of a DICOM file.
        frame: Frame, from 0.
        allowance: Memory limit, checked before the frame is decoded.
        file_bytes: Size of the file, bytes.

    Returns:
        Integers if slope and intercept are integers, else float32; colour as RGB. MONOCHROME1, whose smallest value is
        white, is inverted within the range of its stored bits, so that larger values are brighter. Padding is masked.

    Raises:
        DataError: No such frame, no pixels, a missing package, or more pixels than the file can hold.
        Exception: As raised by pydicom on damaged files.
    """
    header = _header(source)
    height, width = _size(header)
    samples, size = int(header.get("SamplesPerPixel", 1)), int(header.get("BitsAllocated", 8)) // 8 or 1
    allowance.reserve(height, width, height * width * samples * size, file_bytes)
    count = _frames(header)
    if frame >= count:
        raise DataError(f"page {frame} of a file with {count} (counted from 0)")
    from pydicom.pixels import apply_color_lut

    pixels = _stored_values(source, frame, whole=header.file_meta.TransferSyntaxUID.is_deflated)
    header = _of_frame(header, frame)
    if header.get("BitsAllocated") == 1:  # as the bits of other formats: 0 and 255
        pixels, header.BitsStored = pixels * np.uint8(255), 8
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
    if pixels.ndim == 3:
        return Decoded(pixels, (height, width))
    values, window, masked = _modality_values(pixels, header), _window(header), _padding(pixels, header)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        low_plus_high = float(_modality_values(_stored_range(pixels, header), header).astype(np.float64).sum())
        values = (low_plus_high - values).astype(values.dtype)
        window = (low_plus_high - window[0], window[1]) if window else None
    return Decoded(values[..., None], (height, width), window=window, masked=masked)


def _stored_values(source: Source, frame: int, *, whole: bool) -> Pixels:
    """Decode one frame; the others are not read, unless `whole`, or if the table of offsets is damaged."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    try:
        try:
            pixels: Pixels = pixel_array(
                dcmread(decoder_input(source)) if whole else decoder_input(source), index=frame
            )
        except ValueError:
            pixels = pixel_array(dcmread(decoder_input(source)), index=frame)
    except RuntimeError as error:  # a compression that no installed package decodes
        reason = first_line(error)
        raise DataError(f"its compression cannot be read here ({reason}): pip install 'pylibjpeg[all]'") from None
    return pixels


def _of_frame(header: Any, frame: int) -> Any:
    """Return the attributes of one frame: an enhanced multi-frame file has them in groups, shared or for each frame."""
    from pydicom import Dataset

    merged = Dataset()
    merged.update(header)
    for sequence, number in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        groups = header.get(sequence) or ()
        for group in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for values in groups[number].get(group) or () if number < len(groups) else ():
                merged.update(values)
    return merged


def _modality_values(stored: Pixels, header: Any) -> Pixels:
    """Convert stored values to modality values; int32 if slope and intercept are integers."""
    from pydicom.pixels import apply_modality_lut

    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    if (slope, intercept) == (1, 0) and "ModalityLUTSequence" not in header:
        return stored
    values: Pixels = apply_modality_lut(stored, header)
    if values.dtype.kind != "f":
        return values
    whole = slope.is_integer() and intercept.is_integer()
    return np.rint(values).astype(np.int32) if whole else values.astype(np.float32)


def _stored_range(pixels: Pixels, header: Any) -> Pixels:
    """Return the smallest and largest value that the stored bits can hold."""
    bits = int(header.get("BitsStored", 8 * pixels.dtype.itemsize))
    signed = header.get("PixelRepresentation")
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return np.array(ends, pixels.dtype)


def _padding(pixels: Pixels, header: Any) -> Mask | None:
    """Return the padding pixels of a grey image, by their stored value; None if there are none."""
    first = header.get("PixelPaddingValue")
    if not isinstance(first, int):
        return None
    last = header.get("PixelPaddingRangeLimit", first)
    low, high = min(first, last), max(first, last)
    masked = ((pixels >= low) & (pixels <= high))[..., None]
    return masked if masked.any() else None


def _window(header: Any) -> tuple[float, float] | None:
    """Return level and width of the first window of the file; None without one."""
    level, width = (header.get(key) for key in ("WindowCenter", "WindowWidth"))
    if level is None or width is None:
        return None
    # Several windows are a sequence, a single one is a number.
    level, width = (float(value[0] if hasattr(value, "__getitem__") else value) for value in (level, width))
    return (level, width) if width > 0 else None


def _header(source: Source) -> Any:
    try:
        from pydicom import dcmread
    except ImportError:
        raise DataError(_NEEDED) from None
    header = dcmread(decoder_input(source), stop_before_pixels=True)
    if "Rows" not in header or "Columns" not in header:
        raise DataError("a DICOM without an image")
    return header


def _size(header: Any) -> tuple[int, int]:
    height, width = int(header.Rows), int(header.Columns)
    check_pixels(height, width)
    return height, width


def _frames(header: Any) -> int:
    return int(header.get("NumberOfFrames") or 1)
