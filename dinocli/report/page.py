"""A page to read: one HTML file that opens anywhere, offline, in ten years.

Everything is inside the file: style, charts as SVG, pictures as data. No script runs and nothing is fetched, and the
page itself forbids both to the browser, so that a hostile file name stays a name even if an escape were forgotten.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from dinocli.files import write_atomic
from dinocli.report.chart import Curve, line_chart
from dinocli.report.text import cell_text, html_text, number

Cell = str | int | float

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# What may stand in a column that is set flush right: 12, -0.5, +3.1 %, 2.0x, 14 s, +0.1 to +0.3, –.
_NUMBER = r"[+\-~]?[\d.,]+(e-?\d+)?( ?(%|×|[a-zA-Z]{1,3}))?"
_NUMERIC = re.compile(rf"{_NUMBER}( to {_NUMBER})?|–|-?∞")


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        title: Heading above it.
        header: One name per column.
        rows: As many cells as the header each; floats are shown with four digits.
        note: A sentence below it, or empty.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def html(self) -> str:
        """Write the section."""
        return table_html(self)


class Part(Protocol):
    """A section of a page."""

    def html(self) -> str:
        """Write the section, every string escaped; empty where there is nothing to show."""


@dataclass(frozen=True)
class Report:
    """All that a page shows, in the order in which it is shown.

    Args:
        title: Of the page and the browser's tab.
        verdict_outcome: One or two words, such as "better"; empty where there is nothing to judge.
        verdict_sentence: What to do, for a reader who reads nothing else.
        verdict_details: The numbers behind it.
        parts: Sections; those that are empty leave no trace.
    """

    title: str
    verdict_outcome: str = ""
    verdict_sentence: str = ""
    verdict_details: str = ""
    parts: Sequence[Part] = ()


def write_report(path: Path, report: Report) -> None:
    """Write a report as one self-contained HTML file.

    The same report gives the same bytes: the date, where wanted, is one of the facts.

    Args:
        path: Of the file, replaced as a whole.
        report: Plain data; all text is escaped here and nowhere before.

    Raises:
        OSError: If the file cannot be written.
    """
    write_atomic(path, _page(report).encode("utf-8"))


def _page(report: Report) -> str:
    style = files("dinocli.report").joinpath("page.css").read_text("utf-8")
    sections = [_verdict(report), *(part.html() for part in report.parts)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html_text(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{html_text(report.title)}</h1>\n" + "\n".join(filter(None, sections)) + "\n</main>\n</body>\n</html>\n"
    )


def _verdict(report: Report) -> str:
    if not report.verdict_outcome:
        return ""
    outcome, details = html_text(report.verdict_outcome), html_text(report.verdict_details)
    return (
        f'<section class="verdict" data-outcome="{outcome}">\n<p class="outcome">{outcome}</p>\n'
        f"<p>{html_text(report.verdict_sentence)}</p>\n"
        + (f'<p class="note">{details}</p>\n' if details else "")
        + "</section>"
    )


def scrollable(html: str, name: str) -> str:
    """Let what is too wide scroll by itself, also by the arrow keys of a keyboard; `name` is what is read aloud."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{html_text(name)}">{html}</div>'


def note_html(note: str) -> str:
    """Write a sentence below something, or nothing."""
    return f'\n<p class="note">{html_text(note)}</p>' if note else ""


def table_html(table: Table) -> str:
    """Write a table as a section; columns of numbers are set flush right."""
    shown = [[number(cell) if isinstance(cell, int | float) else cell for cell in row] for row in table.rows]
    columns = zip(*shown, strict=True) if shown else [()] * len(table.header)
    classes = [' class="number"' if column and all(map(_NUMERIC.fullmatch, column)) else "" for column in columns]
    head = "".join(f'<th scope="col"{c}>{cell_text(n)}</th>' for n, c in zip(table.header, classes, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{c}>{cell_text(cell)}</td>" for cell, c in zip(row, classes, strict=True)) + "</tr>"
        for row in shown
    )
    whole = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return (
        f"<section>\n<h2>{html_text(table.title)}</h2>\n{scrollable(whole, table.title)}{note_html(table.note)}\n"
        "</section>"
    )


def curves_html(curves: Sequence[Curve], heading: str = "Curves") -> str:
    """Write charts side by side as a section, or nothing."""
    if not curves:
        return ""
    figures = "\n".join(map(line_chart, curves))
    return f'<section>\n<h2>{html_text(heading)}</h2>\n<div class="charts">\n{figures}\n</div>\n</section>'


def facts_html(facts: Sequence[tuple[str, Cell]], heading: str = "This run") -> str:
    """Write names with their values as a section, or nothing."""
    if not facts:
        return ""
    pairs = "\n".join(
        f"<dt>{html_text(name)}</dt><dd>{html_text(value if isinstance(value, str) else number(value))}</dd>"
        for name, value in facts
    )
    return f"<section>\n<h2>{html_text(heading)}</h2>\n<dl>\n{pairs}\n</dl>\n</section>"


def notes_html(notes: Sequence[str], heading: str = "Notes") -> str:
    """Write sentences as a section, or nothing."""
    if not notes:
        return ""
    items = "\n".join(f"<li>{html_text(note)}</li>" for note in notes)
    return f'<section>\n<h2>{html_text(heading)}</h2>\n<ul class="notes">\n{items}\n</ul>\n</section>'
