"""Declarations of shared options: name, type and help."""

import re
from collections.abc import Callable
from functools import partial
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


def option(
    panel: str,
    names: str,
    help: str,
    metavar: str | None = None,
    callback: Callable[..., Any] | None = None,
    **more: Any,
) -> Any:
    """Declare an option.

    Args:
        panel: Panel of the help page.
        names: Names, separated by a comma and a space.
        help: Help text.
        metavar: Word for the value in the help page; None for that of its type.
        callback: Checks the value while the command line is parsed.
        more: Further arguments of `typer.Option`.
    """
    declared = names.split(", ")
    return typer.Option(*declared, help=help, metavar=metavar, callback=callback, rich_help_panel=panel, **more)


# Each declares an option in one of the panels that commands share.
image = partial(option, INPUT)
model = partial(option, MODEL)
feature = partial(option, FEATURES)
training = partial(option, TRAINING)
output = partial(option, OUTPUT)


def tile(panel: str, help: str) -> Any:
    """Declare `--tile`: a row of features per tile in `embed`, one blended map in `segment`."""
    return option(panel, "--tile", help, "SIZE[:OVERLAP]")


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
Null = Annotated[bool, image("-0, --null", "Paths on stdin end with NUL (find -print0).")]
Include = Annotated[list[str] | None, image("--include", "Take only names that match; repeatable: '*.png'.", "GLOB")]
Exclude = Annotated[list[str] | None, image("--exclude", "Leave out names that match; repeatable: '*_mask.*'.", "GLOB")]
Root = Annotated[
    str,
    image(
        "--root", "Folder that image names are relative to.", "FOLDER", paths.inputs, show_default="the input folder"
    ),
]
Window = Annotated[
    int | None,
    image(
        "--window",
        "Read TIFF files by windows of this side, each an image.",
        "PIXELS",
        min=16,
        show_default="1024 above 1 GiB",
    ),
]
Range = Annotated[
    str | None,
    image(
        "--range",
        "auto, full, minmax, percentile:L,H, image:L,H, window:L,W or fixed:L,H.",
        "RANGE",
        show_default="stored; in training auto",
    ),
]
Nodata = Annotated[
    list[float] | None,
    image("--nodata", "Pixel value that means no data, beside GDAL_NODATA tags; repeatable.", "VALUE"),
]
Channels = Annotated[
    str | None, image("--channels", "Channels to read: numbers from 0 (0,1,2,3), names (C:DAPI), or page.", "LIST")
]
Page = Annotated[int | None, image("--page", "Page of multi-page files, from 0.", min=0, show_default="0")]


def _z(text: str | None) -> str | None:
    from dinocli.config.preprocess import parse_z

    return None if text is None else parse_z(text)


Z = Annotated[
    str | None,
    image("--z", "TIFF stacks: max or mean along z, or a plane from 0; --page is time.", "Z", _z, show_default="off"),
]
Roi = Annotated[
    str | None,
    image(
        "--roi",
        "Region of interest: x,y,w,h in pixels, a mask file, or none.",
        "ROI",
        paths.region,
        show_default="stored; in training all",
    ),
]
MaxBad = Annotated[
    str | None, image("--max-bad", "Unreadable images that are accepted: a share or a number.", "N", show_default="10%")
]
Workers = Annotated[
    int | None,
    image("--workers", "Threads that decode images; 0 decodes in the main thread.", min=0, show_default="auto"),
]
Weights = Annotated[
    str | None,
    model(
        "--weights",
        "Run, timm name, hub id, file, folder, or none (random weights).",
        "WEIGHTS",
        paths.weights,
        autocompletion=completion.weights,
    ),
]
Model = Annotated[
    str | None,
    model(
        "--model",
        "timm name; needed with a bare state dict, or with random weights (none).",
        "NAME",
        autocompletion=completion.models,
    ),
]
Settings = Annotated[
    list[str] | None,
    training(
        "--set, -s",
        "Any setting of the recipe, such as run.save_every=50; repeatable.",
        "KEY=VALUE",
        autocompletion=completion.settings,
    ),
]
Whiten = Annotated[bool, feature("--whiten", "Whiten features before comparing them.")]
EmbedBatch = Annotated[
    int | None, output("--batch-size", "Images per batch, if images are given.", min=1, show_default="32")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    output("--precision", "Floating-point format; auto: fp32, on a GPU bf16."),
]


def _device(name: str) -> str:
    """Check the name of a device before anything is read; torch checks later whether it exists."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise typer.BadParameter("choose auto, cpu, cuda or cuda:NUMBER")
    return name


Device = Annotated[str, output("--device", "Device to compute on: auto, cpu, cuda or cuda:N.", "DEVICE", _device)]
Gpus = Annotated[int, output("--gpus", "Processes on this machine, one per GPU.", min=1)]
Resume = Annotated[bool, output("--resume", "Continue the interrupted run of the same command.")]
Force = Annotated[bool, output("--force", "Replace an existing result.")]
DryRun = Annotated[bool, output("--dry-run, -n", "Print the plan with time and memory, and stop.")]
Json = Annotated[bool, output("--json", "Print the result as one JSON object on stdout.")]
Quiet = Annotated[bool, output("--quiet, -q", "Print warnings and errors only.")]
Debug = Annotated[bool, output("--debug", "Print a traceback with an error.", callback=remember_debug, is_eager=True)]
