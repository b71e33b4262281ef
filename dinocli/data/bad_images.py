"""Images that cannot be read: how many are accepted, and the file that names them."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dinocli.errors import DataError, UsageError
from dinocli.files import write_atomic


class UnreadableImage(DataError):
    """One image that cannot be read; others can."""


@dataclass(frozen=True)
class BadLimit:
    """Limit of unreadable images.

    Args:
        spec: As the user wrote it, for the message.
        most: The same as a number of images.
        total: All images, the unreadable ones too.
    """

    spec: str
    most: int
    total: int

    def check(self, bad: Sequence[tuple[str, str]]) -> None:
        """Raise a `DataError` that names the first three when there are too many, or when all are."""
        if len(bad) <= self.most and len(bad) < self.total:
            return
        first = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
        if len(bad) >= self.total:
            raise DataError(f"none of {self.total} images can be read ({first}); check the folder and the format")
        raise DataError(
            f"{len(bad)} of {self.total} images cannot be read, more than --max-bad {self.spec} ({first}); "
            "leave them out or raise --max-bad"
        )


def bad_limit(spec: str, total: int) -> BadLimit:
    """Parse ``--max-bad``: a share (``10%``) or a number (``25``) of all images; `UsageError` otherwise."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)%|(\d+))", spec.strip())
    if match is None or (match[1] and float(match[1]) > 100):
        raise UsageError(f"--max-bad {spec!r} is not known; use a share, such as 10%, or a number, such as 25")
    return BadLimit(spec, math.floor(float(match[1]) / 100 * total) if match[1] else int(match[2]), total)


def write_bad(path: Path, bad: Sequence[tuple[str, str]]) -> None:
    """Write unreadable images as CSV with the columns path, reason; the file is complete or not there."""
    text = io.StringIO()
    csv.writer(text).writerows([("path", "reason"), *bad])
    write_atomic(path, text.getvalue())
