"""`dinocli export`: parse, one library call, present."""

import sys
from typing import Annotated

import typer

from dinocli.cli import options as opt

EPILOG = "Example: dinocli export runs/mine --format onnx --out mine.onnx"


def export(
    out: Annotated[str, typer.Option("--out", "-o", help="File, or folder for timm.")],
    weights: Annotated[
        str,
        typer.Argument(
            help="A run, or weights: timm name, hub id, file, folder.",
            metavar="RUN|WEIGHTS",
            show_default="the newest run",
        ),
    ] = "",
    format_: Annotated[
        str, typer.Option("--format", "-f", help="timm (a folder), safetensors, onnx or torchscript.")
    ] = "timm",
    model: opt.Model = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    debug: opt.Debug = False,
) -> None:
    """Write a backbone for other programs, proved to give the same features, with a model card beside it.

    Range, mean, deviation, size and licence travel in the file. Its path is printed on stdout.
    """
    from dinocli.cli.render import Terminal, print_json
    from dinocli.tasks.export.export import ExportJob
    from dinocli.tasks.export.export import export as run

    terminal = Terminal(quiet=quiet, verbose=verbose)
    with terminal:
        done = run(ExportJob(weights, model or "", format_, out, force), terminal)
    terminal.line(f"largest difference to our own network {done.difference:.1g}; model card: {done.card}")
    if json:
        print_json(done.to_dict())
    else:
        sys.stdout.write(f"{done.path}\n")
