"""Limits on the memory that decoding one file may take, checked by its header before it is decoded.

A damaged or malicious file of 100 bytes can claim gigabytes of pixels: a canvas far larger than its frame, samples or
tiles without data. Valid files cannot: lossless compression reaches a ratio of about 1,000, more only on constant data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType

from PIL import Image

from dinocli.data.memory_budget import free_memory
from dinocli.errors import DataError

MAX_PIXELS = 2**29
"""Maximum pixels of one image, about 23,000 x 23,000."""

_ALWAYS_ALLOWED_BYTES = 2**26  # decoded size that any file may have: a blank image of common size can be a tiny file
_MAX_COMPRESSION_RATIO = 2**12  # decoded bytes per file byte: deflate reaches at most 1032, LZW about 2600
_SERIAL_BYTES = 2**28  # larger images are decoded one at a time, and only if they fit into free memory
_PEAK_COPIES = 4  # copies of the decoded image at the same time: of the decoder, as array, in float, range-mapped

_one_large_image, _counting = Lock(), Lock()


class _PilLimit:
    readers = 0
    of_caller: int | None = None


@contextmanager
def without_pil_limit() -> Iterator[None]:
    """Lift PIL's limit on pixels for all threads until the last of them leaves; then the calling program has it again.

    `Allowance` replaces it: PIL warns at a third of `MAX_PIXELS`, and does not tell the user what to do.
    """
    with _counting:
        if not _PilLimit.readers:
            _PilLimit.of_caller = Image.MAX_IMAGE_PIXELS
        _PilLimit.readers += 1
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _counting:
            _PilLimit.readers -= 1
            if not _PilLimit.readers:
                Image.MAX_IMAGE_PIXELS = _PilLimit.of_caller


class Allowance:
    """Memory limit for decoding and downscaling one file; a context manager.

    Threads that decode large images at the same time would need the memory of all of them. So a large image waits until
    the block of the previous one ends.
    """

    def __init__(self) -> None:
        self._held = False

    def __enter__(self) -> "Allowance":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            self._held = False
            _one_large_image.release()
        if isinstance(error, MemoryError):  # one image that is too large must not stop the run
            raise DataError("there is not enough memory to decode it") from error

    def reserve(self, height: int, width: int, nbytes: int, file_bytes: int) -> None:
        """Check the claimed size of an image; a large image waits for its turn.

        Args:
            height: Pixels.
            width: Pixels.
            nbytes: Size of the decoded image with all samples, bytes.
            file_bytes: Size of the file, bytes.

        Raises:
            DataError: The size is implausible for the file, or larger than the free memory.
        """
        check_pixels(height, width)
        if nbytes > max(_ALWAYS_ALLOWED_BYTES, _MAX_COMPRESSION_RATIO * file_bytes):
            raise DataError(
                f"a file of {file_bytes:,} bytes claims {nbytes:,} bytes of pixels: it is damaged, or blank"
            )
        if nbytes <= _SERIAL_BYTES:
            return
        if not self._held:
            _one_large_image.acquire()
            self._held = True
        needed, free = nbytes * _PEAK_COPIES, free_memory()
        if free and needed > free:
            raise DataError(
                f"decoding needs about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} are free; "
                "cut the image, or read a TIFF by windows (--window 1024)"
            )


def check_pixels(height: int, width: int) -> None:
    """Raise `DataError` for an empty image, or one of more than `MAX_PIXELS`."""
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{width} x {height} pixels are more than {MAX_PIXELS:,}; cut the image, or save it as TIFF with tiles"
        )
    if height < 1 or width < 1:
        raise DataError(f"an image of {width} x {height} pixels")
