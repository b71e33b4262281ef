"""Frozen teacher of a run: its weights, and its preprocessing compared with the student's."""

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
    """Refuse a recipe with a distillation loss but without a frozen teacher.

    Raises:
        UsageError: With the option that names a teacher.
    """
    asks = recipe.loss.teacher_feature or recipe.loss.teacher_patches
    if asks and not recipe.model.teacher:
        raise UsageError("distillation needs a teacher: name its weights with --teacher (a run, a file or a timm name)")


def load_teacher(
    recipe: Recipe, in_chans: int, manifest: dict[str, Any] | None, reporter: ProgressReporter
) -> tuple[TeacherWeights | None, dict[str, Any] | None]:
    """Load a frozen teacher, and its stored preprocessing if dinocli trained it.

    Args:
        recipe: Recipe with the teacher's weights.
        in_chans: Number of input channels of student and teacher.
        manifest: run.json of the run to resume.
        reporter: Receives a line on the teacher.

    Raises:
        UsageError: The run to resume had another teacher.
        WeightsError: The weights are missing or cannot be read.
    """
    model = recipe.model
    if not model.teacher:
        return None, None
    try:
        backbone, info, stored = main_first(lambda: load_backbone(model.teacher, model.teacher_name, in_chans=in_chans))
    except WeightsError as error:
        raise WeightsError(str(error).replace("--model TIMM_NAME", "--set model.teacher_name=TIMM_NAME")) from None
    reporter.line(f"teacher: {describe_weights(info)}; frozen")
    if manifest and info.sha256 != manifest["teacher"]["sha256"]:
        raise UsageError(f"--resume needs the same teacher: {info.source} has changed since the run began")
    return TeacherWeights(backbone.eval(), info), stored


def report_other_preprocessing(stored: dict[str, Any], preprocess: Preprocess, reporter: ProgressReporter) -> None:
    """Warn if the teacher was trained with another intensity range than that of the images."""
    was, now = describe_range(Preprocess.from_dict(stored)), describe_range(preprocess)
    if was != now:
        reporter.warn(f"the teacher was trained with the range {was}, these images are read with {now} (--range)")
