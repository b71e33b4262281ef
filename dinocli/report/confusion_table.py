"""Confusion matrices side by side: full cells are seen before they are read."""

from collections.abc import Sequence
from dataclasses import dataclass

from dinocli.report.page import note_html, scrollable
from dinocli.report.text import cell_text, html_text, number

_STEPS = 6


@dataclass(frozen=True)
class ConfusionMatrix:
    """How many images of each class were predicted as each class.

    Args:
        title: Whose predictions.
        classes: Names of rows and columns, in order.
        counts: A row for each true class, a number for each predicted one.
    """

    title: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class ConfusionTables:
    """Some confusion matrices of the same images.

    Args:
        title: Heading above them.
        matrices: Side by side where the screen is wide enough.
        note: A sentence below them, or empty.
    """

    title: str
    matrices: Sequence[ConfusionMatrix]
    note: str = ""

    def html(self) -> str:
        """Write the section."""
        tables = "\n".join(scrollable(_table(matrix), f"{self.title}: {matrix.title}") for matrix in self.matrices)
        heading = f"<h2>{html_text(self.title)}</h2>"
        return f'<section>\n{heading}\n<div class="matrices">\n{tables}\n</div>{note_html(self.note)}\n</section>'


def _table(matrix: ConfusionMatrix) -> str:
    """Number the columns, so that a table is no wider than its numbers; the rows name the numbers."""
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
    """Shade a cell by its share of the row: 0 for none, 1 for few, up to `_STEPS` for all."""
    heat = -(-counts[column] * _STEPS // max(sum(counts), 1))
    kind = "right" if row == column else "wrong"
    return f'<td class="number heat{heat} {kind}">{number(counts[column])}</td>'
