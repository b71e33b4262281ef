"""`dinocli runs`: one line per run."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dinocli.cli import options as opt
from dinocli.cli.help_page import examples

if TYPE_CHECKING:
    from dinocli.artifacts.run_list import RunSummary

EPILOG = examples(
    "dinocli runs",
    "dinocli runs /data/runs --json | jq -r '.runs[] | select(.keep == \"adapted\").path'",
)

HEADER = ("run", "started", "status", "verdict", "keep", "images", "steps", "minutes", "MB")


def runs(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Runs, or folders with runs.", show_default="runs", metavar="FOLDER...")
    ] = None,
    json: opt.Json = False,
    debug: opt.Debug = False,
) -> None:
    """List the runs of a folder with verdict, date, length and size on disk, oldest first.

    The table goes to stdout: tab-separated when piped, --json for one object.
    """
    from dinocli.artifacts.run_folder import RUNS
    from dinocli.artifacts.run_list import list_runs
    from dinocli.cli.render import print_json, print_rows, print_table

    summaries = list_runs(paths or ())
    if json:
        print_json({"runs": [run.to_dict() for run in summaries]})
        return
    if not summaries:
        typer.echo(f"no runs in {', '.join(paths or [str(RUNS)])}: `dinocli finetune-ssl IMAGES` makes one", err=True)
    rows = [_cells(run) for run in summaries]
    if sys.stdout.isatty():  # 80 columns hold what matters: the day, and a status where there is no verdict
        short = [(path, started[:10], outcome or status, *rest) for path, started, status, outcome, *rest in rows]
        print_table([name for name in HEADER if name != "status"], short, numbers=4)
    else:
        print_rows([HEADER, *rows])


def _cells(run: "RunSummary") -> tuple[str, ...]:
    minutes = f"{run.seconds / 60:.1f}" if run.seconds else ""
    numbers = (f"{run.images}", f"{run.steps or ''}", minutes, f"{run.bytes / 1e6:.0f}")
    return (str(run.path), run.started[:16].replace("T", " "), run.status, run.outcome, run.keep, *numbers)
