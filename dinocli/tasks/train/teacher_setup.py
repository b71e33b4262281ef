"""The frozen teacher of a run: its weights, and whether it reads images as the student does."""

from typing import Any

from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.engine.distributed import main_first
from dinocli.errors import UsageError, WeightsError
from dinocli.models.frozen_teacher import TeacherWeights
from dinocli.models.weights import load_backbone
from dinocli.progress import ProgressReporter
from dinocli.tasks.inputs import describe_range, describe_weights


def check_distillation(recipe: Recipe) -> None:
    """Refuse a recipe that weighs the distance to a frozen teacher and names none.

    Raises:
        UsageError: With the option that names one.
    """
    asks = recipe.loss.teacher_feature or recipe.loss.teacher_patches
    if asks and not recipe.model.teacher:
        raise UsageError("distillation needs a teacher: name its weights with --teacher (a run, a file or a timm name)")


def load_teacher(
    recipe: Recipe, in_chans: int, manifest: dict[str, Any] | None, reporter: ProgressReporter
) -> tuple[TeacherWeights | None, dict[str, Any] | None]:
    """Load a frozen teacher, and how images are read for it where a run of ours stored that.

    Args:
        recipe: Names it.
        in_chans: Channels of the student's input, which are the teacher's too.
        manifest: run.json of the run to continue.
        reporter: Is told what was loaded.

    Raises:
        UsageError: The run that is continued had another teacher.
        WeightsError: There are no such weights, or they cannot be read.
    """
    about = recipe.model
    if not about.teacher:
        return None, None
    try:
        backbone, info, stored = main_first(lambda: load_backbone(about.teacher, about.teacher_name, in_chans=in_chans))
    except WeightsError as error:
        raise WeightsError(str(error).replace("--model TIMM_NAME", "--set model.teacher_name=TIMM_NAME")) from None
    reporter.line(f"teacher: {describe_weights(info)}; frozen")
    if manifest and info.sha256 != manifest["teacher"]["sha256"]:
        raise UsageError(f"--resume needs the same teacher: {info.source} has changed since the run began")
    return TeacherWeights(backbone.eval(), info), stored


def tell_other_reading(stored: dict[str, Any], preprocess: Preprocess, reporter: ProgressReporter) -> None:
    """Warn where the teacher was trained on another range than these images are read with."""
    was, now = describe_range(Preprocess.from_dict(stored)), describe_range(preprocess)
    if was != now:
        reporter.warn(f"the teacher was trained with the range {was}, these images are read with {now} (--range)")
