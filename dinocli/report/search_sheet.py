"""Queries and results of a search, and their contact sheet.

Shapes: D width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.data.canvas import rgb
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import Box
from dinocli.errors import DataError, WeightsError
from dinocli.files import write_atomic
from dinocli.progress import ProgressReporter
from dinocli.report.sheet import sheet_png

_SIDE = 256
_BLANK = np.full((8, 8, 3), 235, np.uint8)


@dataclass(frozen=True)
class Hit:
    """A search result.

    Args:
        row: Row in the feature file, from 0.
        name: Name of the image.
        path: File of the image; None if unknown.
        box: Tile; None for a whole image.
        cosine: Cosine similarity to the query, -1 to 1.
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
    """A search query.

    Args:
        name: Name as the user gave it.
        path: File of the image; None if there is none.
        row: Row of the query in the feature file, excluded from its results; -1 if it has none.
        feature_D: Feature vector.
        box: Part of the image that is the query; None: the whole image.
        parts: Rows that a combined query was made of, also excluded from its results.
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
    """Draw one row per query: the query, then its results, best first, with names and cosines.

    Args:
        path: Output PNG file.
        file: Feature file, with preprocessing and tiles.
        answers: Queries with their results.
        reporter: Receives a warning with the number of pictures that cannot be read.

    Raises:
        WeightsError: The feature file does not name the folder of its images.
    """
    preprocess = file.preprocess()
    if preprocess is None or not file.meta.get("root"):
        raise WeightsError(f"{file.path} does not say where its images lie: no --sheet without them")
    reader = Reader(preprocess, _SIDE)
    rows, unreadable = [], 0
    for query, hits in answers:
        query_box = file.boxes[query.row] if file.boxes and query.row >= 0 else query.box
        parts = [(query.path, query_box), *((hit.path, hit.box) for hit in hits)]
        pictures = [_picture(reader, image, box) for image, box in parts]
        unreadable += sum(picture is None for picture in pictures)
        rows.append([_BLANK if picture is None else picture for picture in pictures])
    if unreadable:
        reporter.warn(f"{unreadable} pictures of the sheet cannot be read and are blank; have the images moved?")
    titles = ["query", *map(str, range(1, max(map(len, rows), default=1)))]
    captions = [["", *(f"{Path(hit.name).name}\ncosine {hit.cosine:.3f}" for hit in hits)] for _, hits in answers]
    names = [query.name for query, _ in answers]
    write_atomic(path, sheet_png(rows, column_labels=titles, row_labels=names, captions=captions))


def _picture(reader: Reader, path: Path | None, box: Box | None) -> NDArray[np.uint8] | None:
    """Read a picture with the preprocessing of the feature file, as 8-bit RGB; None if it cannot be read."""
    if path is None:
        return None
    try:
        return rgb(reader.tile(str(path), box))
    except DataError:
        return None
