"""Annotations in a table with one row an object: `filename,class,xmin,ymin,xmax,ymax`, as for TensorFlow detectors."""

from collections import defaultdict
from collections.abc import Sequence

from dinocli.data.annotated_images import AnnotatedImage, AnnotatedObject, Annotations
from dinocli.data.path_list import column_name
from dinocli.data.text_tables import TableRow
from dinocli.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_CLASS_COLUMNS = ("class", "label", "category", "class_name", "name")


def is_class_column(cell: str) -> bool:
    """Return whether a column of this name holds the class of an object."""
    return column_name(cell) in _CLASS_COLUMNS


def box_table(spec: str, header: Sequence[str], rows: Sequence[TableRow]) -> Annotations | None:
    """Return the annotations of a table with corners of boxes and a class; None for every other table.

    Args:
        spec: Path of the table, for messages.
        header: Names of the columns.
        rows: Path of the image, then the cells of all columns.

    Raises:
        DataError: A corner is not a number.
    """
    folded = [column_name(cell) for cell in header]
    category = next((place for place, cell in enumerate(header) if is_class_column(cell)), None)
    if category is None or not set(_CORNERS) <= set(folded):
        return None
    objects: defaultdict[str, list[AnnotatedObject]] = defaultdict(list)
    for row in rows:
        path, *cells = row.cells
        found = objects[path]
        if not cells[category]:
            continue  # the row of an image without an object
        try:
            left, top, right, bottom = (float(cells[folded.index(corner)]) for corner in _CORNERS)
        except ValueError:
            raise DataError(
                f"{spec}, line {row.line}: xmin, ymin, xmax and ymax of a table of boxes have to be numbers"
            ) from None
        found.append(AnnotatedObject(cells[category], (left, top, right - left, bottom - top)))
    images = tuple(AnnotatedImage(path, tuple(found)) for path, found in objects.items())
    return Annotations("table", images, tuple(sorted({each.category for found in objects.values() for each in found})))
