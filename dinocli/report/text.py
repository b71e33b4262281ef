"""Text and numbers for display, in pages, pictures and terminals."""

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from html import escape
from textwrap import wrap

MAX_WORD_LENGTH = 48
"""Characters of a word in a table cell; longer words, such as file names, would push other columns out of sight."""


def visible(text: str) -> str:
    r"""Escape characters that a terminal or a browser would hide or interpret.

    File names are untrusted: they may hold newlines, colour codes, bidirectional control characters, or bytes that are
    not UTF-8. These become escapes such as `\n` and `\u202e`. Spaces of all widths stay.
    """
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else escaped(c) for c in text)


def html_text(text: str) -> str:
    """Escape text for HTML elements and quoted attributes."""
    return escape(visible(text))


def sentence_html(text: str) -> str:
    """Escape a sentence for an HTML element, in which no option is broken after its hyphens."""
    return re.sub(r"(?<![\w-])--[a-z][a-z-]*", r'<span class="option">\g<0></span>', html_text(text))


def middle_ellipsis(text: str, max_width: float, measure: Callable[[str], float] = len) -> str:
    """Shorten a text in the middle, since file names differ at their ends.

    Args:
        text: Any text.
        max_width: Largest width, in the unit of `measure`.
        measure: Returns the width of a text: characters, terminal cells or pixels of a font.

    Returns:
        The text, or its two ends around `…`.
    """
    if measure(text) <= max_width:
        return text

    def cut(keep: int) -> str:
        return f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"

    return cut(max(0, bisect_right(range(len(text)), max_width, key=lambda keep: measure(cut(keep))) - 1))


def cell_text(text: str) -> str:
    """Escape text for a table cell; words over `MAX_WORD_LENGTH` are shortened, with the whole text as tooltip."""
    whole = visible(text)
    shown = re.sub(r"\S+", lambda word: middle_ellipsis(word[0], MAX_WORD_LENGTH), whole)
    return escape(shown) if shown == whole else f'<span title="{escape(whole)}">{escape(shown)}</span>'


def wrap_words(text: str, width: int) -> str:
    """Break lines between words; longer words stay whole, so that paths can be copied."""
    return "\n".join(
        "\n".join(wrap(line, width, break_long_words=False, break_on_hyphens=False)) if len(line) > width else line
        for line in text.split("\n")
    )


def number(value: float) -> str:
    """Format a number for display: `12,345`, `143.2`, `0.612`, `0.0812`, `2.5e-5`, `–` for NaN.

    Integers keep all digits, other numbers three or four.
    """
    if isinstance(value, int) or value == 0:
        return f"{int(value):,}"
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    power = math.floor(math.log10(abs(value)))
    return f"{value:,.{2 - power if power < -1 else max(0, min(3, 3 - power))}f}"


def score(value: float, *, like: float = 0.0) -> str:
    """Format a score for a table, whose rows keep their decimals: `0.024`, `51.18`, `292.9`, `–` for NaN.

    Args:
        value: The score.
        like: A value beside it; the larger of both sets the decimals.
    """
    if not math.isfinite(value):
        return number(value)
    largest = max(abs(value), abs(like))
    return f"{value:,.{3 if largest < 10 else 2 if largest < 100 else 1}f}"


def difference(value: float, reference: float) -> str:
    """Format the difference of two scores with the decimals of the scores: `+0.033`, `-9.21`."""
    text = score(value - reference, like=max(abs(value), abs(reference)))
    if not text.strip("-0."):
        return f"+{text.lstrip('-')}"  # rounded to zero
    return text if text.startswith(("-", "–")) else f"+{text}"


def byte_size(size: float) -> str:
    """Write bytes with a unit, in powers of 1000 as disks are sold: `13.4 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def escaped(character: str) -> str:
    r"""Return the escape of a character: `\n`, `\xdf`, `\u65e5`."""
    return character.encode("unicode_escape").decode("ascii")
