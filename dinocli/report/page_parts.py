"""Sections of a page besides tables: charts, facts, notes, sheets and listings."""

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from dinocli.report.chart import Curve, line_chart
from dinocli.report.page import Cell, scrollable, section
from dinocli.report.text import html_text, number, sentence_html


@dataclass(frozen=True)
class Charts:
    """Charts side by side.

    Args:
        curves: The charts; without any there is no section.
        heading: Heading of the section.
    """

    curves: Sequence[Curve]
    heading: str = "Curves"

    def html(self) -> str:
        """Return the section as HTML; empty without charts."""
        if not self.curves:
            return ""
        figures = "\n".join(map(line_chart, self.curves))
        return section(self.heading, f'<div class="charts">\n{figures}\n</div>')


@dataclass(frozen=True)
class FactList:
    """Names with values.

    Args:
        facts: (name, value) pairs.
        heading: Heading of the section.
    """

    facts: Sequence[tuple[str, Cell]]
    heading: str = "This run"

    def html(self) -> str:
        """Return the section as HTML; empty without facts."""
        if not self.facts:
            return ""
        pairs = "\n".join(
            f"<dt>{html_text(name)}</dt><dd>{html_text(value if isinstance(value, str) else number(value))}</dd>"
            for name, value in self.facts
        )
        return section(self.heading, f"<dl>\n{pairs}\n</dl>")


@dataclass(frozen=True)
class NoteList:
    """Explanatory sentences.

    Args:
        notes: The sentences.
        heading: Heading of the section.
    """

    notes: Sequence[str]
    heading: str = "Notes"

    def html(self) -> str:
        """Return the section as HTML; empty without notes."""
        if not self.notes:
            return ""
        items = "\n".join(f"<li>{sentence_html(note)}</li>" for note in self.notes)
        return section(self.heading, f'<ul class="notes">\n{items}\n</ul>')


@dataclass(frozen=True)
class Sheet:
    """One large picture.

    Args:
        caption: Heading of the section, and text for screen readers.
        png: Bytes of a PNG file.
        note: Sentences below the picture; empty for none.
    """

    caption: str
    png: bytes
    note: str = ""

    def html(self) -> str:
        """Return the section as HTML."""
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"
        picture = scrollable(f'<img alt="{html_text(self.caption)}" src="{source}">', self.caption)
        return section(self.caption, picture, self.note)


@dataclass(frozen=True)
class Listing:
    """Preformatted text, such as a command line.

    Args:
        heading: Heading of the section.
        text: One or more lines.
        folded: Hide the text until the user opens the heading.
    """

    heading: str
    text: str
    folded: bool = False

    def html(self) -> str:
        """Return the section as HTML."""
        text = "\n".join(map(html_text, self.text.splitlines()))
        shown = scrollable(f"<pre>{text}</pre>", self.heading)
        if self.folded:
            summary = f"<summary>{html_text(self.heading)}</summary>"
            return f"<section>\n<details>{summary}\n{shown}\n</details>\n</section>"
        return section(self.heading, shown)


def command_line(argv: Sequence[str], of: str = "") -> Listing:
    """Return the command line of a result as a listing.

    Args:
        argv: Command line, the program first; empty for a call from Python.
        of: Name of the result, if a page shows several.
    """
    words = shlex.join(["dinocli", *argv[1:]]) if argv else "(called from Python)"
    return Listing(f"Command line of {of}" if of else "Command line", words)
