"""Output of commands: the result on stdout, everything else on stderr.

Paths are never Rich markup: `[a]/[b].png` is a valid name. On a terminal control characters in names are escaped.
Elsewhere plain lines replace the live table.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dinocli.cli.stages import StageDisplay
from dinocli.cli.usage import is_main_process
from dinocli.data.decoder_warnings import DecoderWarnings
from dinocli.progress import ProgressReporter
from dinocli.report.text import middle_ellipsis, visible, wrap_words

SCHEMA = 1

_COLUMN_GAP, _MIN_COLUMN_WIDTH = 2, 8
"""Terminal cells between columns, and the width that words are shortened to at least."""


class Terminal(ProgressReporter):
    """Reports progress on stderr: a live table of stages on a terminal, a plain line every 30 s elsewhere.

    Args:
        quiet: Print warnings only.
        as_json: Print the result as one JSON object on stdout.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._stages = (
            None if quiet or not is_main_process() else StageDisplay(self.console, self._say_plain, self.safe)
        )
        self._decoders = DecoderWarnings()

    def __enter__(self) -> "Terminal":
        self._decoders.__enter__()
        if self._stages:
            self._stages.open()
        self.stage("loading libraries")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stages:
            self._stages.close(whole=kind is None)
        self._decoders.__exit__(kind, error, trace)
        for summary in self._decoders.summaries():
            self.warn(summary)

    def line(self, text: str) -> None:
        if not self.quiet:
            self._say(Text(self.safe(text)))

    def warn(self, text: str) -> None:
        self._say(Text(f"warning: {self.safe(text)}", style="yellow"))

    def stage(self, work: str, total: int = 0) -> None:
        if self._stages:
            self._stages.begin(work, total)

    def advance(self, units: int = 1) -> None:
        if self._stages:
            self._stages.advance(units)

    def progress(self, work: str, done: int, total: int, detail: str = "") -> None:
        if self._stages:
            self._stages.update(work, done, total, detail)

    def ending(self, look: Sequence[Path | str], commands: Sequence[str]) -> None:
        """Print the last lines of a command: files to look at, and commands to run next."""
        for word, lines in (("look:", look), ("next:", commands)):
            for number, text in enumerate(lines):
                if not self.quiet:  # no line breaks: users copy commands
                    self.console.print(Text(self.safe(f"{'' if number else word:5} {text}")))

    def safe(self, text: str) -> str:
        """Escape control characters if stderr is a terminal."""
        if not self.console.is_terminal:
            return text
        return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)

    def table(self, title: str, header: list[str], rows: list[list[str]]) -> None:
        """Print a table on stderr; the first column is text, the others are numbers."""
        if not self.quiet:
            self.console.print(text_table(title, header, rows, self.console.width))

    def result(self, data: Mapping[str, Any], path: Path) -> None:
        """Print the result of a command on stdout: its path, or with `--json` all its data."""
        if self.as_json:
            print_json(data)
        else:
            sys.stdout.write(f"{path}\n")

    def _say_plain(self, text: str) -> None:
        self._say(Text(text))

    def _say(self, text: Text) -> None:
        if self.console.is_terminal:
            text = Text(wrap_words(text.plain, self.console.width), style=text.style)
        self.console.print(text)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int) -> None:
    """Print a table on stdout, for a terminal.

    Args:
        header: Names of the columns.
        rows: Cells as text.
        numbers: Number of last columns that hold numbers.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(text_table("", header, rows, console.width, numbers=numbers))


def text_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, numbers: int | None = None
) -> Table:
    """Build a table that fits the terminal: texts continue on a next line, a longer word is shortened in its middle.

    Args:
        title: Title above the table; empty for none.
        header: Name of each column.
        rows: Cells of each row.
        width: Width of the terminal, cells.
        numbers: Number of last columns that hold numbers, aligned right; None: all but the first.
    """
    lines = [[visible(cell) for cell in row] for row in (header, *rows)]
    text_columns = 1 if numbers is None else len(header) - numbers
    columns = list(zip(*lines, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    shortest = [_unbroken_width(column, text=number < text_columns) for number, column in enumerate(columns)]
    for minimum in (shortest, [_MIN_COLUMN_WIDTH] * len(widths)):
        while sum(widths) + _COLUMN_GAP * (len(widths) - 1) > width:
            wide = [number for number in range(len(widths)) if widths[number] > minimum[number]]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1
    table = Table(title=Text(visible(title)) if title else None, title_justify="left", title_style="bold", box=None)
    table.pad_edge = False
    for number, (name, max_width) in enumerate(zip(lines[0], widths, strict=True)):
        is_text = number < text_columns
        table.add_column(_cell(name, max_width), justify="left" if is_text else "right", width=max_width)
    for row in lines[1:]:
        table.add_row(*map(_cell, row, widths))
    return table


def _unbroken_width(column: Sequence[str], *, text: bool) -> int:
    """Return the width at which words stay whole, and numbers such as `0.51 to 0.63` on one line."""
    header, *cells = column
    return max(map(cell_len, (*header.split(), *(" ".join(cells).split() if text else cells))), default=0)


def _cell(text: str, max_width: int) -> Text:
    return Text(re.sub(r"\S+", lambda word: middle_ellipsis(word[0], max_width, cell_len), text))


def print_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object with a schema number on stdout; what has no value is null: NaN, infinity, an empty text.

    A recipe keeps its empty texts: TOML, in which it is written too, has no null.
    """
    from dinocli.stored import json_safe  # loads pydantic

    result = {name: json_safe(value, empty_text=name == "recipe") for name, value in data.items()}
    sys.stdout.write(json.dumps({"schema": SCHEMA, **result}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def show_rows(
    terminal: Terminal, data: Mapping[str, Any], rows: Iterable[Sequence[str]], draw: Callable[[], None]
) -> None:
    """Print a table on stdout: with `--json` all its data, on a terminal drawn, else as tab-separated lines."""
    if terminal.as_json:
        print_json(data)
    elif sys.stdout.isatty():
        draw()
    else:
        print_rows(rows)


def print_rows(rows: Iterable[Sequence[str]]) -> None:
    """Print tab-separated lines on stdout, for a pipe."""
    sys.stdout.write("".join("\t".join(row) + "\n" for row in rows))
