"""Errors of decoders as one line: what lies in the place of an image, or why it cannot be decoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import UnidentifiedImageError

from dinocli.data.decoder_warnings import current
from dinocli.data.dicom import NO_PREAMBLE
from dinocli.data.image_source import image_source, read_head
from dinocli.data.limits import without_pil_limit
from dinocli.errors import DataError, one_line

_OTHER_CONTENT = (
    (b"version https:", "a pointer of Git LFS, not the image: run `git lfs pull`"),
    (b"<!doctype html", "a web page, not an image: download it again"),
    (b"<html", "a web page, not an image: download it again"),
    (b"\xff\n", "JPEG XL, which is not read: convert it, for example to PNG"),
    (b"\0\0\0\x0cjxl ", "JPEG XL, which is not read: convert it, for example to PNG"),
)
"""First bytes, in lower case, of what often lies in place of an image, and the reason to give."""


@contextmanager
def one_line_errors(path: str | Path) -> Iterator[None]:
    """Raise every error of a decoder as a `DataError` of one line."""
    current.path = path
    try:
        with without_pil_limit():
            yield
    except DataError:
        raise
    except MemoryError as error:  # one file that is too large must not stop the run
        raise DataError("there is not enough memory to decode it") from error
    except Exception as error:  # decoders raise nearly every exception class on broken files
        raise DataError(_reason(error, path)) from error


def _reason(error: Exception, path: str | Path) -> str:
    if isinstance(error, UnidentifiedImageError):
        named_dicom = str(path).lower().endswith((".dcm", ".dicom"))
        return NO_PREAMBLE if named_dicom else _other_content(path)
    return one_line(error)


def _other_content(path: str | Path) -> str:
    """Return the reason for a file that no decoder knows."""
    head = read_head(image_source(str(path)))[0].lstrip().lower()
    return next(
        (reason for magic, reason in _OTHER_CONTENT if head.startswith(magic)), "not an image in a known format"
    )
