"""Static report pages: self-contained HTML files without scripts.

Style, charts (SVG) and pictures (data URLs) are inside the file. A Content-Security-Policy forbids scripts and network
access, so that a hostile file name does no harm even if an escape were missing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from dinocli.files import write_atomic
from dinocli.report.text import cell_text, html_text, number, sentence_html

Cell = str | int | float

_SHADES = 6
"""Shades of table cells besides none, as in page.css."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# Cells of a column that is aligned right: 12, -0.5, +3.1 %, 2.0x, 14 s, +0.1 to +0.3, –.
_NUMBER = r"[+\-~]?[\d.,]+(e-?\d+)?( ?(%|×|[a-zA-Z]{1,3}))?"
_NUMERIC = re.compile(rf"{_NUMBER}( to {_NUMBER})?|–|-?∞")


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        title: Heading of the section.
        header: Name of each column.
        rows: Cells of each row; floats are shown with four digits.
        note: Sentence below the table; empty for none.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def html(self) -> str:
        """Return the section as HTML; columns of numbers are aligned right."""
        shown = [[number(cell) if isinstance(cell, int | float) else cell for cell in row] for row in self.rows]
        columns = zip(*shown, strict=True) if shown else [()] * len(self.header)
        classes = [' class="number"' if column and all(map(_NUMERIC.fullmatch, column)) else "" for column in columns]
        head = "".join(f'<th scope="col"{c}>{cell_text(n)}</th>' for n, c in zip(self.header, classes, strict=True))
        body = "\n".join(
            "<tr>" + "".join(f"<td{c}>{cell_text(cell)}</td>" for cell, c in zip(row, classes, strict=True)) + "</tr>"
            for row in shown
        )
        whole = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        return section(self.title, scrollable(whole, self.title), self.note)


class Part(Protocol):
    """A section of a page."""

    def html(self) -> str:
        """Return the section as HTML with escaped strings; empty if there is nothing to show."""


@dataclass(frozen=True)
class Report:
    """Content of a page, in displayed order.

    Args:
        title: Title of the page and of the browser tab.
        verdict_outcome: One or two words, such as "better"; empty for no verdict.
        verdict_sentence: Recommendation in one sentence.
        verdict_details: Numbers behind the verdict.
        parts: Sections; empty ones are left out.
    """

    title: str
    verdict_outcome: str = ""
    verdict_sentence: str = ""
    verdict_details: str = ""
    parts: Sequence[Part] = ()


def write_report(path: Path, report: Report) -> None:
    """Write a report as one self-contained HTML file.

    Equal reports give equal bytes: no date is added.

    Args:
        path: Output file, replaced atomically.
        report: Content with unescaped text.

    Raises:
        OSError: The file cannot be written.
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
    outcome, details = html_text(report.verdict_outcome), sentence_html(report.verdict_details)
    return (
        f'<section class="verdict" data-outcome="{outcome}">\n<p class="outcome">{outcome}</p>\n'
        f"<p>{sentence_html(report.verdict_sentence)}</p>\n"
        + (f'<p class="note">{details}</p>\n' if details else "")
        + "</section>"
    )


def scrollable(html: str, name: str) -> str:
    """Wrap HTML in a horizontally scrollable region, also by keyboard; `name` is its label for screen readers."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{html_text(name)}">{html}</div>'


def shade(count: int, total: int) -> str:
    """Return the style class of a table cell by its share of the row: heat0 for none up to heat6 for all."""
    return f"heat{-(-count * _SHADES // max(total, 1))}"


def section(heading: str, body: str, note: str = "") -> str:
    """Return HTML as a section with a heading, and a note below it if there is one."""
    below = f'\n<p class="note">{sentence_html(note)}</p>' if note else ""
    return f"<section>\n<h2>{html_text(heading)}</h2>\n{body}{below}\n</section>"
