"""`--gpus N`: the same command line once more, in one process per GPU."""

import sys

import typer


def run_on_gpus(gpus: int, device: str) -> None:
    """Run this command line in several processes, and exit with their code; return if one process is enough."""
    if gpus == 1:
        return
    from dinocli.engine.distributed import check_gpus, launch

    check_gpus(gpus, device)
    raise typer.Exit(launch(gpus, without_gpus(sys.argv[1:])))


def without_gpus(arguments: list[str]) -> list[str]:
    """Remove `--gpus N` or `--gpus=N` from a command line."""
    remaining, skip = [], False
    for argument in arguments:
        if skip or argument == "--gpus":
            skip = argument == "--gpus"
        elif not argument.startswith("--gpus="):
            remaining.append(argument)
    return remaining
