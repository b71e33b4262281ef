"""`dinocli compare`: parse, one library call, present."""

from typing import Annotated, Any

import typer

from dinocli.cli import options as opt
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import grouped, terminal_options

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
    from dinocli.cli.show_compare import show_comparison
    from dinocli.tasks.compare_runs import compare_runs

    with terminal:
        comparison = compare_runs(runs, report, force=force)
    show_comparison(terminal, comparison)
