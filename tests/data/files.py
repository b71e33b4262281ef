"""Image files and preprocessing shared by the tests of data."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from dinocli.config.preprocess import Preprocess

Array = NDArray[Any]


def noise(*shape: int, dtype: str = "uint8", top: int | None = None, seed: int = 0) -> Array:
    """Return random integers from 0 to top (default: the maximum of the dtype)."""
    return np.random.default_rng(seed).integers(0, (top or np.iinfo(dtype).max) + 1, shape, dtype=np.dtype(dtype).type)


def settings(**changed: Any) -> Preprocess:
    """Return 8-bit, full-range, colour preprocessing with changes."""
    base = settings_base()
    return Preprocess(**{**base, **changed})


def settings_base() -> dict[str, Any]:
    third = (0.5, 0.5, 0.5)
    return {
        "range_policy": "full",
        "range_low": 0.0,
        "range_high": 255.0,
        "deep": False,
        "grey": False,
        "channels": (),
        "page": 0,
        "mean": third,
        "std": third,
        "size": 224,
    }


def save(path: Path, pixels: Array) -> str:
    """Save grey or RGB pixels with PIL, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels).save(path)
    return str(path)


def deep_png(pixels: Array) -> bytes:
    """Encode (h, w, 1 to 4) uint16 as PNG with the "up" filter in each row; PIL cannot write 16-bit colour."""
    height, width, count = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    up = rows - np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    body = b"".join(b"\2" + row.tobytes() for row in up)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def packed_tiff(pixels: Array, bits: int, *, white_is_zero: bool = False) -> bytes:
    """Encode (h, w) of values below 2 ** bits as an uncompressed grey TIFF of 1, 2, 4 or 8 bits per sample."""
    height, width = pixels.shape
    per_byte = 8 // bits
    padded = np.zeros((height, -(-width // per_byte) * per_byte), np.uint8)
    padded[:, :width] = pixels
    shifts = np.arange(per_byte)[::-1] * bits
    data = bytes((padded.reshape(height, -1, per_byte) << shifts).sum(-1).astype(np.uint8))
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, int(not white_is_zero))]
    entries += [(273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, 1), (278, 4, height), (279, 4, len(data))]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + data


def tiff_12_bit(pixels: Array, *, samples: int = 1) -> bytes:
    """Encode (h, w) of values below 4096, w even, as a TIFF of 12 bits per sample."""
    first, second = pixels[:, 0::2].astype(np.uint16), pixels[:, 1::2].astype(np.uint16)
    data = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8).tobytes()
    height, width = pixels.shape
    entries = [
        (256, 4, width // samples),
        (257, 4, height),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1 if samples == 1 else 2),
    ]
    entries += [(273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, samples), (278, 4, height), (279, 4, len(data))]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + data


def gdal_tiff(path: Path, pixels: Array, nodata: str, **more: Any) -> str:
    """Save a TIFF with the GDAL_NODATA tag."""
    tifffile.imwrite(path, pixels, extratags=[(42113, "s", 0, nodata, True)], **more)
    return str(path)
