"""`dinocli compare`: parse, one library call, present."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinocli.cli import options as opt
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import grouped, terminal_options

if TYPE_CHECKING:
    from dinocli.artifacts.run_comparison import ComparedRun, RunComparison, RunScore
    from dinocli.cli.render import Terminal

EPILOG = examples(
    "dinocli compare runs/*/ --report comparison.html",
    "dinocli compare runs/a runs/b --json",
)


@grouped(terminal=terminal_options)
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Folders of runs that have ended.", show_default=False, metavar="RUN...")
    ],
    report: Annotated[str, opt.output("--report", "HTML page: scores, settings that differ, curves.", "FILE")] = "",
    force: opt.Force = False,
    terminal: Any = None,
) -> None:
    """Compare runs: verdicts, scores of start and adapted weights, settings that differ.

    Reads the run folders only, no images. The table goes to stdout: tab-separated when piped, --json for one object.
    """
    from dinocli.tasks.compare_runs import compare_runs

    with terminal:
        comparison = compare_runs(runs, report, force=force)
    show_comparison(terminal, comparison)


def show_comparison(terminal: "Terminal", comparison: "RunComparison") -> None:
    """Show the scores on stdout, differing settings and notes on stderr."""
    from dinocli.cli.render import show_rows
    from dinocli.report.comparison_page import lead, run_names

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


def _show_table(comparison: "RunComparison") -> None:
    from dinocli.cli.render import print_table
    from dinocli.report.comparison_page import run_names

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
    print_table(header, rows, numbers=len(header) - 1)


def _change(scores: "Mapping[str, RunScore]", key: str) -> str:
    score = scores.get(key)
    return f"{_short(score.start)} -> {_short(score.adapted)}" if score else ""


def _rows(comparison: "RunComparison") -> list[list[str]]:
    """Return a header and one row per run, with 6 significant digits."""
    keys = list(dict.fromkeys(key for run in comparison.runs for key in (*run.labelled, *run.scores)))
    columns = [f"{key}_{side}" for key in keys for side in ("start", "adapted")]
    header = ["run", "verdict", "keep", "images", "steps", "seconds", *columns]
    return [header, *(_row(run, keys) for run in comparison.runs)]


def _row(run: "ComparedRun", keys: list[str]) -> list[str]:
    from dinocli.artifacts.run_comparison import RunScore

    scores = {**run.scores, **run.labelled}
    found = [scores.get(key, RunScore(key, None, None)) for key in keys]
    values = [value for score in found for value in (score.start, score.adapted)]
    facts = [str(run.path), run.outcome or run.status, run.keep, str(run.images), str(run.steps), f"{run.seconds:.1f}"]
    return [*facts, *("" if value is None else f"{value:.6g}" for value in values)]


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
