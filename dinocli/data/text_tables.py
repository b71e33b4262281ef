"""Lists and tables as editors, `find` and spreadsheets save them, with any mark, line end and separator."""

import codecs
import csv
import errno
import io
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dinocli.files import write_atomic

SEPARATORS = ",;\t|"
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class TableRow(NamedTuple):
    """One row: the number of its first line in the file, from 1, and its cells without outer spaces."""

    line: int
    cells: list[str]


def read_content(path: str | Path) -> bytes:
    """Read a list or a table whole, also from a named pipe, as shells make them.

    Raises:
        OSError: It cannot be read, or is a device, such as one that never ends.
    """
    with open(path, "rb") as file:
        if stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty():
            raise OSError(errno.EINVAL, "it is a device, not a file")
        return file.read()


def decode_text(content: bytes) -> str:
    """Decode text by its byte order mark, else as UTF-8; bytes that are not UTF-8 become surrogates, as in file names.

    Raises:
        UnicodeDecodeError: UTF-16 with half a character.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "strict" if encoding != "utf-8" else "surrogateescape")
    if encoding := bare_utf16(content):
        return content.decode(encoding)
    return content.decode("utf-8", "surrogateescape")


def bare_utf16(content: bytes) -> str:
    """Name the encoding of UTF-16 without a mark, or return an empty text.

    It is recognised by zero bytes: text in a Latin script has one in every pair.
    """
    head = content[:64]
    if len(head) < 8 or len(content) % 2:
        return ""
    pairs = len(head) // 2
    if head[1::2].count(0) == pairs and not head[::2].count(0):
        return "utf-16-le"
    return "utf-16-be" if head[::2].count(0) == pairs and not head[1::2].count(0) else ""


def text_lines(text: str) -> list[str]:
    r"""Split at ``\n``, ``\r\n`` or, where there is no line feed, at ``\r``; nothing else in a name ends a line."""
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]


def windows_text(text: str) -> str:
    """Decode as Windows-1252 what `decode_text` could not decode as UTF-8: how spreadsheets save on Windows."""
    return text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def is_utf8(text: str) -> bool:
    """Return whether text holds no byte that was not UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_table(text: str, *, wanted: str = "") -> list[TableRow]:
    """Split a table into rows; rows without any text are left out.

    Args:
        text: Text of the file. A first line ``sep=;`` names the separator, as spreadsheets understand it.
        wanted: Name of a column. Of comma, semicolon, tab and bar that separator is taken with which the first row
            holds it beside others, else the most frequent one of the first row.

    Raises:
        csv.Error: The quotes do not fit together.
    """
    lines = text_lines(text)
    skipped = 0
    separator = ""
    if lines[0].lower().startswith("sep=") and len(lines[0].rstrip()) <= 5:
        separator, skipped, lines = lines[0][4:5], 1, lines[1:]
    first = next((line for line in lines if line.strip()), "")
    separator = separator or _separator(first, wanted)
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, skipinitialspace=True, strict=False)
    rows, line = [], 1 + skipped
    for cells in reader:
        trimmed = [cell.strip() for cell in cells]
        if any(trimmed):
            rows.append(TableRow(line, trimmed))
        line = reader.line_num + 1 + skipped
    return rows


def _separator(first: str, wanted: str) -> str:
    found = {mark: next(csv.reader([first], delimiter=mark), []) for mark in SEPARATORS}
    named = [mark for mark, cells in found.items() if wanted in [cell.strip().casefold() for cell in cells]]
    return max(named or SEPARATORS, key=lambda mark: len(found[mark]))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV with commas and a header; the file is complete or not there."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(header)
    lines.writerows(rows)
    write_atomic(path, text.getvalue())
