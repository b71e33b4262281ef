"""What stands before a run's first step: images, weights, preprocessing, the cache of canvases, the resolved recipe."""

from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import torch

from dinocli.augment.multicrop import MultiCrop
from dinocli.config.auto import asks_for_size, resolve
from dinocli.config.load import checked, with_values
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe
from dinocli.data.cache import cache_folder, open_store
from dinocli.data.loader import Loader
from dinocli.data.read import Reader
from dinocli.data.sources import ImageList, find_images
from dinocli.data.store import Store
from dinocli.data.survey import Survey, survey
from dinocli.engine.build import build_precision, facts_of, view_specs
from dinocli.engine.device import Precision
from dinocli.engine.distributed import World, from_main, main_first
from dinocli.engine.probe import Probe, probe_indices
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.models.trainable import check_trainable
from dinocli.models.weights import WeightsInfo, load_backbone
from dinocli.quality.selection_scores import selection_score
from dinocli.tasks.inputs import ReadOptions, describe_weights, preprocess_of, tell_survey
from dinocli.tasks.train.distinct_images import count_distinct

CHANGE_NOTHING = ("data.cache", "data.workers", "run.save_every", "run.save_minutes", "run.log_every")
"""Settings that change no result: a resumed run takes them as they are asked for now."""


@dataclass(frozen=True)
class TrainOptions:
    """What a user asked for.

    Args:
        inputs: Folders, files, globs, `@list.txt`, `-`.
        recipe: With its "auto" values.
        command: Its name, for the name of the run's folder.
        out: The run's folder; empty chooses one under `runs/`.
        device: auto, cpu, cuda or cuda:N.
        labels: `folder` or a CSV, for the closing table alone; empty for none.
        minutes: At most so long, 0 for no limit: the steps are cut from measured speed, and a run that is slower than
            that ends where the time is up.
        resume: Go on with a run that was interrupted.
        force: Replace an existing run.
        read: How images are found; how they are decoded stands in the recipe.
        argv: The command line, for the record.
    """

    inputs: tuple[str, ...]
    recipe: Recipe
    command: str = "pretrain"
    out: str = ""
    device: str = "auto"
    labels: str = ""
    minutes: float = 0.0
    resume: bool = False
    force: bool = False
    read: ReadOptions = ReadOptions()
    argv: tuple[str, ...] = ()

    def request(self) -> dict[str, Any]:
        """Return what a resumed run has to ask for again, as JSON-like data."""
        return {"recipe": self.recipe.model_dump(mode="json"), "minutes": self.minutes}


@dataclass
class TrainContext:
    """All of it, for one process.

    `survey` is missing in a resumed run, whose preprocessing is the stored one. `distinct` counts near-copies once.
    """

    world: World
    images: ImageList
    survey: Survey | None
    backbone: Backbone
    info: WeightsInfo
    preprocess: Preprocess
    store: Store
    recipe: Recipe
    precision: Precision
    distinct: int

    def resolved(self, asked: Recipe, images: int = 0, distinct: int = 0) -> Recipe:
        """Resolve a recipe for these weights, with the precision that was chosen.

        Mixes of random weights with trained ones are noise: a run from scratch tries none.

        Args:
            asked: The recipe.
            images: Of the folder, 0 for those of the store.
            distinct: Of them, near-copies counted once; 0 likewise.
        """
        images, distinct = images or len(self.store), distinct or self.distinct
        settled: dict[str, object] = {"run.precision": self.precision.name, "run.attention": self.precision.attention}
        if not self.info.pretrained:
            settled["guard.blend"] = [1.0]
        return with_values(resolve(asked, facts_of(images, self.backbone, self.info, self.world, distinct)), settled)

    def loader(self) -> Loader:
        """Build the loader of the run."""
        run, optim = self.recipe.run, self.recipe.optim
        return Loader(
            self.store,
            batch_size=int(run.batch_size),
            seed=run.seed,
            rank=self.world.rank,
            world=self.world.size,
            slices=optim.accumulate,
            device=self.precision.device,
        )

    def probes(self, loader: Loader) -> tuple[Probe, Probe]:
        """Build the guard's probe and the verdict's. The query is the run's global crop at the evaluation's size.

        Its colours stay as they are: a network that is trained to ignore their changes finds changed views better
        whether or not colours mean something.

        They differ in their images, where there are enough, and always in their views.
        """
        view = view_specs(self.recipe.views)[0]
        query = replace(view, size=self.preprocess.size, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0)
        views = MultiCrop(
            [query],
            mean=self.preprocess.mean,
            std=self.preprocess.std,
            grey=self.preprocess.grey,
            seed=self.recipe.run.seed,
        )
        choice = selection_score(self.recipe.guard.score)
        guard, verdict = probe_indices(len(self.store), int(self.recipe.guard.probe_images), self.recipe.run.seed)
        return (
            Probe(loader, guard, views, 0, self.preprocess, choice),
            Probe(loader, verdict, views, 1, self.preprocess, choice),
        )


def list_images(job: TrainOptions, stdin: BinaryIO | None) -> ImageList:
    """List the images once, in the main process."""
    return from_main(lambda: find_images(job.inputs, stdin=stdin, null=job.read.null, **job.read.naming()))


def prepare(
    job: TrainOptions,
    images: ImageList,
    world: World,
    device: torch.device,
    reporter: ProgressReporter,
    kept: dict[str, Any] | None = None,
) -> TrainContext:
    """Load the weights, look at the images, decode them once and settle the recipe.

    Args:
        job: What was asked for.
        images: Of `list_images`.
        world: Of `open_world`.
        device: Likewise.
        reporter: Hears what was found.
        kept: The manifest of the run to resume: its resolved recipe and preprocessing are taken as they are.

    Raises:
        DinocliError: Of every kind; an unknown score and a part that the backbone lacks before an image is read.
    """
    asked = _as_before(kept, job) if kept else job.recipe
    selection_score(asked.guard.score)
    for line in (f"{len(images)} images in {images.root}", *images.notes):
        reporter.line(line)
    torch.manual_seed(asked.run.seed)  # random weights, where the run starts from scratch
    backbone, info, _ = main_first(
        lambda: load_backbone(
            asked.model.weights, asked.model.name, drop_path=asked.model.drop_path, pool=asked.model.pool
        )
    )
    reporter.line(describe_weights(info))
    check_trainable(backbone, asked.model.trainable)
    if kept and info.sha256 != kept["weights"]["sha256"]:
        raise UsageError(f"--resume needs the same weights: {info.source} has changed since the run began")
    seen = None if kept else from_main(lambda: _survey(asked, images))
    if seen:
        tell_survey(seen, reporter)
    preprocess = preprocess_of(seen, asked.data, info) if seen else Preprocess.from_dict(kept["preprocess"])  # type: ignore[index]
    store = main_first(lambda: _store(asked, images, preprocess, world, reporter))
    if store.bad and world.is_main:
        reporter.warn(f"{len(store.bad)} images cannot be read; they are left out and named in images.bad.csv")
    backbone = backbone.to(device)
    distinct = kept.get("distinct", len(store)) if kept else len(store)
    if not kept and info.pretrained and asks_for_size(asked):  # to random weights all images look alike
        distinct = from_main(lambda: count_distinct(store, backbone, preprocess, device))
        if distinct < len(store):
            reporter.line(f"about {distinct} different images of {len(store)}: near-copies count once")
    facts = facts_of(len(store), backbone, info, world, distinct)
    precision = build_precision(resolve(asked, facts), backbone, device, world)
    context = TrainContext(world, images, seen, backbone, info, preprocess, store, asked, precision, distinct)
    context.recipe = context.resolved(asked)
    return context


def _as_before(kept: dict[str, Any], job: TrainOptions) -> Recipe:
    """Take the resolved recipe of the run to resume, but for what changes no result."""
    now = {key: getattr(getattr(job.recipe, key.split(".")[0]), key.split(".")[1]) for key in CHANGE_NOTHING}
    return with_values(checked(kept["recipe"]), now)


def _survey(recipe: Recipe, images: ImageList) -> Survey:
    data = recipe.data
    return survey(
        images,
        range_spec=data.range,
        channels=tuple(data.channels),
        page=data.page,
        nodata=tuple(data.nodata),
        seed=recipe.run.seed,
    )


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
