"""Normalisation of label text, notes on labels that may be typing variants, and table cells in messages."""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

_ZERO_WIDTH = dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
_PLACEHOLDERS = frozenset(("nan", "NaN", "NAN", "NA", "N/A", "n/a", "#N/A", "None", "null", "NULL", "?", "-"))
_MAX_CELL_CHARACTERS = 200  # in a message


def plain_label(label: str) -> str:
    """Normalise a label: Unicode NFC (macOS writes NFD), no zero-width characters, no outer spaces."""
    if label.isascii():  # fast path: a table may have a million rows
        return label.strip()
    return unicodedata.normalize("NFC", label).translate(_ZERO_WIDTH).strip()


def shown_cell(cell: str) -> str:
    """Return a cell for a message, at most 200 characters; an unclosed quote makes a cell of many rows."""
    if len(cell) <= _MAX_CELL_CHARACTERS:
        return repr(cell)
    return f"{cell[:_MAX_CELL_CHARACTERS]!r} ... (is a quote open?)"


def label_notes(column: str, values: Sequence[str]) -> Iterator[str]:
    """Yield notes on labels that may be variants of one label, and on labels that may mean "no label"."""
    counts = Counter(values)
    variants_of: dict[str | float, list[str]] = defaultdict(list)
    for value in sorted(counts):
        variants_of[_key(value)].append(value)
    for variants in variants_of.values():
        if len(variants) > 1:
            yield f"{column} holds {' and '.join(map(repr, variants))}, which count as different labels"
    empty = [value for value in sorted(counts) if value in _PLACEHOLDERS]
    if empty:
        images = sum(counts[value] for value in empty)
        yield f"{' and '.join(map(repr, empty))} of {images} images in {column} counts as a label; else leave it empty"


def _key(label: str) -> str | float:
    """Return a key that is equal for labels that differ only in case, spaces or number format."""
    try:
        number = float(label.replace(",", "."))
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else " ".join(label.casefold().split())
