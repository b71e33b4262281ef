"""Output of `dinocli evaluate`: tables on a terminal, tab-separated lines in a pipe."""

import math
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dinocli.cli.render import Terminal, show_rows
from dinocli.quality.score_table import UNCLEAR, ScoreRow
from dinocli.report.text import difference, score, visible
from dinocli.tasks.evaluate.evaluate_options import EvaluateResult

_MIN_WIDTH_FOR_NAMES = 130
"""Terminal cells that a comparison with full names of scores needs."""


def show_evaluation(terminal: Terminal, evaluation: EvaluateResult) -> None:
    """Show the table on stdout, notes and sentences on stderr."""
    for note in evaluation.notes:
        terminal.line(f"note: {note}")
    show_rows(terminal, evaluation.to_dict(), _rows(evaluation), partial(_show_table, evaluation))
    for sentence in evaluation.sentences:
        terminal.line(sentence)
    terminal.ending([evaluation.report] if evaluation.report else [], [])


def _rows(evaluation: EvaluateResult) -> list[list[str]]:
    """Return a header and one row per score, with 6 significant digits."""
    compared = ["baseline", "difference", "low", "high", "verdict"] if evaluation.baseline else []
    lines = [["labels", "score", "value", *compared]]
    for row in evaluation.table:
        line = [row.labels, row.key, _exact(row.value)]
        if row.baseline is not None:
            change = row.difference
            interval = [_exact(change.low), _exact(change.high)] if change else ["", ""]
            line += [_exact(row.baseline), _exact(row.value - row.baseline), *interval, row.verdict]
        lines.append(line)
    return lines


def _show_table(evaluation: EvaluateResult) -> None:
    """Show one table for each label column; a narrow terminal shows the short score names of --json."""
    console = Console(highlight=False, markup=False, emoji=False)
    narrow = console.width < _MIN_WIDTH_FOR_NAMES
    header = ["features", "baseline", "change", "95 % interval", ""] if evaluation.baseline else ["features"]
    for column in dict.fromkeys(row.labels for row in evaluation.table):
        table = Table(box=None, pad_edge=False, title_justify="left", title_style="bold")
        table.title = Text(visible(f"By the labels of {column}" if column else "Without labels"), style="bold")
        for number, name in enumerate(["", *header]):
            table.add_column(name, justify="right" if 0 < number < 5 else "left", no_wrap=True)
        for row in evaluation.table:
            if row.labels == column:
                table.add_row(*map(Text, _cells(row, narrow)))
        console.print(table)
        console.print()


def _cells(row: ScoreRow, narrow: bool) -> list[str]:
    cells = [row.key if narrow else row.name, score(row.value)]
    if row.baseline is None:
        return cells
    change = row.difference
    interval = f"{change.low:+.3f} to {change.high:+.3f}" if change else ""
    verdict = "unclear" if narrow and row.verdict == UNCLEAR else row.verdict
    return [*cells, score(row.baseline), difference(row.value, row.baseline), interval, verdict]


def _exact(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
