"""Sections of a page beside its tables: charts, facts, notes, sheets and listings."""

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from dinocli.report.chart import Curve
from dinocli.report.page import Cell, curves_html, facts_html, note_html, notes_html, scrollable
from dinocli.report.text import html_text


@dataclass(frozen=True)
class Charts:
    """Charts side by side.

    Args:
        curves: At least one is shown, or there is no section.
        heading: Above them.
    """

    curves: Sequence[Curve]
    heading: str = "Curves"

    def html(self) -> str:
        """Write the section."""
        return curves_html(self.curves, self.heading)


@dataclass(frozen=True)
class FactList:
    """Names with their values.

    Args:
        facts: (name, value) pairs.
        heading: Above them.
    """

    facts: Sequence[tuple[str, Cell]]
    heading: str = "This run"

    def html(self) -> str:
        """Write the section."""
        return facts_html(self.facts, self.heading)


@dataclass(frozen=True)
class NoteList:
    """Sentences for the careful reader.

    Args:
        notes: The sentences.
        heading: Above them.
    """

    notes: Sequence[str]
    heading: str = "Notes"

    def html(self) -> str:
        """Write the section."""
        return notes_html(self.notes, self.heading)


@dataclass(frozen=True)
class Sheet:
    """One large picture.

    Args:
        caption: Heading above it, and what a screen reader says.
        png: A PNG file.
        note: Sentences below it, or empty.
    """

    caption: str
    png: bytes
    note: str = ""

    def html(self) -> str:
        """Write the section."""
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"
        caption = html_text(self.caption)
        picture = scrollable(f'<img alt="{caption}" src="{source}">', self.caption)
        return f"<section>\n<h2>{caption}</h2>\n{picture}{note_html(self.note)}\n</section>"


@dataclass(frozen=True)
class Listing:
    """A text that is shown as it is, such as a command line.

    Args:
        heading: Above it.
        text: Of any number of lines.
        folded: Shown once the heading is opened.
    """

    heading: str
    text: str
    folded: bool = False

    def html(self) -> str:
        """Write the section."""
        heading = html_text(self.heading)
        text = "\n".join(map(html_text, self.text.splitlines()))
        shown = scrollable(f"<pre>{text}</pre>", self.heading)
        if self.folded:
            return f"<section>\n<details><summary>{heading}</summary>\n{shown}\n</details>\n</section>"
        return f"<section>\n<h2>{heading}</h2>\n{shown}\n</section>"


def command_line(argv: Sequence[str], of: str = "") -> Listing:
    """Show the command line that made a result; a call from Python has none.

    Args:
        argv: The words of the process, the program first; empty for a call from Python.
        of: Name of the result, where a page shows several.
    """
    words = shlex.join(["dinocli", *argv[1:]]) if argv else "(called from Python)"
    return Listing(f"Command line of {of}" if of else "Command line", words)
