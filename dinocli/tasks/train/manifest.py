"""Files that a run writes before its first step (run.json, recipe.toml, views.png, images.bad.csv); check to resume."""

import os
import time
from pathlib import Path
from typing import Any

import torch

from dinocli.artifacts.run_folder import ENDED, RunFolder
from dinocli.config.installed_packages import versions_used
from dinocli.config.load import checked_recipe, differences, to_toml, with_values
from dinocli.config.recipe import Recipe
from dinocli.data.bad_images import write_bad
from dinocli.data.image_list import ImageList
from dinocli.data.loader import Loader
from dinocli.engine.step import Learner
from dinocli.errors import UsageError
from dinocli.files import write_atomic
from dinocli.report.views_sheet import views_sheet
from dinocli.tasks.inputs import absolute_input
from dinocli.tasks.train.budget import TrainPlan
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions

NEUTRAL_SETTINGS = ("data.cache", "data.workers", "run.save_every", "run.save_minutes", "run.log_every", "run.track")
"""Settings that do not change results: a resumed run uses their current values."""


def make_manifest(context: TrainContext, plan: TrainPlan) -> dict[str, Any]:
    """Return the content of run.json: everything needed to repeat or resume the run."""
    options = context.options
    return {
        "command": options.command,
        "argv": list(options.argv),
        "working_folder": os.getcwd(),
        "status": "running",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "inputs": [absolute_input(name) for name in options.inputs],
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
    write_atomic(folder.views, views_sheet(learner.multicrop, loader))
    if context.store.bad:
        write_bad(folder.bad, context.store.bad)
    write_atomic(folder.recipe, to_toml(plan.recipe))
    folder.write(manifest)


def check_same_run(options: TrainOptions, images: ImageList, manifest: dict[str, Any]) -> None:
    """Refuse to resume a run on other images or with another recipe.

    Raises:
        UsageError: With the difference.
    """
    status = manifest["status"]
    if status in ENDED:
        raise UsageError(f"this run is {status} already, see its report.html; start another without --resume")
    changed = differences(manifest["request"], options.request())
    changed = [line for line in changed if not line.startswith(tuple(f"recipe.{key}:" for key in NEUTRAL_SETTINGS))]
    if changed:
        raise UsageError(f"--resume needs the same recipe as before; changed: {'; '.join(changed)}")
    if manifest["inputs_hash"] != images.digest():
        raise UsageError(
            f"--resume needs the same images: there were {manifest['images_listed']}, now there are {len(images)}, "
            "or some of them have changed; start a new run"
        )


def stored_recipe(options: TrainOptions, manifest: dict[str, Any]) -> Recipe:
    """Return the resolved recipe of the run to resume, with the current values of `NEUTRAL_SETTINGS`."""
    sections = options.recipe.model_dump()
    now = {key: sections[key.split(".")[0]][key.split(".")[1]] for key in NEUTRAL_SETTINGS}
    return with_values(checked_recipe(manifest["recipe"]), now)
