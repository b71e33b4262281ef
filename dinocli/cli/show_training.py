"""Output of the training commands."""

from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

from dinocli.cli.render import Terminal, print_result
from dinocli.quality.verdict import KEPT
from dinocli.report.text import difference, score

if TYPE_CHECKING:
    from dinocli.tasks.train.run_report import TrainResult
    from dinocli.tasks.train.score_lines import ScoreLine


def show_trained(terminal: Terminal, result: "TrainResult | None", *, hints: Sequence[str] = ()) -> None:
    """Show the result of a run: tables and verdict on stderr, the run folder on stdout."""
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
    unimproved = " (no training step improved on them)" if result.verdict.keep == "statistics" else ""
    terminal.line(f"Keep {KEPT[result.verdict.keep]}{unimproved}: {result.folder / 'backbone'}")
    for advice in result.advice:
        terminal.line(f"Try next: {advice}")
    for hint in hints:
        terminal.line(hint)
    terminal.ending(
        [result.folder / "report.html"], [f"dinocli embed --weights {quote(str(result.folder))} --out feats.npy"]
    )
    print_result(terminal, data, result.folder)


def _score_table(lines: "Sequence[ScoreLine]", step: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows; columns `statistics` (adapted batch norm) and `teacher` only if measured."""
    header, rows = ["", "start", step, "change"], []
    for line in lines:
        values = [line.start, line.adapted] if line.statistics is None else [line.start, line.statistics, line.adapted]
        rows.append([line.name, *map(score, values), difference(line.adapted, line.start)])
    if len(rows[0]) > len(header):
        header.insert(2, "statistics")
    if any(line.teacher is not None for line in lines):
        header.append("teacher")
        rows = [
            [*row, "" if line.teacher is None else score(line.teacher)] for row, line in zip(rows, lines, strict=True)
        ]
    return header, rows
