"""Output of `dinocli compare`: a table on a terminal, tab-separated lines in a pipe."""

from collections.abc import Mapping
from functools import partial

from rich.console import Console

from dinocli.artifacts.run_comparison import ComparedRun, RunComparison, RunScore
from dinocli.cli.render import Terminal, show_rows, text_table
from dinocli.report.comparison_page import lead, run_names


def show_comparison(terminal: Terminal, comparison: RunComparison) -> None:
    """Show the scores on stdout, differing settings and notes on stderr."""
    show_rows(terminal, comparison.to_dict(), _rows(comparison), partial(_show_table, comparison))
    names = run_names(comparison.runs)
    for key, values in comparison.settings.items():
        words = ("none" if value is None else str(value) for value in values)
        pairs = zip(names, words, strict=True)
        terminal.line(f"{key}: {', '.join(f'{value} ({name})' for name, value in pairs)}")
    for note in comparison.notes:
        terminal.line(f"note: {note}")
    terminal.line(lead(comparison))
    terminal.ending([comparison.report] if comparison.report else [], [])


def _show_table(comparison: RunComparison) -> None:
    labelled = next((key for run in comparison.runs for key in run.labelled), "")
    title = next((run.labelled[labelled].name for run in comparison.runs if labelled in run.labelled), "")
    header = ["run", "verdict", "steps", "minutes", "selection score", *([title] if title else [])]
    rows = [
        [
            name,
            run.outcome or run.status,
            f"{run.steps:,}",
            f"{run.seconds / 60:.1f}",
            _change(run.scores, run.selection_score),
            *([_change(run.labelled, labelled)] if title else []),
        ]
        for name, run in zip(run_names(comparison.runs), comparison.runs, strict=True)
    ]
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(text_table("", header, rows, console.width))


def _change(scores: Mapping[str, RunScore], key: str) -> str:
    score = scores.get(key)
    return f"{_short(score.start)} -> {_short(score.adapted)}" if score else ""


def _rows(comparison: RunComparison) -> list[list[str]]:
    """Return a header and one row per run, with 6 significant digits."""
    keys = list(dict.fromkeys(key for run in comparison.runs for key in (*run.labelled, *run.scores)))
    columns = [f"{key}_{side}" for key in keys for side in ("start", "adapted")]
    header = ["run", "verdict", "keep", "images", "steps", "seconds", *columns]
    return [header, *(_row(run, keys) for run in comparison.runs)]


def _row(run: ComparedRun, keys: list[str]) -> list[str]:
    scores = {**run.scores, **run.labelled}
    found = [scores.get(key, RunScore(key, None, None)) for key in keys]
    values = [value for score in found for value in (score.start, score.adapted)]
    facts = [str(run.path), run.outcome or run.status, run.keep, str(run.images), str(run.steps), f"{run.seconds:.1f}"]
    return [*facts, *("" if value is None else f"{value:.6g}" for value in values)]


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
