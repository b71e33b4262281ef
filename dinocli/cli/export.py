"""`dinocli export`: parse, one library call, present."""

from typing import Annotated, Any, Literal

import typer

import dinocli
from dinocli.cli import completion, paths
from dinocli.cli import options as opt
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import grouped, options_of, terminal_options

EPILOG = examples(
    "dinocli export runs/mine --format onnx --out mine.onnx",
    "dinocli export --format onnx --like feats.npy --out feats.onnx",
    "dinocli export --format onnx --with-preprocessing --classifier clf.safetensors --out defects.onnx",
    "dinocli export detector --format onnx --with-preprocessing --out detector.onnx",
)


@grouped(terminal=terminal_options)
def export(
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="PATH", help="File to write; a folder for timm, transformers.")
    ],
    weights: Annotated[
        str,
        typer.Argument(
            help="Run, detector, timm name, hub id, file or folder.",
            autocompletion=completion.weights,
            callback=paths.weights,
            metavar="RUN|WEIGHTS|DETECTOR",
            show_default="the newest run",
        ),
    ] = "",
    format_: Annotated[
        Literal["timm", "transformers", "safetensors", "onnx", "torchscript"],
        typer.Option("--format", "-f", help="timm and transformers are folders, the others files."),
    ] = "timm",
    model: opt.Model = None,
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="ONNX: put range, resize and normalisation into the graph.")
    ] = False,
    like: Annotated[
        str,
        typer.Option(
            "--like",
            metavar="FEATS",
            help="ONNX: add the rare features of this file, with their bank.",
            callback=paths.features,
        ),
    ] = "",
    classifier: Annotated[
        str,
        typer.Option(
            "--classifier",
            metavar="FILE",
            help="ONNX: add the probabilities of `classify --save`, and their features.",
            callback=paths.stored,
        ),
    ] = "",
    force: opt.Force = False,
    terminal: Any = None,
) -> None:
    """Export a backbone or a detector for other programs, checked to give the same numbers, with a model card.

    Range, mean, deviation, size and licence travel in the file. Its path is printed on stdout.
    """
    with terminal:
        options = options_of(dinocli.ExportOptions, locals(), format=format_)
        options.check()

        done = dinocli.export(options, terminal)
    terminal.line(f"largest difference to our own network {done.difference:.1g}")
    push = ["hf auth login", f"hf upload USER/{done.path.name} {done.path}"] if done.path.is_dir() else []
    terminal.ending([done.card], push)
    terminal.result(done.to_dict(), done.path)
