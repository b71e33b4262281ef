"""Declarations of the options of the training commands alone."""

import json
from typing import Annotated, Any

import typer

from dinocli.cli import completion, paths
from dinocli.cli.options import INPUT, MAX_SEED, MODEL, OUTPUT, TRAINING, option

Cache = Annotated[
    str | None,
    option(
        "--cache",
        metavar="SIZE",
        panel=INPUT,
        help="Memory for decoded images: auto, off, or a size such as 8G.",
        show_default="auto",
    ),
]
Labels = Annotated[
    str,
    option(
        "--labels",
        metavar="LABELS",
        panel=INPUT,
        help="Labels for the final table only: folder, folder:N, CSV, COCO, YOLO, VOC.",
        callback=paths.labels,
    ),
]
Teacher = Annotated[
    str | None,
    option(
        "--teacher",
        metavar="WEIGHTS",
        panel=MODEL,
        autocompletion=completion.weights,
        callback=paths.weights,
        help="Distil these frozen weights into --model; same forms as --weights.",
    ),
]
Recipes = Annotated[
    list[str] | None,
    option(
        "--recipe",
        "-r",
        metavar="RECIPE",
        panel=TRAINING,
        autocompletion=completion.recipes,
        help="Name (`dinocli recipe list`) or path; repeatable, the last wins.",
    ),
]
Steps = Annotated[
    int | None,
    option("--steps", panel=TRAINING, min=1, help="Optimizer steps.", show_default="from the number of images"),
]
Minutes = Annotated[
    float,
    option("--minutes", panel=TRAINING, min=0.0, help="Time limit of the whole command, minutes; 0: none."),
]


def _batch_size(text: str | int) -> str | int:
    """Parse `--batch-size`: auto, max or an integer of at least 2."""
    if text in ("auto", "max"):
        return text
    if not str(text).isascii() or not str(text).isdigit() or int(text) < 2:
        raise typer.BadParameter("there is auto, max and a number of at least 2")
    return int(text)


BatchSize = Annotated[
    Any,
    option(
        "--batch-size",
        panel=TRAINING,
        parser=_batch_size,
        metavar="N",
        help="Images per step over all processes; auto; max: all that fits in memory.",
        show_default="auto",
    ),
]
Seed = Annotated[
    int | None, option("--seed", panel=TRAINING, min=0, max=MAX_SEED, help="Random seed.", show_default="0")
]
Out = Annotated[
    str, option("--out", "-o", metavar="FOLDER", panel=OUTPUT, help="Folder of the run.", show_default="runs/NAME")
]
Profile = Annotated[
    bool, option("--profile", panel=OUTPUT, help="Time the parts of 10 steps; Chrome trace in RUN/profile.json.")
]


def settings_of(pairs: dict[str, Any], settings: list[str] | None) -> list[str]:
    """Return options that are not None as `--set` strings, followed by the user's `--set` strings, which win."""
    options = [f"{key}={_toml(value)}" for key, value in pairs.items() if value is not None]
    return [*options, *(settings or [])]


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings, numbers and lists are the same in JSON and TOML
