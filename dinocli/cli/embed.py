"""`dinocli embed`: parse, one library call, present."""

import sys
from functools import partial
from typing import Annotated, Any, Literal

import typer

from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.multi_gpu import run_on_gpus
from dinocli.cli.option_groups import grouped, options_of, read_options, terminal_options

EPILOG = examples(
    "dinocli embed ./images --out feats.npy",
    "dinocli embed ./images --tokens cls+mean --out f.parquet",
    "dinocli embed ./images --shard 0/2 --out f.npy",
    "dinocli embed --merge --out f.npy",
)

FEATURES = "Features"
Out = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="File: .npy, .npz, .csv, .parquet or .safetensors; - for .npy bytes on stdout.",
    ),
]
TokenKind = Annotated[
    Literal["auto", "pooled", "cls", "mean", "cls+mean", "gem", "patch", "rare", "pooled+rare"],
    opt.option(
        "--tokens",
        help="auto: pooled+rare for convnets and ViTs with 64+ images, else pooled.",
        panel=FEATURES,
    ),
]
Layers = Annotated[
    int,
    opt.option("--layers", min=1, help="Last blocks of a ViT, or maps of a convnet, to concatenate.", panel=FEATURES),
]
Size = Annotated[
    int | None,
    opt.option(
        "--size",
        min=16,
        help="Side of the square that images are resized to, pixels.",
        show_default="that of the weights",
        panel=FEATURES,
    ),
]
KeepAspect = Annotated[
    bool,
    opt.option(
        "--keep-aspect",
        help="Keep the aspect: the shorter side gets --size pixels.",
        panel=FEATURES,
    ),
]
Normalize = Annotated[bool, opt.option("--normalize", help="Scale every feature to length 1 (L2).", panel=FEATURES)]
Dtype = Annotated[Literal["float32", "float16"], opt.option("--dtype", help="Number type in the file.", panel=FEATURES)]
Tile = Annotated[
    str, opt.tile(panel=FEATURES, help="Cut images into tiles of SIZE[:OVERLAP] pixels, one row per tile.")
]
BatchSize = Annotated[int, opt.option("--batch-size", min=1, help="Images or tiles per batch.", panel=opt.OUTPUT)]
ShardOption = Annotated[
    str,
    opt.option(
        "--shard", metavar="I/N", help="Embed part i/n of the images, i from 0, into feats.IofN.npy.", panel=opt.OUTPUT
    ),
]
Like = Annotated[
    str,
    opt.option(
        "--like",
        metavar="FEATS",
        help="Feature file whose weights, reading, tokens and fit are used again.",
        callback=paths.features,
        panel=FEATURES,
    ),
]
Merge = Annotated[
    bool,
    opt.option("--merge", help="Join the shards given as IMAGES, or those of --out.", panel=opt.OUTPUT),
]


@grouped(read=read_options, terminal=terminal_options)
def embed(
    images: opt.Images = None,
    read: Any = None,
    weights: opt.Weights = None,
    model: opt.Model = None,
    tokens: TokenKind = "auto",
    layers: Layers = 1,
    size: Size = None,
    keep_aspect: KeepAspect = False,
    normalize: Normalize = False,
    dtype: Dtype = "float32",
    precision: opt.Precision = "auto",
    tile: Tile = "",
    out: Out = "feats.npy",
    batch_size: BatchSize = 32,
    shard: ShardOption = "",
    merge: Merge = False,
    like: Like = "",
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
    from dinocli.cli.show_embed import show_embedded
    from dinocli.errors import UsageError

    if terminal.as_json and out == "-":
        raise UsageError("stdout takes --out - or --json, not both; name a file")
    if merge and gpus > 1:
        raise UsageError("--merge is one process: leave --gpus out")
    run_on_gpus(gpus, device)
    with terminal:
        from dinocli.tasks.embed.embed_options import EmbedOptions

        options = options_of(EmbedOptions, locals(), inputs=images)
        if merge:
            options.check_merge(dry_run=dry_run)
            from dinocli.tasks.embed.merge_shards import merge as join

            show = partial(show_embedded, terminal, join(out, images or (), force=force, reporter=terminal))
        else:
            options.check(dry_run=dry_run)
            if dry_run:
                from dinocli.tasks.embed.embed_dry_run import dry_run as plan

                show = partial(show_plan, terminal, plan(options, terminal, sys.stdin.buffer))
            else:
                from dinocli.tasks.embed.distributed_embed import embed_together

                outcome = embed_together(options, terminal, sys.stdin.buffer, sys.stdout.buffer)
                show = partial(show_embedded, terminal, outcome)
    show()
