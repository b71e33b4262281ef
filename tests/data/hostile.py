"""Decompression bombs and damaged files, built byte by byte."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.files import deep_png, noise

SIDE = 23_000
"""Side, pixels, of a square just below the limit of one image."""

_SIZES = {3: 2, 4: 4, 16: 8}


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Build a TIFF of one directory and no pixels from (tag, type, count, value); values over 4 bytes are offsets."""
    body = b"".join(
        struct.pack("<HHI", tag, kind, count) + value.to_bytes(_SIZES[kind], "little")[:4].ljust(4, b"\0")
        for tag, kind, count, value in sorted(entries)
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", following)


def tiff_page(width: int, height: int, bits: int = 8, samples: int = 1) -> list[tuple[int, int, int, int]]:
    """Return the entries of an uncompressed grey page of one strip."""
    layout = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1)]
    return [*layout, (273, 4, 1, 8), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, 100)]


def tiff_tiles(width: int, height: int, tile: int, bits: int = 8, photometric: int = 1) -> bytes:
    """Build a TIFF that claims square tiles and lists one."""
    plain = [entry for entry in tiff_page(width, height, bits) if entry[0] not in (262, 273, 278, 279)]
    return tiff(*plain, (262, 3, 1, photometric), (322, 3, 1, tile), (323, 3, 1, tile), (324, 4, 1, 8), (325, 4, 1, 1))


def gif(width: int, height: int, frame: tuple[int, int], frames: int = 1) -> bytes:
    """Build a GIF whose frames have another size than its canvas."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    picture = b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\x00"
    return head + picture * frames + b";"


def png(width: int, height: int, kind: int = 2, bits: int = 16, data: bytes = b"", end: bool = True) -> bytes:
    """Build a PNG whose header claims a size, with any compressed data."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", data), *([(b"IEND", b"")] if end else [])]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in parts
    )


def bmp(width: int, height: int) -> bytes:
    """Build a BMP whose header claims a size, with 4 bytes of pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 1, 1, 0, 0)
    return b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + header + bytes(4)


def jpeg(width: int, height: int) -> bytes:
    """Build a JPEG of 8 x 8 pixels whose header claims another size."""

    file = io.BytesIO()
    Image.fromarray(noise(8, 8, 3)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def progressive_jpeg(scans: int) -> bytes:
    """Build a progressive JPEG with `scans` more copies of its last scan."""
    file = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * scans + content[-2:]


def bombs() -> dict[str, bytes]:
    """Return small files that claim more data than they hold, by name."""
    circle = tiff(*tiff_page(4, 4), following=8)
    truncated = deep_png(noise(300, 300, 3, dtype="uint16"))
    return {
        "canvas.gif": gif(SIDE, SIDE, (1, 1)),
        "frame.gif": gif(1, 1, (SIDE, SIDE)),
        "largest.gif": gif(65535, 65535, (65535, 65535)),
        "tiles.tif": tiff_tiles(SIDE, SIDE, 1),
        "palette-tiles.tif": tiff_tiles(SIDE, SIDE, 1, photometric=3),
        "packed-tiles.tif": tiff_tiles(SIDE, SIDE, 1, bits=4),
        "scans.jpg": progressive_jpeg(300),
        "one-tile.tif": tiff_tiles(10, 10, 65520),
        "samples.tif": tiff(*tiff_page(SIDE, SIDE, 16, 64)),
        "thin.tif": tiff(*tiff_page(1, 2**29)),
        "wide.tif": tiff(*tiff_page(2**32 - 1, 2**32 - 1)),
        "tags.tif": tiff(*tiff_page(4, 4), (65000, 16, 2**32 - 1, 8)),
        "circle.tif": circle,
        "nothing.tif": tiff(*tiff_page(0, 0)),
        "colour.png": png(22_000, 22_000, data=zlib.compress(bytes(10_000)), end=False),
        "truncated.png": truncated[: len(truncated) // 2],
        "bits.png": png(SIDE, SIDE, kind=0, bits=1, data=zlib.compress(bytes(1000))),
        "claim.jpg": jpeg(SIDE, SIDE),
        "claim.bmp": bmp(SIDE, SIDE),
        "claim.ppm": b"P6 23000 23000 65535\n" + bytes(100),
        "claim.pgm": b"P5 23000 23000 255\n" + bytes(100),
    }


def write_bombs(folder: Path) -> list[Path]:
    """Write all `bombs` to a new folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in bombs().items():
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    return paths


def mutants(content: bytes, count: int, seed: int = 0) -> list[bytes]:
    """Return copies of a file with a few bytes changed, truncated or repeated; deterministic by seed."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        changed = bytearray(content)
        for place in rng.integers(0, len(changed), rng.integers(1, 8)):
            changed[place] = int(rng.integers(256))
        kind = rng.integers(4)
        if kind == 0:
            changed = changed[: int(rng.integers(1, len(changed)))]
        elif kind == 1:
            start, end = sorted(rng.integers(0, len(changed), 2).tolist())
            changed[end:end] = changed[start:end]
        made.append(bytes(changed))
    return made
