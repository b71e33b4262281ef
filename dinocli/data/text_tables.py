"""Read lists and CSV tables of editors, `find` and spreadsheets, with any byte order mark, line end and separator."""

import codecs
import csv
import errno
import io
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dinocli.errors import DataError
from dinocli.files import write_atomic

SEPARATORS = ",;\t|"
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class TableRow(NamedTuple):
    """One row: its first line number in the file, from 1, and its cells, stripped."""

    line: int
    cells: list[str]


def read_content(path: str | Path) -> bytes:
    """Read a file, or a named pipe, such as a shell's process substitution.

    Raises:
        OSError: The file cannot be read, or is a device, which may never end.
    """
    with open(path, "rb") as file:
        if stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty():
            raise OSError(errno.EINVAL, "it is a device, not a file")
        return file.read()


def decode_text(content: bytes) -> str:
    """Decode text by its byte order mark, else as UTF-8; invalid bytes become surrogates (`surrogateescape`).

    Raises:
        UnicodeDecodeError: UTF-16 with an incomplete character.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "strict" if encoding != "utf-8" else "surrogateescape")
    if encoding := bare_utf16(content):
        return content.decode(encoding)
    return content.decode("utf-8", "surrogateescape")


def bare_utf16(content: bytes) -> str:
    """Return the encoding of UTF-16 without a byte order mark; empty for other content.

    It is recognised by zero bytes: in Latin text, one byte of each pair is zero.
    """
    head = content[:64]
    if len(head) < 8 or len(content) % 2:
        return ""
    pairs = len(head) // 2
    if head[1::2].count(0) == pairs and not head[::2].count(0):
        return "utf-16-le"
    return "utf-16-be" if head[::2].count(0) == pairs and not head[1::2].count(0) else ""


def text_lines(text: str) -> list[str]:
    r"""Split at ``\n``, ``\r\n`` or, without any line feed, at ``\r``; not at the other characters of `splitlines`."""
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]


def windows_text(text: str) -> str:
    """Decode as Windows-1252, the encoding of spreadsheets on Windows, what `decode_text` could not decode as UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def is_utf8(text: str) -> bool:
    """Return whether text holds no surrogates, so that it can be encoded as UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_table(text: str) -> list[TableRow]:
    """Split a table into rows; empty rows are left out.

    Args:
        text: Text of the file. A first line ``sep=;`` defines the separator, as in spreadsheets. Else, of comma,
            semicolon, tab and bar, it is the one with which the first row has a column `path`, or the one that gives
            the most cells.

    Raises:
        DataError: The text is not a table; the reason without the file name.
    """
    try:
        return _table_rows(text)
    except (csv.Error, TypeError, ValueError) as error:  # a cell of more than 131,072 characters, a bad `sep=`
        raise DataError(f"it is not a table ({error})") from error


def _table_rows(text: str) -> list[TableRow]:
    lines = text_lines(text)
    skipped = 0
    separator = ""
    if lines[0].lower().startswith("sep=") and len(lines[0].rstrip()) <= 5:
        separator, skipped, lines = lines[0][4:5], 1, lines[1:]
    first = next((line for line in lines if line.strip()), "")
    separator = separator or _separator(first)
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, skipinitialspace=True, strict=False)
    rows, line = [], 1 + skipped
    for cells in reader:
        trimmed = [cell.strip() for cell in cells]
        if any(trimmed):
            rows.append(TableRow(line, trimmed))
        line = reader.line_num + 1 + skipped
    return rows


def _separator(first: str) -> str:
    cells_by = {separator: next(csv.reader([first], delimiter=separator), []) for separator in SEPARATORS}
    with_column = [s for s, cells in cells_by.items() if "path" in [cell.strip().casefold() for cell in cells]]
    return max(with_column or SEPARATORS, key=lambda separator: len(cells_by[separator]))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header, atomically."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, text.getvalue())
