"""Setup of a run: images, weights, frozen teacher, preprocessing, decoded images, resolved recipe."""

import time
from dataclasses import replace
from typing import Any, BinaryIO

import torch

from dinocli.config.auto import needs_image_count, resolve
from dinocli.config.preprocess import GREY_OR_RGB, Preprocess
from dinocli.config.recipe import Recipe, Views
from dinocli.data.cache import Decoder, cache_folder, open_store
from dinocli.data.image_list import ImageList
from dinocli.data.input_channels import input_channels
from dinocli.data.labels import Labels, multiclass_columns, read_labels
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import described_roi, parse_roi
from dinocli.data.sources import find_images
from dinocli.data.store import Store
from dinocli.data.survey import Survey
from dinocli.engine.build import build_precision, facts_of
from dinocli.engine.distinct_images import count_distinct_images
from dinocli.engine.distributed import World, from_main, main_first, open_world
from dinocli.engine.survey_images import preprocess_of, survey_images
from dinocli.engine.trackers import check_trackers
from dinocli.errors import UsageError, WeightsError, counted
from dinocli.models.backbone import Backbone
from dinocli.models.frozen_teacher import TeacherWeights
from dinocli.models.rarity_maps import check_rarity_maps
from dinocli.models.trainable import check_trainable
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import WeightsInfo
from dinocli.progress import ProgressReporter
from dinocli.quality.verdict import MIN_PAIRS
from dinocli.tasks.train.manifest import check_same_run, stored_recipe
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions


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

    Errors that need no image are raised first: other images or another recipe than those of the run to resume,
    unreadable labels, a missing extra, a part that the backbone lacks.

    Args:
        options: Options of the command.
        images: Images from `list_images`.
        reporter: Receives the progress, in the main process.
        manifest: run.json of the run to resume, whose resolved recipe and preprocessing are used.
        started: Monotonic start time of the command, seconds; default: now.

    Raises:
        DinocliError: Any error.
    """
    started = time.monotonic() if started is None else started
    world, device = open_world(options.device)
    reporter = reporter if world.is_main else ProgressReporter()
    if manifest:
        check_same_run(options, images, manifest)
    labels = read_labels(options.labels, images.names, reporter.line) if options.labels else {}
    requested = stored_recipe(options, manifest) if manifest else options.recipe
    check_trackers(requested.run.track)
    _check_distillation(requested)
    in_chans = from_main(lambda: _input_channels(requested, images))
    backbone, info, start_preprocess = _weights(requested, in_chans, manifest, reporter)
    _check_views(requested.views, backbone)
    teacher, teacher_preprocess = _load_teacher(requested, in_chans, manifest, reporter)
    survey, preprocess = _preprocess(requested, images, info, manifest, reporter)
    for weights, stored in (("start weights were", start_preprocess), ("teacher was", teacher_preprocess)):
        if stored:
            warn_of_other_reading(weights, stored, preprocess, reporter)
    store = main_first(lambda: _store(requested, images, preprocess, world, reporter))
    if store.bad and world.is_main:
        reporter.warn(
            f"{counted(len(store.bad), 'image')} cannot be read; they are left out and named in images.bad.csv"
        )
    backbone = backbone.to(device)
    if teacher:
        teacher.backbone.to(device)
    distinct = manifest.get("distinct", len(store)) if manifest else len(store)
    if not manifest and info.pretrained and needs_image_count(requested):  # with random weights all images are similar
        distinct = from_main(lambda: count_distinct_images(store, backbone, preprocess, device, reporter))
        if distinct < len(store):
            reporter.line(f"about {distinct} distinct images of {len(store)} (near-copies counted once)")
    if distinct < MIN_PAIRS:
        reporter.warn(f"distinct images: {distinct}, too few to train on and to evaluate; collect some hundreds")
    facts = facts_of(len(store), backbone, info, world, distinct)
    reporter.stage("choosing precision and kernels")
    settled = resolve(requested, facts)
    precision = build_precision(settled, backbone, device)
    if device.type == "cpu" and settled.run.precision == "auto":
        reporter.line(
            f"precision {precision.name}, the faster one here; --set run.precision=fp32 repeats a run exactly"
        )
    context = TrainContext(
        options=options,
        reporter=reporter,
        started=started,
        world=world,
        images=images,
        survey=survey,
        backbone=backbone,
        info=info,
        preprocess=preprocess,
        own_weights=start_preprocess is not None,
        store=store,
        count=len(store),
        precision=precision,
        distinct=distinct,
        recipe=requested,
        labels=_usable(labels, images, store, reporter),
        teacher=teacher,
    )
    return context if manifest else replace(context, recipe=context.resolved(requested))


def _check_views(views: Views, backbone: Backbone) -> None:
    """Raise `UsageError` for a size of views that the network does not take, before images are read and measured."""
    no_local = backbone.fixed_size or not views.local_count  # all views have a fixed size
    for name, side in (("global_size", views.global_size), ("local_size", "auto" if no_local else views.local_size)):
        try:
            if side != "auto":
                backbone.check_size(side, side)
        except UsageError as error:
            raise UsageError(f"views.{name}: {error}") from None


def _input_channels(recipe: Recipe, images: ImageList) -> int:
    """Return the number of input channels; raise if `model.in_chans` contradicts the channels that are read."""
    data, requested = recipe.data, recipe.model.in_chans
    read = input_channels(images, tuple(data.channels), data.page)
    if requested in ("auto", read):
        return read
    if requested == 1 and read == len("RGB"):  # grey images, which `_preprocess` checks
        return 1
    example = ",".join(map(str, range(int(requested))))
    raise UsageError(
        f"model.in_chans={requested}, and {read} channels are read: select {requested}, such as --channels {example}"
    )


@torch.random.fork_rng(devices=[])  # the caller's random numbers stay as they are
def _weights(
    recipe: Recipe, in_chans: int, manifest: dict[str, Any] | None, reporter: ProgressReporter
) -> tuple[Backbone, WeightsInfo, dict[str, Any] | None]:
    torch.manual_seed(recipe.run.seed)  # for random weights
    model = recipe.model
    reporter.stage("loading weights")
    backbone, info, stored = main_first(
        lambda: load_backbone(model.weights, model.name, drop_path=model.drop_path, pool=model.pool, in_chans=in_chans)
    )
    reporter.line(info.describe())
    if in_chans not in GREY_OR_RGB:
        reporter.line(f"{in_chans} channels are not colours: saturation, hue and grayscale are off")
    check_trainable(backbone, model.trainable)
    if recipe.views.focus:
        check_rarity_maps(backbone)
    if manifest and info.sha256 != manifest["weights"]["sha256"]:
        raise UsageError(f"--resume needs the same weights: {info.source} has changed since the run began")
    return backbone, info, stored


def _preprocess(
    recipe: Recipe, images: ImageList, info: WeightsInfo, manifest: dict[str, Any] | None, reporter: ProgressReporter
) -> tuple[Survey | None, Preprocess]:
    """Survey a sample of the images; a resumed run uses its stored preprocessing."""
    if manifest:
        return None, Preprocess.from_dict(manifest["preprocess"])
    data = recipe.data
    survey = survey_images(images, data, reporter, roi=parse_roi(data.roi), seed=recipe.run.seed)
    if len(info.mean) == 1 and not survey.grey:
        raise UsageError("model.in_chans=1, and the images have colour: read one channel, such as --channels 0")
    return survey, preprocess_of(survey, data, info)


def _store(
    recipe: Recipe, images: ImageList, preprocess: Preprocess, world: World, reporter: ProgressReporter
) -> Store:
    data, reader = recipe.data, Reader(preprocess, recipe.data.short_side)
    decoder = Decoder(
        images, reader, data.workers, data.max_bad, lambda done, total: reporter.progress("reading images", done, total)
    )
    return open_store(decoder, cache=data.cache, shared=world.size > 1, folder=cache_folder())


def _usable(labels: Labels, images: ImageList, store: Store, reporter: ProgressReporter) -> Labels:
    """Return the labels of the readable images, of columns with at least two classes."""
    place = {name: row for row, name in enumerate(images.names)}
    rows = [place[name] for name in store.names]
    usable = multiclass_columns({column: [values[row] for row in rows] for column, values in labels.items()})
    for column in labels:
        if column not in usable:
            reporter.warn(f"label column {column} has fewer than two classes: no score can be computed with it")
    return usable


def _check_distillation(recipe: Recipe) -> None:
    """Raise `UsageError` for a distillation loss without a frozen teacher, and for a random teacher."""
    if (recipe.loss.teacher_feature or recipe.loss.teacher_patches) and not recipe.model.teacher:
        raise UsageError("distillation needs a teacher: name its weights with --teacher (a run, a file or a timm name)")
    if recipe.model.teacher == "none":
        raise UsageError("--teacher none: random weights are not a teacher; name a run, a file or a timm name")


def _load_teacher(
    recipe: Recipe, in_chans: int, manifest: dict[str, Any] | None, reporter: ProgressReporter
) -> tuple[TeacherWeights | None, dict[str, Any] | None]:
    """Load a frozen teacher, and its stored preprocessing if dinocli trained it.

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
    reporter.line(f"teacher: {info.describe()}; frozen")
    if manifest and info.sha256 != manifest["teacher"]["sha256"]:
        raise UsageError(f"--resume needs the same teacher: {info.source} has changed since the run began")
    return TeacherWeights(backbone.eval(), info), stored


def warn_of_other_reading(
    weights: str, stored: dict[str, Any], preprocess: Preprocess, reporter: ProgressReporter
) -> None:
    """Warn if weights were trained with another intensity range, or on another region, than the images are read with.

    Args:
        weights: Which ones, with their verb.
        stored: Preprocessing stored with them.
        preprocess: Preprocessing of the images.
        reporter: Receives the warnings.
    """
    was = Preprocess.from_dict(stored)
    before, now = was.describe_range(), preprocess.describe_range()
    if before != now:
        reporter.warn(f"the {weights} trained with the range {before}, these images are read with {now} (--range)")
    if was.roi != preprocess.roi:
        before, now = (described_roi(one.roi) or "whole images" for one in (was, preprocess))
        reporter.warn(f"the {weights} trained on {before}; now it is {now} (--roi)")
