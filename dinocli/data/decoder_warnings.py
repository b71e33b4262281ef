"""Warnings of image decoders, counted instead of printed to stderr one by one.

On damaged and unusual files PIL warns and logs, tifffile logs, and libtiff writes to stderr from C. None of them names
the file.
"""

import ctypes
import logging
import re
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from dinocli.errors import counted

current = threading.local()
"""Thread-local state: ``current.path`` is the file that this thread decodes."""

_LIBTIFF = logging.getLogger("dinocli.libtiff")
_LOGGERS = (logging.getLogger("tifffile"), logging.getLogger("PIL"), _LIBTIFF)
_MODULES = r"(PIL|tifffile)\b"
_NODATA = "GDAL_NODATA"
_handlers: list[Any] = []  # keeps the callbacks alive that C code refers to


class ColourLost(UserWarning):
    """A colour image is read as grey, because the images that were looked at before are grey."""


class DecoderWarnings(logging.Handler):
    """Counts decoder warnings and `ColourLost` within its block; other warnings are shown as before."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.first: dict[str, str] = {}
        self._coloured: dict[str, None] = {}  # paths in the order of reading
        self._warnings = warnings.catch_warnings()
        self._show: Any = None

    def __enter__(self) -> "DecoderWarnings":
        self._warnings.__enter__()
        warnings.filterwarnings("always", module=_MODULES)
        warnings.filterwarnings("always", category=ColourLost)
        self._show, warnings.showwarning = warnings.showwarning, self._hear
        for logger in _LOGGERS:
            logger.addHandler(self)
            logger.propagate = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for logger in _LOGGERS:
            logger.removeHandler(self)
            logger.propagate = True
        self._warnings.__exit__(kind, error, trace)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record of tifffile or libtiff."""
        self._add(record.getMessage())

    def summaries(self) -> list[str]:
        """Return the number of warnings and the first one, and the images whose colour is lost; one line each."""
        lines = []
        if self.count:
            path, message = next(iter(self.first.items()))
            about = counted(len(self.first), "file")
            lines.append(f"{counted(self.count, 'decoder warning')} about {about}; the first: {path}: {message}")
        if self._coloured:
            names = counted(len(self._coloured), "file")
            lines.append(
                f"{names} with colour, such as {next(iter(self._coloured))}, read as grey, as the sampled images are; "
                "leave such images out with --exclude, or embed them apart"
            )
        return lines

    def _hear(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, ColourLost):
            self._coloured.setdefault(_current_path())
        elif {"PIL", "tifffile"} & set(Path(filename).parts):
            self._add(str(message))
        else:
            self._show(message, category, filename, lineno, file, line)

    def _add(self, message: str) -> None:
        if _NODATA in message:  # tifffile cannot parse some GDAL numbers; `dinocli.data.tiff_nodata` can
            return
        self.count += 1
        self.first.setdefault(_current_path(), " ".join(message.split())[:200])


def _current_path() -> str:
    return str(getattr(current, "path", "?"))


def log_libtiff() -> None:
    """Redirect errors and warnings of PIL's libtiff to the logger, if libtiff is a separate shared library.

    Its handlers get (module, format, va_list). The va_list is not read, so numbers are missing from the messages.
    """
    with suppress(OSError, AttributeError):
        mapped = re.search(r"\S*/libtiff[-.]\S*", Path("/proc/self/maps").read_text())
        if mapped is None:
            return
        library = ctypes.CDLL(mapped[0])
        kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        handler = kind(_log)
        library.TIFFSetErrorHandler(handler)
        library.TIFFSetWarningHandler(handler)
        _handlers.append(handler)


def _log(module: bytes | None, text: bytes | None, arguments: int | None) -> None:
    words = re.sub(r"%[-+ #0-9.*]*(?:hh?|ll?|z|j)?[a-zA-Z]", "...", (text or b"").decode(errors="replace"))
    _LIBTIFF.warning("%s", words)
