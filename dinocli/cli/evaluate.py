"""`dinocli evaluate`: parse, one library call, present."""

import math
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import feature_options, grouped, options_of, read_options, terminal_options
from dinocli.report.text import difference, score, visible

if TYPE_CHECKING:
    from dinocli.cli.render import Terminal
    from dinocli.quality.evaluation import EvaluateResult
    from dinocli.quality.score_table import ScoreRow

EPILOG = examples(
    "dinocli evaluate feats.npy --labels folder",
    "dinocli evaluate adapted.npy --baseline start.npy --labels parts.csv --groups part",
)

label_option = partial(opt.option, "Labels")

_MIN_WIDTH_FOR_NAMES = 130
"""Terminal cells that a comparison with full names of scores needs."""


@grouped(source=feature_options, read=read_options, terminal=terminal_options)
def evaluate(
    source: Any = None,
    read: Any = None,
    labels: Annotated[
        str,
        label_option("--labels", "folder, folder:N (0 the outermost), CSV, COCO, YOLO or VOC.", "LABELS", paths.labels),
    ] = "",
    groups: Annotated[
        str,
        label_option(
            "--groups", "CSV column, or `folder`: images of one part, lot or patient stay together.", "COLUMN"
        ),
    ] = "",
    train: Annotated[
        str, label_option("--train", "Train on these names only: a folder or a pattern, 'train/*'.", "GLOB")
    ] = "",
    test: Annotated[str, label_option("--test", "Test on these names only; train on the others.", "GLOB")] = "",
    baseline: Annotated[
        str,
        label_option(
            "--baseline", "Compare with this feature file or these weights.", "FEATS|WEIGHTS", paths.features_or_weights
        ),
    ] = "",
    views: Annotated[
        int, label_option("--views", "Augmented views per image for LiDAR; 0: no views and no verdict.", min=0)
    ] = 2,
    whiten: opt.Whiten = False,
    report: Annotated[
        str,
        opt.output("--report", "HTML page: confusions and worst images with pictures, classes, reliability.", "FILE"),
    ] = "",
    terminal: Any = None,
) -> None:
    """Measure features with or without labels, and test whether a difference is more than chance.

    The table goes to stdout: tab-separated when piped, --json for one object. --report shows what is behind it.
    """
    with terminal:
        from dinocli.tasks.feature_inputs import check_features

        options = options_of(dinocli.EvaluateOptions, source | locals(), argv=sys.argv)
        options.check()
        check_features(options)

        evaluation = dinocli.evaluate(options, terminal, sys.stdin.buffer)
    show_evaluation(terminal, evaluation)


def show_evaluation(terminal: "Terminal", evaluation: "EvaluateResult") -> None:
    """Show the table on stdout, notes and sentences on stderr."""
    from dinocli.cli.render import show_rows

    for note in evaluation.notes:
        terminal.line(f"note: {note}")
    show_rows(terminal, evaluation.to_dict(), _rows(evaluation), partial(_show_table, evaluation))
    for sentence in evaluation.sentences:
        terminal.line(sentence)
    terminal.ending([evaluation.report] if evaluation.report else [], [])


def _rows(evaluation: "EvaluateResult") -> list[list[str]]:
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


def _show_table(evaluation: "EvaluateResult") -> None:
    """Show one table for each label column; a narrow terminal shows the short score names of --json."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

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


def _cells(row: "ScoreRow", narrow: bool) -> list[str]:
    from dinocli.quality.score_table import UNCLEAR

    cells = [row.key if narrow else row.name, score(row.value)]
    if row.baseline is None:
        return cells
    change = row.difference
    interval = f"{change.low:+.3f} to {change.high:+.3f}" if change else ""
    verdict = "unclear" if narrow and row.verdict == UNCLEAR else row.verdict
    return [*cells, score(row.baseline), difference(row.value, row.baseline), interval, verdict]


def _exact(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
