"""What all stages of a run share: data, weights, preprocessing, and the recipe without any "auto"."""

import math
import time
from dataclasses import dataclass, field

from dinocli.config.auto import resolve
from dinocli.config.guard_plan import fit_guard
from dinocli.config.load import with_values
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.labels import Labels
from dinocli.data.loader import Loader
from dinocli.data.sources import ImageList
from dinocli.data.store import Store
from dinocli.data.survey import Survey
from dinocli.engine.build import build_learner, facts_of, probe_crop
from dinocli.engine.device import Precision
from dinocli.engine.distributed import World
from dinocli.engine.probe import Probe, forwards_per_image, probe_indices
from dinocli.engine.step import Learner
from dinocli.models.backbone import Backbone
from dinocli.models.frozen_teacher import TeacherWeights
from dinocli.models.weights import WeightsInfo
from dinocli.progress import ProgressReporter
from dinocli.tasks.train.train_options import TrainOptions


@dataclass(frozen=True)
class TrainContext:
    """Data, weights, preprocessing and resolved recipe, shared by all stages of a run.

    Args:
        options: As asked for.
        reporter: Is told what was found and how far the run is; silent in all processes but the main one.
        started: Monotonic time at which the command began, seconds.
        world: This process among all.
        images: As listed.
        survey: Of the images; none in a resumed run, whose preprocessing is stored.
        backbone: The start.
        info: Where the start came from.
        preprocess: How images become input.
        store: Decoded images.
        precision: Device, precision and attention kernels.
        distinct: Images, near-copies counted once.
        recipe: Resolved: no "auto" is left that training needs.
        labels: Of the readable images, for the closing table alone.
        teacher: A frozen one, on the device; None where the average of the student teaches.
        max_batch: Largest batch that fits into memory; 0 where nothing is near the limit, or not known yet.
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
    precision: Precision
    distinct: int
    recipe: Recipe
    labels: Labels = field(default_factory=dict)
    teacher: TeacherWeights | None = None
    max_batch: int = 0

    def learner(self, recipe: Recipe) -> Learner:
        """Build what is trained."""
        return build_learner(recipe, self.backbone, self.preprocess, self.precision, self.world, self.teacher)

    def resolved(self, asked: Recipe, images: int = 0, distinct: int = 0, image_work: float = 0.0) -> Recipe:
        """Resolve a recipe for these weights and this precision, and fit its probes to `guard.max_share`.

        Args:
            asked: The recipe.
            images: Number of images; 0 for the number of images in the store.
            distinct: Number of images, near-copies counted once; 0 for that of the store.
            image_work: Work of a probe image as `fit_guard` counts it, where it was measured; 0 counts pixels.
        """
        images, distinct = images or len(self.store), distinct or self.distinct
        settled: dict[str, object] = {"run.precision": self.precision.name, "run.attention": self.precision.attention}
        if not self.info.pretrained:
            settled["guard.weight_interpolation"] = [1.0]  # between random and trained weights lies noise
        facts = facts_of(images, self.backbone, self.info, self.world, distinct, self.max_batch)
        recipe = with_values(resolve(asked, facts), settled)
        pixels = forwards_per_image(self.backbone) * self.preprocess.size**2
        return with_values(recipe, fit_guard(recipe, images, image_work or pixels).settings())

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
        """Build the guard's probe and the verdict's: other images, where there are enough, and always other crops."""
        views, about = probe_crop(recipe, self.preprocess), self.preprocess
        guard, verdict = probe_indices(len(self.store), int(recipe.guard.probe_images), recipe.run.seed)
        return (
            Probe(loader, guard, views, 0, about, self.reporter.advance, self.teacher, every_defect=False),
            Probe(loader, verdict, views, 1, about, self.reporter.advance, self.teacher),
        )

    @property
    def resumed(self) -> bool:
        """The run continues one that was interrupted."""
        return self.survey is None

    def seconds_left(self) -> float:
        """Return the rest of `--minutes`; infinite without a limit, negative once it is over."""
        minutes = self.options.minutes
        return self.started + 60 * minutes - time.monotonic() if minutes else math.inf
