"""`dinocli rerun`: run the command line of an earlier run again, with its resolved recipe."""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dinocli.cli import options as opt
from dinocli.cli.help_page import examples
from dinocli.cli.usage import without_options

EPILOG = examples(
    "dinocli rerun runs/mine --out runs/again",
    "dinocli rerun runs/mine --dry-run",
)

DROPPED_OPTIONS = ("--out", "-o", "--minutes", "--recipe", "-r", "--set", "-s", "--steps", "--batch-size")
DROPPED_FLAGS = ("--resume", "--force", "--json", "--quiet", "-q", "--debug")
"""Parts of the recorded command line that a rerun does not repeat: the resolved recipe has the values of `max` and
`auto`, and a recipe file may be gone."""
_SHORT = re.compile(r"-[0qn]*([ors])(.*)", re.DOTALL)
"""A short option, perhaps in one word with flags before it and its value (`-qsrun.steps=5`)."""


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
    from dinocli.artifacts.run_record import check_repeatable, differing_sources, project_folder
    from dinocli.cli.render import Terminal

    folder = RunFolder(Path(os.path.abspath(run)))
    target = Path(out).absolute() if out else folder.path.with_name(f"{folder.path.name}-rerun")
    record = folder.read("name the folder of a run; `dinocli runs` lists them")
    check_repeatable(record)
    project = project_folder(record, folder.path.resolve())
    arguments = command_of(record["argv"], folder.recipe, target, minutes=bool(record["request"]["minutes"]))
    flags = {"--resume": resume, "--force": force, "--dry-run": dry_run, "--json": json, "--quiet": quiet}
    arguments += [flag for flag, is_set in flags.items() if is_set]
    terminal = Terminal(quiet=quiet)
    if str(project) != record["working_folder"]:
        terminal.line(f"the run was started in {record['working_folder']} and moved or copied here with its project")
    terminal.line(f"in {project}: dinocli {shlex.join(arguments)}")
    if record["processes"] > 1:
        terminal.warn(f"the run had {record['processes']} processes; this one has the processes that you start")
    os.chdir(project)
    sys.argv = [sys.argv[0], *arguments]
    code = ctx.find_root().command.main(arguments, prog_name="dinocli", standalone_mode=False)
    if code:
        raise typer.Exit(code)
    if not dry_run:
        for difference in differing_sources(record, RunFolder(target).read()):
            terminal.warn(f"{difference} are not those of {run}: the two runs cannot be compared step by step")


def command_of(argv: Sequence[str], recipe: Path, out: Path, *, minutes: bool) -> list[str]:
    """Return the arguments that repeat a recorded command line.

    Args:
        argv: The recorded command line, the program first.
        recipe: The resolved recipe.
        out: Folder of the new run.
        minutes: The run had a time budget. Its recipe holds the reduced probes, which must not be reduced again.
    """
    probes: list[str] = ["--set", "guard.max_share=1"] if minutes else []
    command, *arguments = argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)  # after it there are names only
    repeated = without_options([*_separated(arguments[:end])], DROPPED_OPTIONS, DROPPED_FLAGS)
    return [command, "--recipe", str(recipe), *probes, "--out", str(out), *repeated, *arguments[end:]]


def _separated(arguments: Sequence[str]) -> Iterator[str]:
    """Yield short options and their values as words of their own, without flags that were joined with them."""
    for argument in arguments:
        joined = _SHORT.fullmatch(argument)
        yield from filter(None, (f"-{joined[1]}", joined[2])) if joined else (argument,)
