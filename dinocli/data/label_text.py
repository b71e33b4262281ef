"""The text of labels: what counts as equal, what may be meant to be, and how a cell is shown in a message."""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

_UNSEEN = dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))
_PLACEHOLDERS = frozenset(("nan", "NaN", "NAN", "NA", "N/A", "n/a", "#N/A", "None", "null", "NULL", "?", "-"))
_MOST_SHOWN = 200  # characters of a cell in a message


def plain_label(label: str) -> str:
    """Write equal text equally: composed letters (a Mac decomposes them), nothing that cannot be seen."""
    if label.isascii():  # a table may have a million rows
        return label.strip()
    return unicodedata.normalize("NFC", label).translate(_UNSEEN).strip()


def shown_cell(path: str) -> str:
    """Return a cell for a message; a quote that is never closed makes a cell of many rows."""
    return repr(path) if len(path) <= _MOST_SHOWN else f"{path[:_MOST_SHOWN]!r} ... (is a quote open?)"


def label_doubts(column: str, values: Sequence[str]) -> Iterator[str]:
    """Yield notes on which labels may be the same one, and which may mean that there is none."""
    counts = Counter(values)
    alike: dict[str | float, list[str]] = defaultdict(list)
    for value in sorted(counts):
        alike[_key(value)].append(value)
    for written in alike.values():
        if len(written) > 1:
            yield f"{column} holds {' and '.join(map(repr, written))}, which count as different labels"
    empty = [value for value in sorted(counts) if value in _PLACEHOLDERS]
    if empty:
        images = sum(counts[value] for value in empty)
        yield f"{' and '.join(map(repr, empty))} of {images} images in {column} counts as a label; else leave it empty"


def _key(label: str) -> str | float:
    """Return what labels share that differ only in case, spaces or the way a number is written."""
    try:
        number = float(label.replace(",", "."))
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else " ".join(label.casefold().split())
