"""`dinocli rerun`: the command line of a run once more, with the recipe as it was resolved."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dinocli.cli import options as opt

EPILOG = "Example: dinocli rerun runs/mine --out runs/again  |  dinocli rerun runs/mine --dry-run"

VALUED = ("--out", "-o", "--minutes")
FLAGS = ("--resume", "--force", "--json", "--quiet", "-q", "--debug")
"""What belongs to the call and not to the run."""


def rerun(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(help="Folder of the run.", metavar="RUN")],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder of the new run.", show_default="RUN-rerun", metavar="DIR")
    ] = "",
    resume: opt.Resume = False,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Repeat a run from its run.json: same images, start, seed and resolved recipe.

    With the same versions, threads and CPU the losses are the same to the last bit. A time limit is not kept.
    """
    from dinocli.artifacts.run_folder import RunFolder
    from dinocli.artifacts.run_record import check_repeatable, differing_sources
    from dinocli.cli.render import Terminal

    folder, target = RunFolder(Path(run).absolute()), Path(out or f"{run.rstrip('/')}-rerun").absolute()
    record = folder.read("name the folder of a run; `dinocli runs` lists them")
    check_repeatable(record)
    words = command_of(record["argv"], folder.recipe, target, minutes=bool(record["request"]["minutes"]))
    given = {"--resume": resume, "--force": force, "--dry-run": dry_run, "--json": json, "--quiet": quiet}
    words += [word for word, wanted in given.items() if wanted]
    terminal = Terminal(quiet=quiet)
    terminal.line(f"in {record['working_folder']}: dinocli {shlex.join(words)}")
    if record["processes"] > 1:
        terminal.warn(f"the run had {record['processes']} processes; this one has the processes that you start")
    os.chdir(record["working_folder"])
    sys.argv = [sys.argv[0], *words]
    code = ctx.find_root().command.main(words, prog_name="dinocli", standalone_mode=False)
    if code:
        raise typer.Exit(code)
    if not dry_run:
        for difference in differing_sources(record, RunFolder(target).read()):
            terminal.warn(f"{difference} are not those of {run}: the two runs cannot be compared step by step")


def command_of(argv: Sequence[str], recipe: Path, out: Path, *, minutes: bool) -> list[str]:
    """Turn a recorded command line into that of its repetition.

    Args:
        argv: As recorded, the program first.
        recipe: The resolved recipe.
        out: Folder of the new run.
        minutes: The run had a time limit, by which its probes were cut: they are kept as they were.
    """
    whole: list[str] = ["--set", "guard.max_share=1"] if minutes else []
    return [*_own(argv[1:]), "--recipe", str(recipe), *whole, "--out", str(out)]


def _own(words: Sequence[str]) -> list[str]:
    kept: list[Any] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in VALUED:
            skip = True
        elif word not in FLAGS and not word.startswith(tuple(f"{name}=" for name in VALUED if name[1] == "-")):
            kept.append(word)
    return kept
