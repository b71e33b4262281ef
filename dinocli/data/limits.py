"""Limits on the memory that one file may take: checked by its header, before anything is decoded.

A file of a hundred bytes can claim to be gigabytes: a canvas far larger than its frame, samples or tiles without data.
Real images cannot: no lossless compression in use makes more than about a thousand bytes of one, unless all of them
are the same.
"""

from threading import Lock
from types import TracebackType

from dinocli.data.memory_budget import free_memory
from dinocli.errors import DataError

MAX_PIXELS = 2**29
"""Most pixels of one image, about 23,000 x 23,000."""

_ALWAYS_ALLOWED_BYTES = 2**26  # bytes that any file may claim: a blank image of common size can be tiny
_MAX_COMPRESSION_RATIO = 2**12  # bytes decoded for each one stored: deflate ends at 1032, LZW at about 2600
_SERIAL_BYTES = 2**28  # bytes from which images are decoded one after another, and only where they fit into memory
_PEAK_COPIES = 4  # of the decoded bytes that exist at the same time: the decoder's, ours, in float, mapped

_one_large = Lock()


class Allowance:
    """The memory that one file may take while it is decoded and shrunk.

    Threads that decode large images at the same time would need the memory of all of them. Such an image waits for the
    one before until the block ends.
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
            _one_large.release()
        if isinstance(error, MemoryError):  # one image that needs too much must not end the others
            raise DataError("there is not enough memory to decode it") from error

    def reserve(self, height: int, width: int, nbytes: int, stored: int) -> None:
        """Refuse what cannot be, or does not fit.

        Args:
            height: Pixels.
            width: Pixels.
            nbytes: Size of the decoded file, all samples.
            stored: Size of the file, bytes.

        Raises:
            DataError: With the number.
        """
        check_pixels(height, width)
        if nbytes > max(_ALWAYS_ALLOWED_BYTES, _MAX_COMPRESSION_RATIO * stored):
            raise DataError(f"a file of {stored:,} bytes claims {nbytes:,} bytes of pixels: it is damaged, or blank")
        if nbytes <= _SERIAL_BYTES:
            return
        if not self._held:
            _one_large.acquire()
            self._held = True
        room = free_memory()
        if room and nbytes * _PEAK_COPIES > room:
            raise DataError(
                f"decoding needs about {nbytes * _PEAK_COPIES / 1e9:.1f} GB of memory, {room / 1e9:.1f} are free; "
                "cut the image into tiles first"
            )


def check_pixels(height: int, width: int) -> None:
    """Raise a `DataError` for a size that is none, or too large."""
    if height * width > MAX_PIXELS:
        raise DataError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}; cut the image into tiles first")
    if height < 1 or width < 1:
        raise DataError(f"an image of {width} x {height} pixels")
