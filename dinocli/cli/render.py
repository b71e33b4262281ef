"""Everything that a user sees, in one file: stdout carries the result alone, stderr all the rest.

Paths are never given to Rich as markup: `[a]/[b].png` is a fine name. On a terminal control characters in names are
escaped; off a terminal there is no live table, but a plain line now and then.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from textwrap import wrap
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dinocli.cli.stages import StageDisplay
from dinocli.data.decoder_warnings import DecoderWarnings
from dinocli.progress import ProgressReporter
from dinocli.report.text import middle_ellipsis, visible

if TYPE_CHECKING:
    from dinocli.tasks.train.run_report import TrainResult
    from dinocli.tasks.train.score_lines import ScoreLine

SCHEMA = 1

_BETWEEN, _NARROWEST = 2, 8
"""Cells between two columns, and the width below which none is cut."""

KEPT = {
    "adapted": "the adapted weights",
    "statistics": "the original weights with adapted batch-norm statistics (no training step improved on them)",
    "start": "the original weights",
}


class Terminal(ProgressReporter):
    """Shows what a command tells: a live table of its stages on a terminal, a plain line now and then elsewhere.

    Args:
        quiet: Only warnings.
        as_json: The result is one JSON object on stdout.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._stages = None if quiet or not _is_main() else StageDisplay(self.console, self._say_plain, self.safe)
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
        if complaints := self._decoders.summary():
            self.warn(complaints)

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
        """Say in the last lines of a command where to look, and what to type next."""
        for word, lines in (("look:", look), ("next:", commands)):
            for number, text in enumerate(lines):
                if not self.quiet:  # never broken: a command is copied whole
                    self.console.print(Text(self.safe(f"{'' if number else word:5} {text}")))

    def safe(self, text: str) -> str:
        """Escape control characters where a terminal would obey them."""
        if not self.console.is_terminal:
            return text
        return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)

    def table(self, title: str, header: list[str], rows: list[list[str]]) -> None:
        """Show a table; the first column is text, the others numbers."""
        if not self.quiet:
            self.console.print(text_table(title, header, rows, self.console.width))

    def _say_plain(self, text: str) -> None:
        self._say(Text(text))

    def _say(self, text: Text) -> None:
        if self.console.is_terminal:
            text = Text(between_words(text.plain, self.console.width), style=text.style)
        self.console.print(text)


def between_words(text: str, width: int) -> str:
    """Break lines between words; a word that is wider than the terminal stays whole, so that a path can be copied."""
    return "\n".join(
        "\n".join(wrap(line, width, break_long_words=False, break_on_hyphens=False)) if len(line) > width else line
        for line in text.split("\n")
    )


def _is_main() -> bool:
    """Say whether this is the process that speaks, of those that `torchrun` started."""
    return not os.environ.get("RANK", "").strip("0").isdecimal()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int) -> None:
    """Print a table on a stdout that is a terminal.

    Args:
        header: Names of the columns.
        rows: Cells, already words.
        numbers: How many of the last columns are numbers.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(text_table("", header, rows, console.width, numbers=numbers))


def text_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, numbers: int | None = None
) -> Table:
    """Make a table that is no wider than the terminal: the longest cells lose their middle, never the numbers.

    Args:
        title: Above it.
        header: One name a column.
        rows: As many cells each.
        width: Of the terminal, cells.
        numbers: How many of the last columns are numbers, set flush right; all but the first, if left out.
    """
    shown = [[visible(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    while sum(widths) + _BETWEEN * (len(widths) - 1) > width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    table = Table(title=Text(visible(title)) if title else None, title_justify="left", title_style="bold", box=None)
    table.pad_edge = False
    texts = 1 if numbers is None else len(widths) - numbers
    for place, (name, widest) in enumerate(zip(shown[0], widths, strict=True)):
        title_cell = Text(middle_ellipsis(name, widest, cell_len))
        table.add_column(title_cell, justify="left" if place < texts else "right", no_wrap=True)
    for row in shown[1:]:
        cells = zip(row, widths, strict=True)
        table.add_row(*(Text(middle_ellipsis(cell, widest, cell_len)) for cell, widest in cells))
    return table


def print_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object with a schema number on stdout; what is not a number becomes null."""
    sys.stdout.write(json.dumps(_finite({"schema": SCHEMA, **data}), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_result(terminal: Terminal, data: Mapping[str, Any], path: Path) -> None:
    """Print the result of a command on stdout: where it lies, or with `--json` everything about it."""
    if terminal.as_json:
        print_json(data)
    else:
        sys.stdout.write(f"{path}\n")


def show_result(terminal: Terminal, result: "TrainResult | None", *, hints: Sequence[str] = ()) -> None:
    """Show how a run ended: tables and verdict on stderr, the run's folder on stdout."""
    if result is None:
        return
    step = f"step {result.best_step}" + (f", alpha {result.alpha:g}" if result.alpha < 1 else "")
    for title, lines in (("Without labels", result.lines), ("With your labels", result.labelled)):
        if lines:
            terminal.table(title, *_score_table(lines, step))
    data = result.to_dict()
    for sentence in (*result.verdict.sentences, data["share_of_teacher"]):
        if sentence:
            terminal.line(sentence)
    terminal.line(f"Keep {KEPT[result.verdict.keep]}: {result.folder / 'backbone'}")
    for advice in result.advice:
        terminal.line(f"Try next: {advice}")
    for hint in hints:
        terminal.line(hint)
    terminal.ending(
        [result.folder / "report.html"], [f"dinocli embed --weights {quote(str(result.folder))} --out feats.npy"]
    )
    print_result(terminal, data, result.folder)


def _score_table(lines: "Sequence[ScoreLine]", step: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows; the batch-norm statistics get a column where they were measured."""
    header, rows = ["", "start", step, "change"], []
    for line in lines:
        values = [line.start, line.adapted] if line.statistics is None else [line.start, line.statistics, line.adapted]
        rows.append([line.name, *(f"{value:.4g}" for value in values), f"{line.adapted - line.start:+.3g}"])
    if len(rows[0]) > len(header):
        header.insert(2, "statistics")
    if any(line.teacher is not None for line in lines):
        header.append("teacher")
        rows = [
            [*row, "" if line.teacher is None else f"{line.teacher:.4g}"] for row, line in zip(rows, lines, strict=True)
        ]
    return header, rows


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and value - value != 0 else value
