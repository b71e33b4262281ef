"""How words and numbers are written for people, in pages and pictures alike."""

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from html import escape

LONGEST_WORD = 48
"""Characters of a word in a table; a longer one, such as the name of a file, would push all else out of sight."""


def visible(text: str) -> str:
    r"""Show what a terminal or a browser would hide or obey.

    File names are foreign input: they may hold newlines, colour codes, marks that turn the reading direction around,
    or bytes that are no UTF-8 (which cannot even be written to a file). All of these become escapes such as `\n` and
    `\u202e`.

    Args:
        text: Any string.

    Returns:
        The same with every character that has no glyph of its own spelt out; spaces of all widths stay.
    """
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else escaped(c) for c in text)


def html_text(text: str) -> str:
    """Return text that is safe between tags and inside a quoted attribute."""
    return escape(visible(text))


def middle_ellipsis(text: str, widest: float, measure: Callable[[str], float] = len) -> str:
    """Cut the middle out of a text that is too wide: names of files differ at their ends.

    Args:
        text: Any text.
        widest: What is allowed, in the unit of `measure`.
        measure: Width of a text: characters, cells of a terminal or pixels of a font.

    Returns:
        The text, or its two ends around `…`.
    """
    if measure(text) <= widest:
        return text

    def cut(keep: int) -> str:
        return f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"

    return cut(max(0, bisect_right(range(len(text)), widest, key=lambda keep: measure(cut(keep))) - 1))


def cell_text(text: str) -> str:
    """Return safe text for a cell of a table: words beyond `LONGEST_WORD` lose their middle, and are the tooltip."""
    whole = visible(text)
    shown = re.sub(r"\S+", lambda word: middle_ellipsis(word[0], LONGEST_WORD), whole)
    return escape(shown) if shown == whole else f'<span title="{escape(whole)}">{escape(shown)}</span>'


def number(value: float) -> str:
    """Write a number for reading, not for computing: `12,345`, `143.2`, `0.612`, `0.0812`, `2.5e-5`, `–` for none.

    Args:
        value: Any number. An integer keeps all digits, any other about three or four.

    Returns:
        Short text with a thousands separator.
    """
    if isinstance(value, int) or value == 0:
        return f"{int(value):,}"
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    power = math.floor(math.log10(abs(value)))
    return f"{value:,.{2 - power if power < -1 else max(0, min(3, 3 - power))}f}"


def byte_size(size: float) -> str:
    """Write bytes with a unit, in powers of 1000 as disks are sold: `13.4 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def escaped(character: str) -> str:
    r"""Spell a character out: `\n`, `\xdf`, `\u65e5`."""
    return character.encode("unicode_escape").decode("ascii")
