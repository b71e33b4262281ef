"""Labels that a user has, from folder names or a CSV. Closing tables and evaluation read them, the guard never."""

import csv
import posixpath
from collections.abc import Sequence
from pathlib import Path

from dinocli.errors import DataError

Labels = dict[str, list[str]]
"""One list per label column, in the order of the images; an empty string where an image has no label."""

_TOO_MANY = ""  # the column of what stands beyond the header


def read_labels(spec: str, names: Sequence[str]) -> Labels:
    """Read the labels of images.

    Args:
        spec: `folder` takes the name of each image's folder; anything else is the path of a CSV with a header, a `path`
            column (relative to the images' folder) and any number of label columns.
        names: The images, relative to their folder, as `./a/b.png`.

    Raises:
        DataError: If the file cannot be used, or no image has a label.
    """
    if spec == "folder":
        found = (posixpath.basename(posixpath.dirname(name)) for name in names)
        parents = ["" if parent == "." else parent for parent in found]
        if not any(parents):
            raise DataError("no image lies in a folder of its class, so there are no labels; give a CSV")
        return {"folder": parents}
    table = _read_csv(Path(spec))
    columns = [column for column in next(iter(table.values())) if column not in ("path", _TOO_MANY)]
    empty: dict[str, str] = {}
    rows = [table.get(posixpath.normpath(name), empty) for name in names]
    if not any(rows):
        raise DataError(f"no path in {spec} is the name of an image here; the first image is {names[0]}")
    labels = {column: [row.get(column, "") for row in rows] for column in columns}
    if not any(map(any, labels.values())):
        raise DataError(f"{spec} has an empty label for every image here")
    return labels


def of_several_kinds(labels: Labels) -> Labels:
    """Leave out the columns by which nothing can be measured, because they hold fewer than two labels."""
    return {column: values for column, values in labels.items() if len(set(values) - {""}) > 1}


def _read_csv(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restkey=_TOO_MANY, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the labels {path}: {error}; give `folder` or a CSV") from None
    if not rows or "path" not in rows[0] or len(rows[0]) < 2:
        raise DataError(f"{path} needs a header with `path` and at least one label column")
    return {posixpath.normpath(row["path"].strip()): row for row in rows}
