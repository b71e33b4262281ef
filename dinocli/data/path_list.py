"""Lists of paths: `@list.txt`, a table with a path column, or standard input."""

import os
from collections.abc import Iterator, Sequence

from dinocli.data.text_tables import (
    SEPARATORS,
    TableRow,
    bare_utf16,
    decode_text,
    is_utf8,
    parse_table,
    read_content,
    text_lines,
    windows_text,
)
from dinocli.errors import DataError, one_line

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path")
_TABLES = (".csv", ".tsv")
_TAKES = "@ takes a text file with one path a line, or a table with a column path"


def read_path_list(path: str) -> Iterator[str]:
    """Yield the paths in a file: one per line, or one column of a table; lines that begin with ``#`` are comments.

    Of a table (`.csv`, `.tsv`, or a first line with a separator), the column `path` (or `file`, `filename`, `image`
    ...) is read; without such a header, the first column that holds an existing file. If the last byte of the file is
    NUL, paths are separated by NUL (`find -print0`).

    Raises:
        DataError: The file cannot be read as text, or its paths are relative to its own folder.
    """
    try:
        content = read_content(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the list {path!r}: {one_line(error)}") from error
    if _ends_with_null(content):
        return listed_paths(content, path)
    text = _text(content, path)
    first = next((line for line in text_lines(text) if line.strip() and not _is_comment(line)), "").strip()
    if first and not os.path.lexists(first) and os.path.lexists(os.path.join(os.path.dirname(path), first)):
        folder = os.path.dirname(path)
        raise DataError(
            f"the paths in {path!r} are relative to {folder!r}: run the command there, or write whole paths"
        )
    if column_name(first.strip('"')) in PATH_COLUMNS and not os.path.lexists(first):  # one column: names hold commas
        lines = text_lines(text)
        return _line_paths("\n".join(lines[[line.strip() for line in lines].index(first) + 1 :]))
    if path.lower().endswith(".json") and first.startswith(("{", "[")):
        raise DataError(f"{path!r} is JSON: {_TAKES}")
    try:
        is_table = path.lower().endswith(_TABLES) or _has_columns(first)
        return _table_paths(parse_table(text)) if is_table else _line_paths(text)
    except DataError as error:
        raise DataError(f"cannot read the list {path!r}: {error}; {_TAKES}") from error


def listed_paths(content: bytes, source: str, *, null: bool = False) -> Iterator[str]:
    """Yield the paths in a text, one per line; empty lines are skipped.

    Args:
        content: Content of the list.
        source: Name of the list, for messages.
        null: Paths are separated by NUL and taken verbatim.

    Raises:
        DataError: A list of lines holds a NUL byte.
    """
    if null or _ends_with_null(content):
        return (os.fsdecode(path) for path in content.split(b"\0") if path)
    return _line_paths(_text(content, source))


def _ends_with_null(content: bytes) -> bool:
    return content.endswith(b"\0") and not content.startswith((b"\xff\xfe", b"\xfe\xff")) and not bare_utf16(content)


def _has_columns(first: str) -> bool:
    """Return whether the first line of a list is a table row: several cells, with a path column or an existing file."""
    if os.path.lexists(first) or not any(mark in first for mark in SEPARATORS):
        return False
    cells = [column_name(cell) for row in parse_table(first)[:1] for cell in row.cells]
    return len(cells) > 1 and (not set(PATH_COLUMNS).isdisjoint(cells) or os.path.lexists(_existing(cells[0])))


def _table_paths(rows: Sequence[TableRow]) -> Iterator[str]:
    header = [column_name(cell) for cell in rows[0].cells] if rows else []
    named = next((header.index(name) for name in PATH_COLUMNS if name in header), None)
    column = named if named is not None else _file_column(rows)
    is_header = named is not None or (len(rows) > 1 and _is_file(rows[1], column) and not _is_file(rows[0], column))
    cells = (row.cells for row in (rows[1:] if is_header else rows))
    return (_existing(row[column]) for row in cells if len(row) > column and row[column])


def column_name(cell: str) -> str:
    """Normalise a column name: `File Name` becomes `file_name`."""
    return "_".join(cell.casefold().split())


def _file_column(rows: Sequence[TableRow]) -> int:
    """Return the first column that holds an existing file in one of the first two rows; the first may be a header."""
    return next((column for row in rows[:2] for column in range(len(row.cells)) if _is_file(row, column)), 0)


def _is_file(row: TableRow, column: int) -> bool:
    return column < len(row.cells) and os.path.lexists(_existing(row.cells[column]))


def _line_paths(text: str) -> Iterator[str]:
    return (_existing(line) for line in text_lines(text) if line.strip() and not _is_comment(line))


def _is_comment(line: str) -> bool:
    return line.startswith("#") and not os.path.lexists(_existing(line))


def _text(content: bytes, source: str) -> str:
    try:
        text = decode_text(content)
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read the list {source!r} as text: {error}; save it as UTF-8") from error
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"line {number} of the list {source!r} holds a NUL byte; save it as text, one path a line")
    return text


def _existing(path: str) -> str:
    """Return the variant of a path that exists: without quotes, with slashes, in Windows-1252; else the path."""
    if is_utf8(path) and path.isprintable() and not _has_variants(path):
        return path
    candidates = [path, path.strip(), path.strip().strip('"').replace('""', '"')]
    candidates += [candidate.replace("\\", "/") for candidate in candidates]
    candidates += [windows_text(candidate) for candidate in candidates if not is_utf8(candidate)]
    return next((candidate for candidate in candidates if os.path.lexists(candidate)), path)


def _has_variants(path: str) -> bool:
    return "\\" in path or path.startswith('"') or path != path.strip()
