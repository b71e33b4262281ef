"""Names of rows as queries, and how they are told from files."""

import difflib
import filecmp
import os

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.errors import UsageError


def find_row(file: FeatureFile, name: str) -> int | None:
    """Return the first row of an image by its name, with or without `./`; None where there is none."""
    known = name if name.startswith("./") else f"./{name}"
    return file.names.index(known) if known in file.names else None


def is_same_image(given: str, row: int, file: FeatureFile) -> bool:
    """Return whether a query by the name of a row means that row: no such file exists, or it is the row's image.

    Raises:
        UsageError: A file of that name exists, and is another image than the row's or cannot be compared with it.
    """
    if not os.path.exists(given):
        return True
    image = file.image(row)
    if image is not None and image.is_file() and (image.samefile(given) or filecmp.cmp(image, given, shallow=False)):
        return True
    where = f"of {image}" if image else f"of {file.path}, which does not say where its images lie"
    raise UsageError(
        f"{given} is a file here and also the name of a row {where}: give --row {given} for the row, or the whole path "
        f"{os.path.abspath(given)} for the file"
    )


def missing_row(file: FeatureFile, name: str) -> str:
    """Say that no row has a name, and which name is near."""
    near = difflib.get_close_matches(name, [known.removeprefix("./") for known in file.names], n=1)
    return f"--row {name}: no row of {file.path} has that name; " + (
        f"did you mean {near[0]}?" if near else f"the first one is {file.names[0]}"
    )
