"""Declarations of shared options: name, type and help."""

import re
from typing import Annotated, Any, Literal

import typer

from dinocli.cli import completion, paths

INPUT, MODEL, FEATURES, TRAINING, OUTPUT = "Images", "Model", "Features", "Training", "Output and machine"


MAX_SEED = 2**31 - 1
"""Largest seed, as of all whole numbers in a recipe; scikit-learn takes twice as much."""


def remember_debug(ctx: typer.Context, value: bool) -> bool:
    """Store `--debug` in the root context, where error handling reads it."""
    ctx.find_root().meta["debug"] = value
    return value


def option(*names: str, panel: str, help: str, **more: Any) -> Any:
    """Declare an option in a help panel."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def tile(*, panel: str, help: str) -> Any:
    """Declare `--tile`: a row of features per tile in `embed`, one blended map in `segment`."""
    return option("--tile", metavar="SIZE[:OVERLAP]", panel=panel, help=help)


Images = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folders (recursive), files, .tar shards, globs, @list.txt, - for stdin.",
        show_default=False,
        metavar="IMAGES...",
        callback=paths.inputs,
    ),
]
FeaturesOrImages = Annotated[
    list[str] | None,
    typer.Argument(
        help="Feature file of `embed`, or images: folders, files, globs, @list.txt, -.",
        show_default="the newest feature file of the newest run",
        metavar="FEATS|IMAGES...",
        callback=paths.features_or_images,
    ),
]
Null = Annotated[bool, option("-0", "--null", panel=INPUT, help="Paths on stdin end with NUL (find -print0).")]
Include = Annotated[
    list[str] | None,
    option("--include", panel=INPUT, metavar="GLOB", help="Take only names that match; repeatable: '*.png'."),
]
Exclude = Annotated[
    list[str] | None,
    option("--exclude", panel=INPUT, metavar="GLOB", help="Leave out names that match; repeatable: '*_mask.*'."),
]
Root = Annotated[
    str,
    option(
        "--root",
        metavar="FOLDER",
        panel=INPUT,
        help="Folder that image names are relative to.",
        show_default="the input folder",
        callback=paths.inputs,
    ),
]
Window = Annotated[
    int | None,
    option(
        "--window",
        metavar="PIXELS",
        panel=INPUT,
        min=16,
        help="Read TIFF files by windows of this side, each an image.",
        show_default="1024 above 1 GiB",
    ),
]
Range = Annotated[
    str | None,
    option(
        "--range",
        metavar="RANGE",
        panel=INPUT,
        help="auto, full, minmax, percentile:L,H, image:L,H, window:L,W or fixed:L,H.",
        show_default="stored; in training auto",
    ),
]
Nodata = Annotated[
    list[float] | None,
    option(
        "--nodata",
        metavar="VALUE",
        panel=INPUT,
        help="Pixel value that means no data, beside GDAL_NODATA tags; repeatable.",
    ),
]
Channels = Annotated[
    str | None,
    option(
        "--channels",
        metavar="LIST",
        panel=INPUT,
        help="Channels to read: numbers from 0 (0,1,2,3), names (C:DAPI), or page.",
    ),
]
Page = Annotated[
    int | None, option("--page", panel=INPUT, min=0, help="Page of multi-page files, from 0.", show_default="0")
]


def _z(text: str | None) -> str | None:
    from dinocli.config.preprocess import parse_z

    return None if text is None else parse_z(text)


Z = Annotated[
    str | None,
    option(
        "--z",
        metavar="Z",
        panel=INPUT,
        help="TIFF stacks: max or mean along z, or a plane from 0; --page is time.",
        show_default="off",
        callback=_z,
    ),
]
Roi = Annotated[
    str | None,
    option(
        "--roi",
        metavar="ROI",
        panel=INPUT,
        help="Region of interest: x,y,w,h in pixels, a mask file, or none.",
        show_default="stored; in training all",
        callback=paths.region,
    ),
]
MaxBad = Annotated[
    str | None,
    option(
        "--max-bad",
        metavar="N",
        panel=INPUT,
        help="Unreadable images that are accepted: a share or a number.",
        show_default="10%",
    ),
]
Workers = Annotated[
    int | None,
    option(
        "--workers",
        panel=INPUT,
        min=0,
        help="Threads that decode images; 0 decodes in the main thread.",
        show_default="auto",
    ),
]
Weights = Annotated[
    str | None,
    option(
        "--weights",
        metavar="WEIGHTS",
        panel=MODEL,
        autocompletion=completion.weights,
        callback=paths.weights,
        help="Run, timm name, hub id, file, folder, or none (random weights).",
    ),
]
Model = Annotated[
    str | None,
    option(
        "--model",
        metavar="NAME",
        panel=MODEL,
        autocompletion=completion.models,
        help="timm name; needed with a bare state dict or --weights none.",
    ),
]
Settings = Annotated[
    list[str] | None,
    option(
        "--set",
        "-s",
        panel=TRAINING,
        metavar="KEY=VALUE",
        autocompletion=completion.settings,
        help="Any setting of the recipe, such as run.save_every=50; repeatable.",
    ),
]
Whiten = Annotated[
    bool,
    option("--whiten", panel=FEATURES, help="Whiten features before comparing them."),
]
EmbedBatch = Annotated[
    int | None,
    option("--batch-size", panel=OUTPUT, min=1, help="Images per batch, if images are given.", show_default="32"),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    option("--precision", panel=OUTPUT, help="Floating-point format; auto: half precision where supported."),
]


def _device(name: str) -> str:
    """Check the name of a device before anything is read; torch checks later whether it exists."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise typer.BadParameter("there is auto, cpu, cuda and cuda:NUMBER")
    return name


Device = Annotated[
    str,
    option(
        "--device",
        metavar="DEVICE",
        panel=OUTPUT,
        help="Device to compute on: auto, cpu, cuda or cuda:N.",
        callback=_device,
    ),
]
Gpus = Annotated[int, option("--gpus", panel=OUTPUT, min=1, help="Processes on this machine, one per GPU.")]
Resume = Annotated[bool, option("--resume", panel=OUTPUT, help="Continue the interrupted run of the same command.")]
Force = Annotated[bool, option("--force", panel=OUTPUT, help="Replace an existing result.")]
DryRun = Annotated[bool, option("--dry-run", "-n", panel=OUTPUT, help="Print the plan with time and memory, and stop.")]
Json = Annotated[bool, option("--json", panel=OUTPUT, help="Print the result as one JSON object on stdout.")]
Quiet = Annotated[bool, option("--quiet", "-q", panel=OUTPUT, help="Print warnings and errors only.")]
Debug = Annotated[
    bool,
    option("--debug", panel=OUTPUT, help="Print a traceback with an error.", callback=remember_debug, is_eager=True),
]
