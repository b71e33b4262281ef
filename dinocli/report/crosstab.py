"""Groups against labels, counted, as an HTML table in which full cells are seen before they are read."""

from collections import Counter
from collections.abc import Sequence

from dinocli.report.text import html_text, number

_STEPS = 6


def crosstab(pairs: Sequence[tuple[int, str]], groups: Sequence[str]) -> str:
    """Count the labels of each group.

    Args:
        pairs: (group, label) of each image; -1 for no group, an empty label is not counted.
        groups: Their names.

    Returns:
        A section, or nothing without any label. The shade of a cell is its share of the group.
    """
    counts = Counter((group, label) for group, label in pairs if label)
    labels = sorted({label for _, label in counts})
    if not labels:
        return ""
    head = "".join(f'<th class="number">{html_text(label)}</th>' for label in labels)
    rows = "\n".join(
        _row(group, "No group" if group < 0 else groups[group], [counts[group, label] for label in labels])
        for group in sorted({group for group, _ in counts}, key=lambda group: (group < 0, group))
    )
    return (
        '<section>\n<h2>Groups against labels</h2>\n<div class="scroll"><table class="cross">\n'
        f'<thead><tr><th>Group</th>{head}<th class="number">Images</th></tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        '</table></div>\n<p class="note">Images of each label in each group. '
        "The darker a cell, the larger its share of the group.</p>\n</section>"
    )


def _row(group: int, name: str, counts: Sequence[int]) -> str:
    total = sum(counts)
    cells = "".join(f'<td class="number heat{_heat(count, total)}">{number(count)}</td>' for count in counts)
    return f'<tr><th data-group="{group}">{html_text(name)}</th>{cells}<td class="number">{number(total)}</td></tr>'


def _heat(count: int, total: int) -> int:
    """Return 0 for none, 1 for few, up to `_STEPS` for all."""
    return -(-count * _STEPS // total)
