"""Queries by row name, and their distinction from file names."""

import difflib
import filecmp
import os

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.errors import UsageError


def find_row(file: FeatureFile, name: str) -> int | None:
    """Return the first row of an image name, with or without `./`; None if no row has it."""
    row_name = name if name.startswith("./") else f"./{name}"
    return file.names.index(row_name) if row_name in file.names else None


def is_same_image(query: str, row: int, file: FeatureFile) -> bool:
    """Return whether a query that names a row means that row: no file has that name, or it is the row's image.

    Raises:
        UsageError: A file of that name exists, and is another image than the row's or cannot be compared with it.
    """
    if not os.path.exists(query):
        return True
    image = file.image(row)
    if image is not None and image.is_file() and (image.samefile(query) or filecmp.cmp(image, query, shallow=False)):
        return True
    where = f"of {image}" if image else f"of {file.path}, which does not say where its images lie"
    raise UsageError(
        f"{query} is a file here and also the name of a row {where}: give --row {query} for the row, or the whole path "
        f"{os.path.abspath(query)} for the file"
    )


def missing_row(file: FeatureFile, name: str) -> str:
    """Return the error message for an unknown row name, with the closest name."""
    close = difflib.get_close_matches(name, [row_name.removeprefix("./") for row_name in file.names], n=1)
    return f"--row {name}: no row of {file.path} has that name; " + (
        f"did you mean {close[0]}?" if close else f"the first one is {file.names[0]}"
    )
