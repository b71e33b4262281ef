"""Unreadable images: the limit `--max-bad` and the CSV file that lists them."""

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
    """One image cannot be read; the run continues without it."""


@dataclass(frozen=True)
class BadLimit:
    """Limit on the number of unreadable images.

    Args:
        spec: Value of `--max-bad`, for the message.
        max_bad: The limit as a number of images.
        total: Number of images, including unreadable ones.
    """

    spec: str
    max_bad: int
    total: int

    def check(self, bad: Sequence[tuple[str, str]]) -> None:
        """Raise `DataError` with the first three (name, reason) if more than the limit, or all, are unreadable."""
        if len(bad) <= self.max_bad and len(bad) < self.total:
            return
        first = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
        if len(bad) >= self.total:
            raise DataError(f"none of {self.total} images can be read ({first}); check the folder and the format")
        raise DataError(
            f"at least {len(bad)} of {self.total} images cannot be read, --max-bad {self.spec} allows {self.max_bad} "
            f"({first}); leave them out or raise --max-bad"
        )


def bad_limit(spec: str, total: int) -> BadLimit:
    """Parse ``--max-bad``: a percentage (``10%``) or a number (``25``) of images; `UsageError` otherwise."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)%|(\d+))", spec.strip())
    if match is None or (match[1] and float(match[1]) > 100):
        raise UsageError(f"--max-bad {spec!r} is not known; use a percentage, such as 10%, or a number, such as 25")
    return BadLimit(spec, math.floor(float(match[1]) / 100 * total) if match[1] else int(match[2]), total)


def write_bad(path: Path, bad: Sequence[tuple[str, str]]) -> None:
    """Write unreadable images as CSV with the columns path, reason; atomic."""
    text = io.StringIO()
    csv.writer(text).writerows([("path", "reason"), *bad])
    write_atomic(path, text.getvalue())


def read_bad(path: Path) -> list[tuple[str, str]]:
    """Read (name, reason) of the unreadable images from a file of `write_bad`; none if the file is missing."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["path"], row["reason"]) for row in csv.DictReader(file)]
