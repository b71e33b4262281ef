"""Queries and results of a search, as records and as a contact sheet.

Shapes: D width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import Box, FeatureFile
from dinocli.data.read import Reader, rgb
from dinocli.errors import DataError, WeightsError
from dinocli.progress import ProgressReporter
from dinocli.report.sheet import contact_sheet

_SIDE = 256
_BLANK = np.full((8, 8, 3), 235, np.uint8)


@dataclass(frozen=True)
class Hit:
    """One result.

    Args:
        row: In the feature file, from 0.
        name: Name of its image.
        path: File of the image; None where the feature file does not say.
        box: Its tile, None for a whole image.
        cosine: Similarity to the query, -1 to 1.
    """

    row: int
    name: str
    path: Path | None
    box: Box | None
    cosine: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        where = {"path": str(self.path) if self.path else None, "box": self.box}
        return {"name": self.name, **where, "row": self.row, "cosine": self.cosine}


@dataclass(frozen=True)
class Query:
    """One query.

    Args:
        name: Name as it was given.
        path: Its image, where there is one.
        row: Its own row in the feature file, which it does not find; -1 if it has none.
        feature_D: Its vector.
        box: The part of the image that is the query; None: the whole image.
        parts: Rows of the feature file that it was made of, which it does not find either.
    """

    name: str
    path: Path | None
    row: int
    feature_D: NDArray[np.floating]
    box: Box | None = None
    parts: frozenset[int] = frozenset()


def write_sheet(
    path: Path, file: FeatureFile, answers: list[tuple[Query, list[Hit]]], reporter: ProgressReporter
) -> None:
    """Draw one row a query: the query first, then its results, best first.

    Args:
        path: Path of the PNG file.
        file: Knows how its images are read, and where tiles lie.
        answers: Queries with their results.
        reporter: Receives the number of pictures that cannot be shown.

    Raises:
        WeightsError: The feature file does not say where its images lie.
    """
    preprocess = file.preprocess()
    if preprocess is None or not file.meta.get("root"):
        raise WeightsError(f"{file.path} does not say where its images lie: no --sheet without them")
    reader = Reader(preprocess, _SIDE)
    rows, gone = [], 0
    for query, hits in answers:
        own = file.boxes[query.row] if file.boxes and query.row >= 0 else query.box
        pictures = [_picture(reader, *what) for what in [(query.path, own), *((hit.path, hit.box) for hit in hits)]]
        gone += sum(picture is None for picture in pictures)
        rows.append([_BLANK if picture is None else picture for picture in pictures])
    if gone:
        reporter.warn(f"{gone} pictures of the sheet cannot be read and are blank; have the images moved?")
    titles = ["query", *map(str, range(1, max(map(len, rows), default=1)))]
    contact_sheet(path, rows, column_labels=titles, row_labels=[query.name for query, _ in answers])


def _picture(reader: Reader, path: Path | None, box: Box | None) -> NDArray[np.uint8] | None:
    """Read one picture as the network sees it: in the range of the file, 8 bits, three channels."""
    if path is None:
        return None
    try:
        return rgb(reader.tile(str(path), box))
    except DataError:
        return None
