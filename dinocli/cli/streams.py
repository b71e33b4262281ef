"""Setup of the standard streams: closed descriptors, full disks, encodings that cannot carry file names."""

import io
import os
import sys
from typing import Any, TextIO


class ClosedOutputError(OSError):
    """Standard output is closed, so that the result cannot be written."""


def prepare_streams() -> None:
    """Make stdin, stdout and stderr usable; call it before any file is opened.

    The next opened file would get a closed descriptor 0, 1 or 2, and messages of C libraries would go into that file;
    so each closed descriptor becomes the null device. Writing to stderr never fails: text that cannot be written is
    lost, and the command goes on. Stdout in a pipe or file carries file names byte for byte.

    Raises:
        ClosedOutputError: Standard output is closed.
    """
    closed = [descriptor for descriptor in range(3) if not _is_open(descriptor)]
    for descriptor in closed:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
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


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _lossy(stream: TextIO | None) -> TextIO:
    raw: Any = _Lossy(2 if stream is None else stream.fileno())
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)


class _Lossy(io.RawIOBase):
    """Raw stream over a descriptor; writes never fail, bytes that cannot be written are lost."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        remaining = memoryview(data).cast("B")
        size = len(remaining)
        try:
            while remaining:
                remaining = remaining[os.write(self._descriptor, remaining) :]
        except OSError:
            pass
        return size
