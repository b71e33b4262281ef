"""`--gpus N`: the same command line once more, in one process per GPU."""

import sys

import typer

from dinocli.cli.usage import without_options


def run_on_gpus(gpus: int, device: str) -> None:
    """Run this command line in several processes, and exit with their code; return if one process is enough."""
    if gpus == 1:
        return
    from dinocli.engine.distributed import check_gpus, launch

    check_gpus(gpus, device)
    raise typer.Exit(launch(gpus, without_options(sys.argv[1:], ("--gpus",))))
