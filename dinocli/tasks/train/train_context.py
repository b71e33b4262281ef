"""Context shared by all stages of a run: data, weights, preprocessing, resolved recipe."""

import math
import time
from dataclasses import dataclass, field

from dinocli.config.auto import resolve
from dinocli.config.guard_plan import fit_guard, selects_nothing
from dinocli.config.load import with_values
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.image_list import ImageList
from dinocli.data.labels import Labels
from dinocli.data.loader import Loader
from dinocli.data.store import Store
from dinocli.data.survey import Survey
from dinocli.engine.build import build_learner, facts_of
from dinocli.engine.build_views import probe_crop
from dinocli.engine.distributed import World
from dinocli.engine.precision import Precision
from dinocli.engine.probe import Probe, ProbeSample, forwards_per_image, probe_indices
from dinocli.engine.rare_features import MIN_RARE_IMAGES, why_not_rare
from dinocli.engine.step import Learner
from dinocli.models.backbone import Backbone
from dinocli.models.frozen_teacher import TeacherWeights
from dinocli.models.weights_info import WeightsInfo
from dinocli.progress import ProgressReporter
from dinocli.tasks.train.train_options import TrainOptions


@dataclass(frozen=True)
class TrainContext:
    """Data, weights, preprocessing and resolved recipe, shared by all stages of a run.

    Args:
        options: Options of the command.
        reporter: Receives the progress; silent in all processes but the main one.
        started: Monotonic start time of the command, seconds.
        world: Rank and number of processes.
        images: Listed images.
        survey: Survey of the images; None in a resumed run, whose preprocessing is stored.
        backbone: Backbone with the start weights.
        info: Origin of the start weights.
        preprocess: Preprocessing of the images.
        store: Decoded images.
        count: Number of images of the run: those of the store; in a dry run, those of the folder.
        precision: Device, precision and attention kernels.
        distinct: Estimate of `count` with near-duplicates counted once.
        recipe: Resolved recipe: no "auto" is left that training needs.
        labels: Label columns of the readable images, for the final table only.
        teacher: Frozen teacher on the device; None if the teacher is the EMA of the student.
        max_batch: Largest batch that fits into memory; 0 if memory is not a limit, or not measured yet.
        own_weights: The start weights are those of an earlier run, or were written by `export`.
    """

    options: TrainOptions
    reporter: ProgressReporter
    started: float
    world: World
    images: ImageList
    survey: Survey | None
    backbone: Backbone
    info: WeightsInfo
    preprocess: Preprocess
    store: Store
    count: int
    precision: Precision
    distinct: int
    recipe: Recipe
    labels: Labels = field(default_factory=dict)
    teacher: TeacherWeights | None = None
    max_batch: int = 0
    own_weights: bool = False

    def learner(self, recipe: Recipe) -> Learner:
        """Build the learner: student, teacher, loss and optimizer."""
        return build_learner(recipe, self.backbone, self.preprocess, self.precision, self.world, self.teacher)

    def resolved(self, requested: Recipe, image_work: float = 0.0) -> Recipe:
        """Resolve a recipe for these weights and this precision, and fit its probes to `guard.max_share`.

        Args:
            requested: Recipe with "auto" values.
            image_work: Measured work of a probe image in the unit of `fit_guard`; 0 counts pixels.
        """
        fixed: dict[str, object] = {"run.precision": self.precision.name, "run.attention": self.precision.attention}
        if not self.info.pretrained:
            fixed["guard.weight_interpolation"] = [1.0]  # interpolation with random weights is useless
        facts = facts_of(self.count, self.backbone, self.info, self.world, self.distinct, self.max_batch)
        recipe = with_values(resolve(requested, facts), fixed)
        pixels = self.forwards_per_probe_image(recipe) * self.preprocess.size**2
        return with_values(recipe, fit_guard(recipe, self.count, image_work or pixels).settings())

    def forwards_per_probe_image(self, recipe: Recipe) -> int:
        """Return the forward passes that a probe makes of an image."""
        return forwards_per_image(self.backbone, defects=bool(recipe.guard.synthetic_defects))

    def loader(self, recipe: Recipe) -> Loader:
        """Build the loader of the run."""
        return Loader(
            self.store,
            batch_size=int(recipe.run.batch_size),
            seed=recipe.run.seed,
            rank=self.world.rank,
            world_size=self.world.size,
            slices=int(recipe.optim.grad_accum_steps),
            device=self.precision.device,
        )

    def probes(self, loader: Loader, recipe: Recipe) -> tuple[Probe, Probe]:
        """Build the guard's probe and the held-out one: other images if there are enough, always other crops.

        Both are the same if the guard selects nothing.
        """
        views, preprocess, settings = probe_crop(recipe, self.preprocess), self.preprocess, recipe.guard
        guard, verdict = probe_indices(len(self.store), int(settings.probe_images), recipe.run.seed)
        with_defects = settings.synthetic_defects
        samples = (
            ProbeSample(guard, 0, "one" if with_defects else "none"),
            ProbeSample(
                verdict, 1, "every" if with_defects else "none", rare=with_defects and self._embeds_rare(len(verdict))
            ),
        )
        guard_probe, verdict_probe = (
            Probe(loader, sample, views, preprocess, self.reporter.advance, self.teacher) for sample in samples
        )
        if selects_nothing(recipe, settings.every, settings.weight_interpolation):
            return verdict_probe, verdict_probe
        return guard_probe, verdict_probe

    def _embeds_rare(self, probe_images: int) -> bool:
        """Return whether `embed` uses `pooled+rare` by default, and the verdict has enough images to fit it."""
        return probe_images >= MIN_RARE_IMAGES and not why_not_rare(self.backbone)

    @property
    def resumed(self) -> bool:
        """Whether the run resumes an interrupted one."""
        return self.survey is None

    def seconds_left(self) -> float:
        """Return the rest of `--minutes` in seconds; infinite without a limit, negative when exceeded."""
        minutes = self.options.minutes
        return self.started + 60 * minutes - time.monotonic() if minutes else math.inf
