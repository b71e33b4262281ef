"""Setup of a run: images, weights, preprocessing, decoded images, and the recipe without any "auto"."""

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import torch

from dinocli.config.auto import asks_for_size, resolve
from dinocli.config.guard_plan import fit_guard
from dinocli.config.load import with_values
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.cache import cache_folder, open_store
from dinocli.data.labels import Labels, of_several_kinds, read_labels
from dinocli.data.loader import Loader
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import recorded_roi
from dinocli.data.sources import ImageList, find_images
from dinocli.data.store import Store
from dinocli.data.survey import Survey, survey
from dinocli.engine.build import build_learner, build_precision, facts_of, probe_crop
from dinocli.engine.device import Precision
from dinocli.engine.distributed import World, from_main, main_first, open_world
from dinocli.engine.probe import Probe, forwards_per_image, probe_indices
from dinocli.engine.progress import ProgressReporter
from dinocli.engine.step import Learner
from dinocli.engine.trackers import check_trackers
from dinocli.errors import UsageError, WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.frozen_teacher import TeacherWeights
from dinocli.models.trainable import check_trainable
from dinocli.models.weights import WeightsInfo, load_backbone
from dinocli.tasks.inputs import describe_weights, preprocess_of, tell_survey
from dinocli.tasks.train.distinct_images import count_distinct
from dinocli.tasks.train.resume import check_same, stored_recipe
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
        most_batch: Largest batch that fits into memory; 0 where nothing is near the limit, or not known yet.
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
    most_batch: int = 0

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
        facts = facts_of(images, self.backbone, self.info, self.world, distinct, self.most_batch)
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
            world=self.world.size,
            slices=recipe.optim.grad_accum_steps,
            device=self.precision.device,
        )

    def probes(self, loader: Loader, recipe: Recipe) -> tuple[Probe, Probe]:
        """Build the guard's probe and the verdict's: other images, where there are enough, and always other crops."""
        views, about = probe_crop(recipe, self.preprocess), self.preprocess
        guard, verdict = probe_indices(len(self.store), int(recipe.guard.probe_images), recipe.run.seed)
        return (
            Probe(loader, guard, views, 0, about, self.reporter.advance, self.teacher),
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


def list_images(options: TrainOptions, stdin: BinaryIO | None) -> ImageList:
    """List the images once, in the main process."""
    return from_main(lambda: find_images(options.inputs, stdin=stdin, null=options.read.null, **options.read.naming()))


def setup(
    options: TrainOptions,
    images: ImageList,
    reporter: ProgressReporter,
    *,
    manifest: dict[str, Any] | None = None,
    started: float | None = None,
) -> TrainContext:
    """Load the weights, survey and decode the images, and resolve the recipe.

    What can be refused without reading an image is refused first: other images or another recipe than those of the run
    to continue, labels that cannot be read, a missing extra, a part that the backbone lacks.

    Args:
        options: What was asked for.
        images: Of `list_images`.
        reporter: Is told what was found, in the main process.
        manifest: run.json of the run to continue: its resolved recipe and preprocessing are taken as they are.
        started: Monotonic time at which the command began, seconds; now, if left out.

    Raises:
        DinocliError: Of every kind.
    """
    started = time.monotonic() if started is None else started
    world, device = open_world(options.device)
    reporter = reporter if world.is_main else ProgressReporter()
    if manifest:
        check_same(options, images, manifest)
    labels = read_labels(options.labels, images.names, reporter.line) if options.labels else {}
    asked = stored_recipe(options, manifest) if manifest else options.recipe
    check_extras(asked)
    check_distillation(asked)
    backbone, info = _weights(asked, manifest, reporter)
    teacher, taught_to_read = _teacher(asked, manifest, reporter)
    seen, preprocess = _preprocess(asked, images, info, manifest, reporter)
    if taught_to_read:
        _tell_other_reading(taught_to_read, preprocess, reporter)
    store = main_first(lambda: _store(asked, images, preprocess, world, reporter))
    if store.bad and world.is_main:
        reporter.warn(f"{len(store.bad)} images cannot be read; they are left out and named in images.bad.csv")
    backbone = backbone.to(device)
    if teacher:
        teacher.backbone.to(device)
    distinct = manifest.get("distinct", len(store)) if manifest else len(store)
    if not manifest and info.pretrained and asks_for_size(asked):  # to random weights all images look alike
        distinct = from_main(lambda: count_distinct(store, backbone, preprocess, device, reporter))
        if distinct < len(store):
            reporter.line(f"about {distinct} distinct images of {len(store)} (near-copies counted once)")
    facts = facts_of(len(store), backbone, info, world, distinct)
    reporter.stage("choosing precision and kernels")
    context = TrainContext(
        options=options,
        reporter=reporter,
        started=started,
        world=world,
        images=images,
        survey=seen,
        backbone=backbone,
        info=info,
        preprocess=preprocess,
        store=store,
        precision=build_precision(resolve(asked, facts), backbone, device, world),
        distinct=distinct,
        recipe=asked,
        labels=_usable(labels, images, store, reporter),
        teacher=teacher,
    )
    return context if manifest else replace(context, recipe=context.resolved(asked))


def check_extras(recipe: Recipe) -> None:
    """Refuse a recipe that needs a package which is not installed.

    Raises:
        WeightsError: With the command that installs it.
    """
    check_trackers(recipe.run.track)


def check_distillation(recipe: Recipe) -> None:
    """Refuse a recipe that weighs the distance to a frozen teacher and names none.

    Raises:
        UsageError: With the option that names one.
    """
    asks = recipe.loss.teacher_feature or recipe.loss.teacher_patches
    if asks and not recipe.model.teacher:
        raise UsageError("distillation needs a teacher: name its weights with --teacher (a run, a file or a timm name)")


def _teacher(
    recipe: Recipe, manifest: dict[str, Any] | None, reporter: ProgressReporter
) -> tuple[TeacherWeights | None, dict[str, Any] | None]:
    """Load a frozen teacher, and how images are read for it where a run of ours stored that."""
    about = recipe.model
    if not about.teacher:
        return None, None
    try:
        backbone, info, stored = main_first(lambda: load_backbone(about.teacher, about.teacher_name))
    except WeightsError as error:
        raise WeightsError(str(error).replace("--model TIMM_NAME", "--set model.teacher_name=TIMM_NAME")) from None
    reporter.line(f"teacher: {describe_weights(info)}; frozen")
    if manifest and info.sha256 != manifest["teacher"]["sha256"]:
        raise UsageError(f"--resume needs the same teacher: {info.source} has changed since the run began")
    return TeacherWeights(backbone.eval(), info), stored


def _tell_other_reading(stored: dict[str, Any], preprocess: Preprocess, reporter: ProgressReporter) -> None:
    """Warn where the teacher was trained on another range than these images are read with."""
    theirs = Preprocess.from_dict(stored)
    ranges = [(about.range_policy, about.range_low, about.range_high) for about in (theirs, preprocess)]
    if ranges[0] != ranges[1]:
        was, now = (policy if policy == "full" else f"{policy} {low:g} to {high:g}" for policy, low, high in ranges)
        reporter.warn(f"the teacher was trained with the range {was}, these images are read with {now} (--range)")


def _weights(
    recipe: Recipe, manifest: dict[str, Any] | None, reporter: ProgressReporter
) -> tuple[Backbone, WeightsInfo]:
    torch.manual_seed(recipe.run.seed)  # random weights, where the run starts from scratch
    about = recipe.model
    reporter.stage("loading weights")
    backbone, info, _ = main_first(
        lambda: load_backbone(about.weights, about.name, drop_path=about.drop_path, pool=about.pool)
    )
    reporter.line(describe_weights(info))
    check_trainable(backbone, about.trainable)
    if manifest and info.sha256 != manifest["weights"]["sha256"]:
        raise UsageError(f"--resume needs the same weights: {info.source} has changed since the run began")
    return backbone, info


def _preprocess(
    recipe: Recipe, images: ImageList, info: WeightsInfo, manifest: dict[str, Any] | None, reporter: ProgressReporter
) -> tuple[Survey | None, Preprocess]:
    """Survey a sample of the images; a run that is continued reads them as it did before."""
    if manifest:
        return None, Preprocess.from_dict(manifest["preprocess"])
    data = recipe.data
    reporter.stage("looking at a sample of the images")
    seen = from_main(
        lambda: survey(
            images,
            range_spec=data.range,
            channels=tuple(data.channels),
            page=data.page,
            nodata=tuple(data.nodata),
            roi=recorded_roi(data.roi),
            seed=recipe.run.seed,
        )
    )
    tell_survey(seen, reporter)
    return seen, preprocess_of(seen, data, info)


def _store(
    recipe: Recipe, images: ImageList, preprocess: Preprocess, world: World, reporter: ProgressReporter
) -> Store:
    data = recipe.data
    return open_store(
        images,
        Reader(preprocess, data.short_side),
        cache=data.cache,
        workers=data.workers,
        max_bad=data.max_bad,
        shared=world.size > 1,
        folder=cache_folder(),
        progress=lambda done, total: reporter.progress("reading images", done, total),
    )


def _usable(labels: Labels, images: ImageList, store: Store, reporter: ProgressReporter) -> Labels:
    """Take the labels of the readable images, and the columns that hold at least two classes."""
    place = {name: row for row, name in enumerate(images.names)}
    rows = [place[name] for name in store.names]
    usable = of_several_kinds({column: [values[row] for row in rows] for column, values in labels.items()})
    for column in labels:
        if column not in usable:
            reporter.warn(f"label column {column} has fewer than two classes: nothing can be measured by it")
    return usable
