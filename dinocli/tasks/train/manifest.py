"""What a run writes before its first step, and what a resumed run is checked against."""

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dinocli import __version__
from dinocli.config.load import differences, to_toml
from dinocli.data.bad_images import write_bad
from dinocli.data.loader import Loader
from dinocli.data.sources import ImageList
from dinocli.engine.step import Learner
from dinocli.errors import UsageError
from dinocli.files import write_whole
from dinocli.report.sheet import contact_sheet
from dinocli.tasks.run_folder import ENDED, RunFolder
from dinocli.tasks.train.setup import CHANGE_NOTHING, TrainContext, TrainOptions

SHEET_IMAGES = 8


def check_same(job: TrainOptions, images: ImageList, kept: dict[str, Any]) -> None:
    """Refuse to go on with a run on other images or with another recipe.

    Raises:
        UsageError: With the difference.
    """
    if kept["status"] in ENDED:
        raise UsageError(f"this run is {kept['status']} already, see its report.html; start another without --resume")
    changed = differences(kept["request"], job.request())
    changed = [line for line in changed if not line.startswith(tuple(f"recipe.{key}:" for key in CHANGE_NOTHING))]
    if changed:
        raise UsageError(f"--resume needs the same recipe as before; changed: {'; '.join(changed)}")
    if kept["inputs_hash"] != images.digest():
        raise UsageError(
            f"--resume needs the same images: there were {kept['images_listed']}, now there are {len(images)}, "
            "or some of them have changed; start a new run"
        )


def make_manifest(job: TrainOptions, context: TrainContext) -> dict[str, Any]:
    """Gather what run.json keeps: enough to repeat the run, to resume it, and to check both."""
    return {
        "command": job.command,
        "argv": list(job.argv),
        "status": "running",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "inputs": [name if name == "-" else str(Path(name).absolute()) for name in job.inputs],
        "root": str(context.images.root),
        "naming": job.read.naming() | {"root": job.read.root and str(Path(job.read.root).absolute())},
        "inputs_hash": context.images.digest(),
        "images_listed": len(context.images),
        "images": len(context.store),
        "distinct": context.distinct,
        "bad": len(context.store.bad),
        "request": job.request(),
        "recipe": context.recipe.model_dump(mode="json"),
        "preprocess": context.preprocess.to_dict(),
        "weights": context.info.to_dict(),
        "device": str(context.precision.device),
        "processes": context.world.size,
        "versions": {
            "dinocli": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "timm", "kornia", "numpy", "pillow")},
        },
    }


def begin_folder(
    folder: RunFolder, context: TrainContext, learner: Learner, loader: Loader, manifest: dict[str, Any]
) -> None:
    """Write what is known before the first step. run.json comes last: it says that a run can be resumed."""
    folder.clear()
    folder.checkpoints.mkdir(parents=True)
    _views_sheet(folder, learner, loader)
    if context.store.bad:
        write_bad(folder.bad, context.store.bad)
    write_whole(folder.recipe, to_toml(context.recipe))
    folder.write(manifest)


def _views_sheet(folder: RunFolder, learner: Learner, loader: Loader) -> None:
    """Show every view of a few images, evenly spread over the folder."""
    count = len(loader.store)
    chosen = sorted({round(place) for place in np.linspace(0, count - 1, min(SHEET_IMAGES, count))})
    (batch,) = loader.whole(chosen, len(chosen))
    pictures = learner.views.preview(batch.pixels_BCHW, batch.sizes_B2, step=0)
    columns = ["global 1", "global 2", *(f"local {number + 1}" for number in range(len(pictures) - 2))]
    rows = [[view[row] for view in pictures] for row in range(len(batch.rows))]
    contact_sheet(folder.views, rows, column_labels=columns, row_labels=[loader.store.names[i] for i in batch.rows])
