"""`dinocli embed`: parse, one library call, present."""

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.multi_gpu import run_on_gpus
from dinocli.cli.option_groups import grouped, options_of, read_options, terminal_options
from dinocli.errors import counted

if TYPE_CHECKING:
    from dinocli.cli.render import Terminal
    from dinocli.tasks.embed.embed_options import EmbedResult

EPILOG = examples(
    "dinocli embed ./images --out feats.npy",
    "dinocli embed ./images --tokens cls+mean --out f.parquet",
    "dinocli embed ./images --shard 0/2 --out f.npy",
    "dinocli embed --merge --out f.npy",
)


@grouped(read=read_options, terminal=terminal_options)
def embed(
    images: opt.Images = None,
    read: Any = None,
    weights: opt.Weights = None,
    model: opt.Model = None,
    tokens: Annotated[
        Literal["auto", "pooled", "cls", "mean", "cls+mean", "gem", "patch", "rare", "pooled+rare"],
        opt.feature("--tokens", "auto: pooled+rare, or pooled if it does not help; a line says why."),
    ] = "auto",
    layers: Annotated[
        int, opt.feature("--layers", "Last blocks of a ViT, or maps of a convnet, to concatenate.", min=1)
    ] = 1,
    size: Annotated[
        int | None,
        opt.feature(
            "--size",
            "Side of the square that images are resized to, pixels.",
            min=16,
            show_default="that of the weights",
        ),
    ] = None,
    keep_aspect: Annotated[
        bool, opt.feature("--keep-aspect", "Keep the aspect: the shorter side gets --size pixels.")
    ] = False,
    normalize: Annotated[bool, opt.feature("--normalize", "Scale every feature to length 1 (L2).")] = False,
    dtype: Annotated[Literal["float32", "float16"], opt.feature("--dtype", "Number type in the file.")] = "float32",
    precision: opt.Precision = "auto",
    tile: Annotated[
        str,
        opt.tile(opt.FEATURES, "Cut images into tiles of SIZE[:OVERLAP] pixels, one row per tile."),
    ] = "",
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="A .npy, .npz, .csv, .parquet or .safetensors; -: .npy on stdout, sorted by name.",
        ),
    ] = "feats.npy",
    batch_size: Annotated[int, opt.output("--batch-size", "Images or tiles per batch.", min=1)] = 32,
    shard: Annotated[
        str, opt.output("--shard", "Embed part i/n of the images, i from 0, into feats.IofN.npy.", "I/N")
    ] = "",
    merge: Annotated[
        bool, opt.output("--merge", "Join the shards given as IMAGES, or those of --out; takes --max-bad.")
    ] = False,
    like: Annotated[
        str,
        opt.feature(
            "--like", "Feature file whose weights, reading, tokens and fit are used again.", "FEATS", paths.features
        ),
    ] = "",
    device: opt.Device = "auto",
    gpus: opt.Gpus = 1,
    resume: opt.Resume = False,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    terminal: Any = None,
) -> None:
    """Compute one row of features per image; row names and metadata are written beside the file.

    Without IMAGES or --weights those of the newest run are taken. The path of the file is printed on stdout.
    """
    from dinocli.cli.facts import show_plan
    from dinocli.errors import UsageError

    if terminal.as_json and out == "-":
        raise UsageError("stdout takes --out - or --json, not both; name a file")
    if merge and gpus > 1:
        raise UsageError("--merge is one process: leave --gpus out")
    run_on_gpus(gpus, device)
    with terminal:
        options = options_of(dinocli.EmbedOptions, locals(), inputs=images)
        if merge:
            options.check_merge(dry_run=dry_run)
            from dinocli.tasks.embed.merge_shards import merge as join

            outcome = join(out, images or (), force=force, reporter=terminal, max_bad=read.max_bad)
            show = partial(show_embedded, terminal, outcome)
        else:
            options.check(dry_run=dry_run)
            if dry_run:
                from dinocli.tasks.embed.embed_dry_run import dry_run as plan

                show = partial(show_plan, terminal, plan(options, terminal, sys.stdin.buffer))
            else:
                from dinocli.tasks.embed.distributed_embed import embed_together

                embedded = embed_together(options, terminal, sys.stdin.buffer, sys.stdout.buffer)
                show = partial(show_embedded, terminal, embedded)
    show()


def show_embedded(terminal: "Terminal", outcome: "EmbedResult | None") -> None:
    """Show the speed on stderr and the path on stdout; with `--out -` stdout holds the rows already."""
    if outcome is None:
        return
    speed = f", {outcome.images_per_second:.0f} rows a second" if outcome.images_per_second else ""
    terminal.line(f"{counted(outcome.rows, 'row')} in {outcome.seconds:.1f} s{speed}")
    if outcome.path:
        terminal.ending([], next_commands(outcome.path, outcome.shape))
        terminal.result(outcome.to_dict(), outcome.path)


def next_commands(path: Path, shape: Sequence[int]) -> list[str]:
    """Return the commands that take the features; grids of patches are for other programs.

    Args:
        path: Feature file, or folder of patch tokens.
        shape: Shape of one row.
    """
    if shard := re.fullmatch(r"(.+)\.\d+of\d+", path.stem):
        return [f"dinocli embed --merge --out {quote(str(path.with_name(shard[1] + path.suffix)))}"]
    return [f"dinocli cluster {quote(str(path))}", search_command(path)] if len(shape) == 1 else []


def search_command(path: Path) -> str:
    """Return the command that searches in a feature file; in one of tiles for a part of an image."""
    box = " --box X,Y,W,H" if path.with_name(f"{path.stem}.tiles.csv").is_file() else ""
    return f"dinocli search IMAGE{box} --in {quote(str(path))}"
