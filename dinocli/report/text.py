"""How words and numbers are written for people, in pages and pictures alike."""

import math
import unicodedata
from html import escape


def visible(text: str) -> str:
    r"""Show what a terminal or a browser would hide or obey.

    File names are somebody else's: they may hold newlines, colour codes, marks that turn the reading direction around,
    or bytes that are no UTF-8 (which cannot even be written to a file). All of these become escapes such as `\n` and
    `\u202e`.

    Args:
        text: Any string.

    Returns:
        The same with every character that has no glyph of its own spelt out; spaces of all widths stay.
    """
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escape(c) for c in text)


def html_text(text: str) -> str:
    """Return text that is safe between tags and inside a quoted attribute."""
    return escape(visible(text))


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


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
