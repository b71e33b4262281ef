"""Groups against labels, counted, as an HTML table in which full cells are seen before they are read."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dinocli.report.text import html_text, number

_STEPS = 6


class LabelCounts(NamedTuple):
    """How many images of each label are in each group.

    Args:
        labels: Sorted, without the empty one.
        groups: Numbers of the groups that hold a labelled image, -1 (no group) last.
        counts: A row a group, a number a label.
    """

    labels: list[str]
    groups: list[int]
    counts: list[list[int]]


def count_labels(pairs: Iterable[tuple[int, str]]) -> LabelCounts:
    """Count the labels of each group.

    Args:
        pairs: (group, label) of each image; -1 for no group, an empty label is not counted.
    """
    found = Counter((group, label) for group, label in pairs if label)
    labels = sorted({label for _, label in found})
    groups = sorted({group for group, _ in found}, key=lambda group: (group < 0, group))
    return LabelCounts(labels, groups, [[found[group, label] for label in labels] for group in groups])


def crosstab(pairs: Sequence[tuple[int, str]], groups: Sequence[str]) -> str:
    """Count the labels of each group, and show them.

    Args:
        pairs: As `count_labels` takes them.
        groups: Names of the groups.

    Returns:
        A section, or nothing without any label. The shade of a cell is its share of the group.
    """
    found = count_labels(pairs)
    if not found.labels:
        return ""
    head = "".join(f'<th class="number">{html_text(label)}</th>' for label in found.labels)
    rows = "\n".join(
        _row(group, "No group" if group < 0 else groups[group], counts)
        for group, counts in zip(found.groups, found.counts, strict=True)
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
