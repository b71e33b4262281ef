"""`segment`: images and weights -> masks, in one pass after a look at a sample."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dinocli.data.cache import bad_limit
from dinocli.data.decode import image_size
from dinocli.data.parallel import thread_count
from dinocli.engine.progress import ProgressReporter
from dinocli.engine.signals import Signals
from dinocli.errors import Interrupted, UsageError
from dinocli.tasks.artifacts import check_same
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.run_folder import add_output
from dinocli.tasks.segment.attention_mask import MASS, mass_below
from dinocli.tasks.segment.feature_extraction import SegmentImage, check_tiling
from dinocli.tasks.segment.ground_truth import GroundTruth, MaskScorer, warn_of_missing
from dinocli.tasks.segment.image_record import ImageRecord
from dinocli.tasks.segment.image_writer import ImageWriter
from dinocli.tasks.segment.mask_folder import MaskFolder, SegmentJournal
from dinocli.tasks.segment.method import FeatureKind, Method
from dinocli.tasks.segment.method_fit import Chosen, Sample, SegmentPlan, choose, fitted_plan, looker_of
from dinocli.tasks.segment.output_names import natural_order, output_stems
from dinocli.tasks.segment.segment_options import SegmentOptions, SegmentResult
from dinocli.tasks.segment.summary import finish
from dinocli.tasks.segment.video import is_video, unpack


def segment(
    job: SegmentOptions,
    reporter: ProgressReporter | None = None,
    stdin: BinaryIO | None = None,
    method: Method | None = None,
) -> SegmentResult:
    """Segment images without a label, and leave a folder of masks behind.

    Args:
        job: What to do.
        reporter: Hears how far it is.
        stdin: Where `-` reads names from.
        method: A method of one's own in place of `job.method`.

    Raises:
        DinocliError: Of every kind; no file is then half written.
        Interrupted: After a signal; `resume` goes on.
    """
    reporter, begin, folder = reporter or ProgressReporter(), time.monotonic(), MaskFolder(Path(job.out))
    check_free(folder, job)
    if is_video(job.inputs):
        job = _unpacked(job, folder, reporter)
    setting = prepare(_as_embedding(job), reporter, stdin)
    if job.stride:
        setting.backbone.set_step(job.stride)
    request = _request(job, setting)
    if job.resume and (about := folder.about()):
        check_same(about["request"], request, str(folder.path))
        reporter.line(f"{folder.path} is complete already")
        return _outcome(folder, about, begin)
    truth = GroundTruth(job.truth) if job.truth else None
    sample = Sample(setting, job, reporter)
    chosen = Chosen(job.method, method) if method else choose(setting, job, sample)
    plan = fitted_plan(setting, job, chosen, sample, reporter)
    # The score of a rest is of no use, and a video is followed from its first frame.
    log = SegmentJournal(folder, request, resume=job.resume and not truth and not job.propagate)
    desk = ImageWriter(job, folder, setting.images, output_stems(setting.images.names), truth, MaskScorer())
    _pass(plan, setting, desk, log, reporter)
    if truth:
        missing = sum(name not in truth for name in setting.images.names)
        warn_of_missing(reporter, missing, len(setting.images), job.truth)
    about = finish(plan, setting, desk, log, request, reporter)
    if setting.run:
        add_output(setting.run, "masks", folder.path)
    return _outcome(folder, about, begin)


def foresee(
    job: SegmentOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> dict[str, Any]:
    """Say what `segment` would do, and write nothing.

    Raises:
        DinocliError: As `segment`, for all that can be known before the first image.
    """
    reporter = reporter or ProgressReporter()
    check_free(MaskFolder(Path(job.out)), job)
    if is_video(job.inputs):
        raise UsageError(f"--dry-run does not look into {job.inputs[0]}: leave --dry-run out")
    setting = prepare(_as_embedding(job), reporter, stdin)
    if job.stride:
        setting.backbone.set_step(job.stride)
    chosen = choose(setting, job, Sample(setting, job, reporter))
    looker = looker_of(setting, job, chosen.method.look)
    check_tiling(chosen.name, looker.tiling, whole=chosen.method.whole)
    frame = looker.frame(image_size(setting.images.path(0), page=setting.preprocess.page))
    return {
        "out": job.out,
        "images": len(setting.images),
        "method": chosen.name,
        "why": chosen.why,
        "model": setting.info.name,
        "canvas": "{1}x{0}".format(*frame.canvas),
        "grid": "{1}x{0}".format(*frame.grid),
        "tile": job.tile,
        "precision": setting.precision,
        "device": str(setting.device),
    }


def check_free(folder: MaskFolder, job: SegmentOptions) -> None:
    """Raise a `UsageError` if a result is there already and nobody said what to do with it."""
    folder.check_free(resume=job.resume, force=job.force)
    if job.coco and Path(job.coco).exists() and not (job.resume or job.force):
        raise UsageError(f"{job.coco} is there already; add --force to replace it, or name another --coco")


def _as_embedding(job: SegmentOptions) -> EmbedOptions:
    """Weights and images are found, read and judged just as `embed` does it."""
    return EmbedOptions(
        inputs=job.inputs,
        weights=job.weights,
        model=job.model,
        precision=job.precision,
        read=job.read,
        device=job.device,
    )


def _request(job: SegmentOptions, setting: EmbedContext) -> dict[str, Any]:
    """Return what determines the masks, as JSON-like data."""
    own = ("method", "propagate", "reference", "size", "stride", "tile", "query", "refine", "sample", "seed")
    files = ("soft", "npy", "maps", "overlay", "coco", "polygons", "yolo", "truth")
    return {
        "model": setting.info.name,
        "weights sha256": setting.info.sha256,
        "images": setting.images.digest(),
        "preprocess": setting.preprocess.to_dict(),
        "precision": setting.precision,
        "options": dict(job.options),
        **{name: getattr(job, name) for name in (*own, *files)},
    }


def _pass(
    plan: SegmentPlan, setting: EmbedContext, desk: ImageWriter, log: SegmentJournal, reporter: ProgressReporter
) -> None:
    """Segment every image that is not done yet, in the order of the list."""
    images, total = setting.images, len(setting.images)
    if log.done:
        reporter.line(f"going on after {len(log.done)} of {total}")
    limit = bad_limit(setting.data.max_bad, total + len(images.bad))
    limit.check([*images.bad, *log.bad])
    order = natural_order(images.names) if desk.job.propagate else range(total)
    rows = [row for row in order if row not in log.done]
    begin, before = time.monotonic(), len(log.done)
    pictures = plan.looker.pictures(images, rows, thread_count(setting.data.workers))
    with Signals().caught() as signals, closing(pictures):
        for picture in pictures:
            if isinstance(picture, SegmentImage):
                log.add(picture.image, _one(plan, desk, picture))
            else:
                row, reason = picture
                log.add_bad(row, images.names[row], reason)
                limit.check([*images.bad, *log.bad])
            speed = (len(log.done) - before) / (time.monotonic() - begin)
            reporter.progress("segmenting", len(log.done), total, f"{speed:.2g} a second")
            if signals.number:
                words = f"stopped by a signal after {len(log.done)} of {total}; run the same command with --resume"
                raise Interrupted(words, signals.number)


def _one(plan: SegmentPlan, desk: ImageWriter, picture: SegmentImage) -> ImageRecord:
    grid = plan.looker.grid(picture)
    heads = None
    if desk.truth is not None and plan.looker.look == FeatureKind.ATTENTION:
        heads = np.stack([mass_below(head_hw) > 1 - MASS for head_hw in grid.values_hwD.transpose(2, 0, 1)])
    return desk.finish(picture, plan.fitted.apply(grid), heads)


def _outcome(folder: MaskFolder, about: dict[str, Any], begin: float) -> SegmentResult:
    return SegmentResult(
        folder=folder.path,
        method=about["facts"]["method"],
        facts=about["facts"],
        scores={name: (three[0], three[1], three[2]) for name, three in about["scores"].items()},
        seconds=time.monotonic() - begin,
        **{name: about[name] for name in ("images", "segmented", "nothing", "bad", "regions")},
    )


def _unpacked(job: SegmentOptions, folder: MaskFolder, reporter: ProgressReporter) -> SegmentOptions:
    """Put the frames of a video in its place."""
    folder.begin()
    frames = unpack(Path(job.inputs[0]), folder.frames, again=not job.resume, reporter=reporter)
    return replace(job, inputs=(str(frames),))
