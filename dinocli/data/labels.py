"""Image labels from folder names, a CSV or annotations; only evaluation uses them, never the guard."""

import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from dinocli.data.annotated_images import Annotations
from dinocli.data.annotations import annotation_kind, image_categories, read_annotations
from dinocli.data.box_table import box_table, is_class_column
from dinocli.data.label_paths import AMBIGUOUS, NO_IMAGE, match_paths
from dinocli.data.label_text import label_notes, plain_label, shown_cell
from dinocli.data.path_list import PATH_COLUMNS, column_name
from dinocli.data.text_tables import TableRow, decode_text, is_utf8, parse_table, read_content, windows_text
from dinocli.errors import DataError, UsageError

Labels = dict[str, list[str]]
"""Label column -> one label per image; an empty string means no label."""

_ZIP_MAGIC = b"PK\x03\x04"
MAX_COLUMNS = 1000
"""A table with more columns holds features, not labels."""
CATEGORY_COLUMN = "category"
"""Name of the label column that annotations give."""
_FOLDER_SPEC = re.compile(r"folder(?::(-?\d+))?")


def read_labels(spec: str, names: Sequence[str], note: Callable[[str], object] = lambda text: None) -> Labels:
    """Read the labels of images.

    Args:
        spec: `folder`: the name of each image's folder. `folder:N`: the name of its Nth folder from the root (0 is the
            outermost, -1 the innermost). A COCO .json, a folder of YOLO .txt or VOC .xml, or a `box_table`: the class
            of the image's objects. Anything else: path of a CSV with a header, a `path` column and label columns; its
            paths are matched to images by `match_paths`.
        names: Image names, written `./a/b.png`; tiles of one image share its name.
        note: Called with sentences on what was not used, or used on an assumption.

    Raises:
        DataError: The file cannot be used, contradicts itself, or gives no image a label.
    """
    if _FOLDER_SPEC.fullmatch(spec):
        return {"folder": folder_labels(spec, names, note)}
    if annotation_kind(Path(spec)):
        header, rows = _largest_classes(spec, read_annotations(Path(spec)), CATEGORY_COLUMN, note)
    else:
        header, rows = _read_csv(Path(spec), note)
        if boxes := box_table(spec, header, rows):
            count = sum(len(image.objects) for image in boxes.images)
            note(f"{spec} is a table of boxes: {count:,} objects in {len(boxes.images):,} images")
            header, rows = _largest_classes(spec, boxes, next(filter(is_class_column, header)), note)
    cells_of = _joined(spec, header, rows, list(dict.fromkeys(names)), note)
    empty: dict[str, str] = {}
    labels = {column: [cells_of.get(name, empty).get(column, "") for name in names] for column in header if column}
    if not any(map(any, labels.values())):
        raise DataError(f"{spec} has an empty label for every image here")
    for column, values in labels.items():
        for sentence in label_notes(column, values):
            note(sentence)
    return labels


def read_groups(columns: Labels, spec: str, names: Sequence[str]) -> list[str] | None:
    """Return the group of each row, and remove the group column from the labels.

    An image without a group is a group of its own.

    Args:
        columns: Label columns; the group column is removed.
        spec: Name of a column, `folder` (the whole folder path) or `folder:N`; empty for none.
        names: Image name of each row; rows of the same name (tiles of one image) form a group.

    Returns:
        None if every row is its own group.

    Raises:
        UsageError: No such column, or no label column left.
    """
    if spec == "folder":
        values = [posixpath.dirname(name) for name in names]
    elif is_folder_spec(spec):
        values = folder_labels(spec, names)
    elif spec:
        if spec not in columns:
            raise UsageError(f"--groups {spec}: the labels have the columns {', '.join(columns)}, or say `folder`")
        values = columns.pop(spec)
        if not columns:
            raise UsageError(f"--groups {spec} is the only column of the labels: a label column is needed beside it")
    elif len(set(names)) < len(names):
        values = list(names)
    else:
        return None
    # No label begins with NUL, so the group of a single image cannot equal a named one.
    return [value or f"\0{name}" for value, name in zip(values, names, strict=True)]


def multiclass_columns(labels: Labels) -> Labels:
    """Return the columns with at least two classes; no score can be computed on others."""
    return {column: values for column, values in labels.items() if len(set(values) - {""}) > 1}


def is_folder_spec(spec: str) -> bool:
    """Return whether labels or groups come from folder names."""
    return bool(_FOLDER_SPEC.fullmatch(spec))


def folder_labels(spec: str, names: Sequence[str], note: Callable[[str], object] = lambda text: None) -> list[str]:
    """Return one folder name of each image; empty if the image is not nested that deep.

    Raises:
        DataError: No image is nested that deep.
    """
    match = _FOLDER_SPEC.fullmatch(spec)
    level = int(match[1] or -1) if match else -1
    folders = [name.split("/")[1:-1] for name in names]
    labels = [plain_label(parts[level]) if -len(parts) <= level < len(parts) else "" for parts in folders]
    if not any(labels):
        where = "in a folder of its class" if level == -1 else f"deep enough for {spec}"
        raise DataError(f"no image lies {where}, so there are no labels; give a CSV")
    deepest = max(map(len, folders))
    if spec == "folder" and deepest > 1:
        outer = sorted({parts[0] for parts in folders if parts})
        few = ", ".join(outer[:5]) + (" ..." if len(outer) > 5 else "")
        note(
            f"images lie up to {deepest} folders deep: the label is the innermost one ({len(set(labels))} names); "
            f"--labels folder:0 takes the outermost ({len(outer)} names: {few})"
        )
    return labels


def _read_csv(path: Path, note: Callable[[str], object]) -> tuple[list[str], list[TableRow]]:
    """Return the header, with an empty name for the path column, and the rows, with the path as first cell."""
    if path.is_dir():
        raise DataError(f"{path} is a folder without YOLO .txt or VOC .xml; for the names of folders say `folder`")
    try:
        content = read_content(path)
        if content.startswith(_ZIP_MAGIC):
            raise DataError("it is a spreadsheet or an archive")
        text = decode_text(content)
        if not is_utf8(text):
            text = windows_text(text)
            note(f"{path} is not UTF-8 and was read as Windows-1252; save it as UTF-8 if labels look wrong")
        rows = parse_table(text)
    except (OSError, ValueError, DataError) as error:
        raise DataError(f"cannot read the labels {path}: {error}; give `folder` or a CSV") from None
    header = rows[0].cells if rows else []
    folded = [column_name(cell) for cell in header]
    named = next((name for name in PATH_COLUMNS if name in folded), None)
    columns = [cell for cell in header if cell]
    if len(rows) == 1 and named is not None and len(columns) > 1:
        raise DataError(f"{path} has a header and no rows")
    if len(rows) < 2 or named is None or len(columns) < 2:
        found = f"; its first line is {shown_cell(','.join(header))}" if header else ""
        raise DataError(f"{path} needs a header with `path` and at least one label column{found}")
    if len(columns) > MAX_COLUMNS:
        raise DataError(f"{path} has {len(columns):,} columns, more than {MAX_COLUMNS:,}: it is not a table of labels")
    twice = next((name for name in columns if columns.count(name) > 1), "")
    if twice:
        raise DataError(f"{path} has the column {twice!r} twice; rename one of them")
    path_index = folded.index(named)
    header[path_index] = ""
    width = len(header)
    if longer := [row for row in rows[1:] if any(row.cells[width:])]:
        note(
            f"{len(longer):,} of {len(rows) - 1:,} rows of {path} have more cells than the header, which are ignored: "
            f"the first is line {longer[0].line}; quote a cell that contains a separator"
        )
    padded = [TableRow(row.line, (row.cells + [""] * width)[:width]) for row in rows[1:]]
    return header, [TableRow(row.line, [row.cells[path_index], *map(plain_label, row.cells)]) for row in padded]


def _largest_classes(
    spec: str, annotations: Annotations, column: str, note: Callable[[str], object]
) -> tuple[list[str], list[TableRow]]:
    """Return annotations in the form of `_read_csv`: one row per image with an object, without a line number."""
    categories, notes = image_categories(annotations)
    if not categories:
        raise DataError(f"{spec} names no object in its {len(annotations.images):,} images")
    for text in notes:
        note(text)
    rows = [TableRow(0, [name, name, label]) for name, label in categories.items()]
    return ["", column], rows


def _joined(
    spec: str, header: list[str], rows: list[TableRow], names: list[str], note: Callable[[str], object]
) -> dict[str, dict[str, str]]:
    """Return image name -> column -> label, merged over all rows that match the image.

    Raises:
        DataError: No row matches an image, or two rows contradict each other.
    """
    paths = [row.cells[0] for row in rows]
    matches = match_paths(paths, names)
    if not any(image >= 0 for image in matches.image_R):
        first = f"the first image is {names[0]}, the first path {shown_cell(paths[0])}"
        if AMBIGUOUS in matches.image_R:
            raise DataError(f"every path in {spec} could mean several images; give more of their folders: {first}")
        raise DataError(f"no path in {spec} is the name of an image here; {first}")
    cells_of: dict[str, dict[str, str]] = {}
    places: dict[tuple[str, str], str] = {}
    for row, image in zip(rows, matches.image_R, strict=True):
        if image < 0:
            continue
        cells = cells_of.setdefault(names[image], {})
        for column, value in zip(header, row.cells[1:], strict=True):
            if column and value and cells.setdefault(column, value) != value:
                before = places[names[image], column]
                raise DataError(
                    f"{spec} contradicts itself: {names[image]} is {cells[column]!r} in {before} and {value!r} in "
                    f"{_place(row)} ({column}); keep one"
                )
            places.setdefault((names[image], column), _place(row))
    _note_matches(spec, rows, matches.image_R, matches.loose, names, len(cells_of), note)
    return cells_of


def _note_matches(
    spec: str,
    rows: list[TableRow],
    image_R: list[int],
    loose: list[int],
    names: list[str],
    labelled: int,
    note: Callable[[str], object],
) -> None:
    """Note rows that match by part of their path, unmatched rows and unmatched images."""
    kind_of_row = "rows" if rows[0].line else "images"
    if loose:
        example = f"{_named(rows[loose[0]])}, means {names[image_R[loose[0]]]}"
        note(f"{len(loose):,} of {len(rows):,} {kind_of_row} of {spec} match by part of their path: {example}")
    for kind, reason in ((AMBIGUOUS, "could mean several images"), (NO_IMAGE, "match no image")):
        unmatched = [row for row, image in zip(rows, image_R, strict=True) if image == kind]
        if unmatched:
            first = f"the first is {_named(unmatched[0])}"
            note(f"{len(unmatched):,} of {len(rows):,} {kind_of_row} of {spec} {reason}: {first}")
    if labelled < len(names):
        note(
            f"{len(names) - labelled:,} of {len(names):,} images have no {'row' if rows[0].line else 'class'} in {spec}"
        )


def _place(row: TableRow) -> str:
    """Return the line of a row, or its path if it comes from annotations, which have no lines."""
    return f"line {row.line}" if row.line else shown_cell(row.cells[0])


def _named(row: TableRow) -> str:
    return f"{_place(row)}, {shown_cell(row.cells[0])}" if row.line else _place(row)
