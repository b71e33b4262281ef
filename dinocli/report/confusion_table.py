"""Confusion matrices as HTML tables, side by side; the shade of a cell is its share of the row."""

from collections.abc import Sequence
from dataclasses import dataclass

from dinocli.report.page import scrollable, section, shade
from dinocli.report.text import cell_text, html_text, number


@dataclass(frozen=True)
class ConfusionMatrix:
    """Number of images of each class by predicted class.

    Args:
        title: Features that the predictions come from.
        classes: Names of rows and columns.
        counts: One row per true class, one column per predicted class.
    """

    title: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class ConfusionTables:
    """Confusion matrices of the same images.

    Args:
        title: Heading of the section.
        matrices: Shown side by side if the screen is wide enough.
        note: Sentence below the matrices; empty for none.
    """

    title: str
    matrices: Sequence[ConfusionMatrix]
    note: str = ""

    def html(self) -> str:
        """Return the section as HTML."""
        tables = "\n".join(scrollable(_table(matrix), f"{self.title}: {matrix.title}") for matrix in self.matrices)
        return section(self.title, f'<div class="matrices">\n{tables}\n</div>', self.note)


def _table(matrix: ConfusionMatrix) -> str:
    """Build a table whose columns have numbers instead of names, to save width; the rows show number and name."""
    places = range(1, len(matrix.classes) + 1)
    head = "".join(
        f'<th scope="col" class="number" title="{html_text(name)}">{place}</th>'
        for place, name in zip(places, matrix.classes, strict=True)
    )
    body = "\n".join(
        f'<tr><th scope="row">{place}. {cell_text(name)}</th>'
        + "".join(_cell(row, column, counts) for column in range(len(counts)))
        + f'<td class="number">{number(sum(counts))}</td></tr>'
        for row, (place, name, counts) in enumerate(zip(places, matrix.classes, matrix.counts, strict=True))
    )
    return (
        f'<table class="cross">\n<caption>{html_text(matrix.title)}</caption>\n'
        f'<thead><tr><th scope="col">true \\ predicted</th>{head}'
        '<th scope="col" class="number">images</th></tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def _cell(row: int, column: int, counts: Sequence[int]) -> str:
    kind = "right" if row == column else "wrong"
    return f'<td class="number {shade(counts[column], sum(counts))} {kind}">{number(counts[column])}</td>'
