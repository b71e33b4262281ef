"""Files that a run writes before its first step: run.json, recipe.toml, views.png and images.bad.csv."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dinocli.artifacts.run_folder import RunFolder
from dinocli.config.installed_packages import versions_used
from dinocli.config.load import to_toml
from dinocli.data.bad_images import write_bad
from dinocli.data.loader import Loader
from dinocli.data.read import rgb
from dinocli.engine.step import Learner
from dinocli.files import write_atomic
from dinocli.report.sheet import contact_sheet
from dinocli.tasks.train.budget import TrainPlan
from dinocli.tasks.train.train_context import TrainContext

SHEET_IMAGES = 8


def make_manifest(context: TrainContext, plan: TrainPlan) -> dict[str, Any]:
    """Return the content of run.json: everything needed to repeat or resume the run."""
    options = context.options
    return {
        "command": options.command,
        "argv": list(options.argv),
        "working_folder": os.getcwd(),
        "status": "running",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "inputs": [_from_anywhere(name) for name in options.inputs],
        "root": str(context.images.root),
        "naming": options.read.naming() | {"root": options.read.root and str(Path(options.read.root).absolute())},
        "inputs_hash": context.images.digest(),
        "images_listed": len(context.images),
        "images": len(context.store),
        "distinct": context.distinct,
        "bad": len(context.store.bad),
        "request": options.request(),
        "recipe": plan.recipe.model_dump(mode="json"),
        "preprocess": context.preprocess.to_dict(),
        "weights": context.info.to_dict(),
        **({"teacher": context.teacher.info.to_dict()} if context.teacher else {}),
        "device": str(context.precision.device),
        "processes": context.world.size,
        "threads": torch.get_num_threads(),
        "versions": versions_used("kornia"),
    }


def _from_anywhere(name: str) -> str:
    """Return an input as an absolute path, for commands in other working folders; `-` is unchanged."""
    if name.startswith("@") and not os.path.lexists(name):
        return f"@{Path(name[1:]).absolute()}"
    return name if name == "-" else str(Path(name).absolute())


def begin_folder(
    folder: RunFolder,
    context: TrainContext,
    plan: TrainPlan,
    learner: Learner,
    loader: Loader,
    manifest: dict[str, Any],
) -> None:
    """Write the files before the first step; run.json last, because it marks the run as resumable."""
    folder.clear()
    folder.checkpoints.mkdir(parents=True)
    _views_sheet(folder, learner, loader)
    if context.store.bad:
        write_bad(folder.bad, context.store.bad)
    write_atomic(folder.recipe, to_toml(plan.recipe))
    folder.write(manifest)


def _views_sheet(folder: RunFolder, learner: Learner, loader: Loader) -> None:
    """Draw a contact sheet of a few images, evenly spread over the dataset, each with its augmented views."""
    count = len(loader.store)
    chosen = sorted({round(place) for place in np.linspace(0, count - 1, min(SHEET_IMAGES, count))})
    (batch,) = loader.batches(chosen, len(chosen))
    views = learner.views.preview(batch.pixels_BCHW, batch.sizes_B2, step=0, images=batch.rows)
    words = learner.views.describe(batch.sizes_B2.cpu(), step=0, images=batch.rows)
    columns = ["image", "global 1", "global 2", *(f"local {number + 1}" for number in range(len(views) - 2))]
    canvases = zip(batch.pixels_BCHW.cpu().numpy(), batch.sizes_B2.tolist(), strict=True)
    whole = [rgb(canvas_CHW[:, :height, :width]) for canvas_CHW, (height, width) in canvases]
    rows = [[whole[row], *(rgb(view[row]) for view in views)] for row in range(len(batch.rows))]
    captions = [["", *(view[row] for view in words)] for row in range(len(batch.rows))]
    labels = [loader.store.names[image] for image in batch.rows]
    contact_sheet(folder.views, rows, column_labels=columns, row_labels=labels, captions=captions)
