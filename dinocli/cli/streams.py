"""Standard streams that are closed, full, or of another encoding than the names they have to carry."""

import io
import os
import sys
from typing import Any, TextIO


class ClosedOutputError(OSError):
    """Standard output is closed: the result has nowhere to go."""


def settle_streams() -> None:
    """Make the three streams usable, before anything is opened.

    A closed descriptor would be given to the next file that is opened, and what a C library tells on it would go into
    that file. So the null device takes the place of each closed one. Standard error never fails: what it cannot take
    is lost, and the work goes on. Standard output in a pipe or file carries names byte for byte.

    Raises:
        ClosedOutputError: Standard output is closed.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for number in closed:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle != number:
            os.dup2(handle, number)
            os.close(handle)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = _lossy(sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    if 1 in closed:
        raise ClosedOutputError("standard output is closed; send it somewhere, for example > /dev/null")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _lossy(stream: TextIO | None) -> TextIO:
    raw: Any = _Lossy(2 if stream is None else stream.fileno())
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)


class _Lossy(io.RawIOBase):
    """A descriptor that takes everything, and loses what the system does not take."""

    def __init__(self, handle: int) -> None:
        super().__init__()
        self._handle = handle

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._handle)

    def fileno(self) -> int:
        return self._handle

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError:
            pass
        return size
