"""Contingency table of groups and labels, as HTML; the shade of a cell is its share of the labelled images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dinocli.report.page import section, shade
from dinocli.report.text import html_text, number


class LabelCounts(NamedTuple):
    """Number of images by group and label.

    Args:
        labels: Labels, sorted, without the empty one.
        groups: Numbers of the groups with a labelled image; -1 (no group) comes last.
        counts: One row per group, one column per label.
    """

    labels: list[str]
    groups: list[int]
    counts: list[list[int]]

    def coverage(self, images: int) -> str:
        """Return how many of all images have a label, as `84 of 94`; empty if all have one."""
        labelled = sum(map(sum, self.counts))
        return f"{labelled:,} of {images:,}" if labelled < images else ""


def count_labels(pairs: Iterable[tuple[int, str]]) -> LabelCounts:
    """Count images by group and label.

    Args:
        pairs: (group, label) of each image; -1 for no group; images with an empty label are not counted.
    """
    counter = Counter((group, label) for group, label in pairs if label)
    labels = sorted({label for _, label in counter})
    groups = sorted({group for group, _ in counter}, key=lambda group: (group < 0, group))
    return LabelCounts(labels, groups, [[counter[group, label] for label in labels] for group in groups])


def crosstab(pairs: Sequence[tuple[int, str]], groups: Sequence[str]) -> str:
    """Return a section with the contingency table; empty without labels.

    Args:
        pairs: As for `count_labels`.
        groups: Names of the groups.
    """
    table = count_labels(pairs)
    if not table.labels:
        return ""
    head = "".join(f'<th class="number">{html_text(label)}</th>' for label in table.labels)
    counts_of = dict(zip(table.groups, table.counts, strict=True))
    shown = [*range(len(groups)), *(group for group in table.groups if group < 0)]
    rows = "\n".join(
        _row(group, "No group" if group < 0 else groups[group], counts_of.get(group, [0] * len(table.labels)))
        for group in shown
    )
    body = (
        '<div class="scroll"><table class="cross">\n'
        f'<thead><tr><th>Group</th>{head}<th class="number">Labelled</th></tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        "</table></div>"
    )
    note = "Number of images of each label in each group. Darker cells hold a larger share of the labelled images."
    if unlabelled := sum(not label for _, label in pairs):
        note += f" {number(unlabelled)} of {number(len(pairs))} images have no label and are not counted."
    return section("Groups against labels", body, note)


def _row(group: int, name: str, counts: Sequence[int]) -> str:
    total = sum(counts)
    cells = "".join(f'<td class="number {shade(count, total)}">{number(count)}</td>' for count in counts)
    return f'<tr><th data-group="{group}">{html_text(name)}</th>{cells}<td class="number">{number(total)}</td></tr>'
