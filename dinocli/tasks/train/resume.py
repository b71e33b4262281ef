"""Check that a run can be resumed: same images, and same recipe except for settings that do not change results."""

from typing import Any

from dinocli.artifacts.run_folder import ENDED
from dinocli.config.load import checked, differences, with_values
from dinocli.config.recipe import Recipe
from dinocli.data.sources import ImageList
from dinocli.errors import UsageError
from dinocli.tasks.train.train_options import TrainOptions

CHANGE_NOTHING = ("data.cache", "data.workers", "run.save_every", "run.save_minutes", "run.log_every", "run.track")
"""Settings that do not change results: a resumed run uses their current values."""


def check_same(options: TrainOptions, images: ImageList, manifest: dict[str, Any]) -> None:
    """Refuse to resume a run on other images or with another recipe.

    Args:
        options: Current options.
        images: Current image list.
        manifest: run.json of the run to resume.

    Raises:
        UsageError: With the difference.
    """
    status = manifest["status"]
    if status in ENDED:
        raise UsageError(f"this run is {status} already, see its report.html; start another without --resume")
    changed = differences(manifest["request"], options.request())
    changed = [line for line in changed if not line.startswith(tuple(f"recipe.{key}:" for key in CHANGE_NOTHING))]
    if changed:
        raise UsageError(f"--resume needs the same recipe as before; changed: {'; '.join(changed)}")
    if manifest["inputs_hash"] != images.digest():
        raise UsageError(
            f"--resume needs the same images: there were {manifest['images_listed']}, now there are {len(images)}, "
            "or some of them have changed; start a new run"
        )


def stored_recipe(options: TrainOptions, manifest: dict[str, Any]) -> Recipe:
    """Return the resolved recipe of the run to resume, with the current values of `CHANGE_NOTHING`."""
    sections = options.recipe.model_dump()
    now = {key: sections[key.split(".")[0]][key.split(".")[1]] for key in CHANGE_NOTHING}
    return with_values(checked(manifest["recipe"]), now)
