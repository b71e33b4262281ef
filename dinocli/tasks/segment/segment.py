"""`dinocli.segment`: fit a method on a sample of the images, then segment all images in one pass."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.artifacts.run_folder import add_output
from dinocli.artifacts.segment_journal import SegmentJournal
from dinocli.data.bad_images import bad_limit
from dinocli.data.labels import read_labels
from dinocli.data.parallel import thread_count
from dinocli.data.video import is_video
from dinocli.engine.signals import Signals
from dinocli.errors import Interrupted, UsageError
from dinocli.file_set import claimed
from dinocli.journal import check_same
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.quality.mask_scorer import MaskScorer
from dinocli.segmentation.annotation_truth import open_truth
from dinocli.segmentation.method import Method
from dinocli.segmentation.output_names import natural_order, output_stems
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.tasks.segment.image_writer import ImageWriter
from dinocli.tasks.segment.segment_options import MethodUsed, SegmentOptions, SegmentResult
from dinocli.tasks.segment.segment_plan import SegmentPlan
from dinocli.tasks.segment.stored_maps import StoredMaps
from dinocli.tasks.segment.summary import finish
from dinocli.tasks.segment.video_frames import video_request, with_frames

if TYPE_CHECKING:
    from dinocli.tasks.segment.fresh_maps import FreshMaps


def segment(
    options: SegmentOptions,
    reporter: ProgressReporter | None = None,
    stdin: BinaryIO | None = None,
    method: Method | None = None,
) -> SegmentResult:
    """Segment images without labels, and write a folder of masks.

    Example:
        >>> options = dinocli.SegmentOptions(("images",), out="masks", method="kmeans", weights="runs/mine", size=64)
        >>> dinocli.segment(options).segmented
        8

    Args:
        options: Images, weights, method and outputs.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.
        method: A custom method instead of `options.method`.

    Raises:
        DinocliError: Any error; no file is then half-written.
        Interrupted: A signal stopped the command; `resume` continues it.
    """
    if not options.out:  # a detector that answers on stdout
        raise UsageError("--out is missing: name a folder for the masks, such as --out masks")
    folder = MaskFolder(Path(options.out))
    files = (Path(options.save_detector),) if options.save_detector else ()
    with claimed(*files, folder=folder.path):
        folder.file_set()  # recovers the commit of a dead process
        options.check_outputs()
        return _segment(options, folder, reporter or LogReporter(), stdin, method)


def _segment(
    options: SegmentOptions,
    folder: MaskFolder,
    reporter: ProgressReporter,
    stdin: BinaryIO | None,
    method: Method | None,
) -> SegmentResult:
    begin = time.monotonic()
    if video := video_request(options):
        options = with_frames(options, video, folder, reporter)
    source = _source(options, reporter, stdin, method)
    options, images = source.options, source.images
    request = {**source.request(), **_request(options), **video}
    if options.resume and not folder.journal.is_file() and (manifest := folder.read_manifest()):
        check_same(manifest["request"], request, str(folder.path))
        wanted = {"--save-detector": options.save_detector, "--coco": options.outputs.coco}
        if missing := [f"{name} {path}" for name, path in wanted.items() if path and not Path(path).exists()]:
            raise UsageError(f"{folder.path} is complete, without {', '.join(missing)}: add --force to make all again")
        reporter.line(f"{folder.path} is complete already")
        return _outcome(folder, manifest, begin)
    truth = None
    if options.truth:
        truth = open_truth(options.truth, images, good_without_mask=options.good_without_mask)
        truth.report(reporter)
    groups = _groups(options.groups, images.names, reporter) if options.groups else None
    plan = source.plan()
    # Scores need all images, and propagation starts at the first frame of a video: neither can resume.
    settled = {**request, "features": plan.method.parameters.get("features", "")}
    journal = SegmentJournal(folder, settled, resume=options.resume and not truth and not options.propagate)
    writer = ImageWriter(options, folder.partial, images, output_stems(images.names), truth, MaskScorer())
    _pass(plan, writer, journal, reporter)
    writer.score_folders(journal)
    if truth:
        truth.report_notes(reporter)
    manifest = finish(plan, writer, journal, folder, request, groups, reporter)
    if source.run:
        add_output(source.run, "masks", folder.path, reporter)
    return _outcome(folder, manifest, begin)


def dry_run(
    options: SegmentOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> dict[str, Any]:
    """Return what `segment` would do as JSON-like data; nothing is written.

    Raises:
        DinocliError: As `segment`, as far as it is known before the first image.
    """
    options = replace(options, force=True)  # a plan may name an output that exists
    options.check_outputs()
    if is_video(options.inputs):
        raise UsageError(f"--dry-run does not unpack {options.inputs[0]}: leave --dry-run out")
    return _source(options, reporter or ProgressReporter(), stdin).forecast()


def _source(
    options: SegmentOptions, reporter: ProgressReporter, stdin: BinaryIO | None, method: Method | None = None
) -> "FreshMaps | StoredMaps":
    """Load the images, and the weights or the distances of an earlier command."""
    if options.maps_from:
        return StoredMaps(options, reporter)
    from dinocli.tasks.segment.fresh_maps import FreshMaps  # loads timm, which `--from` does not need

    return FreshMaps(options, reporter, stdin, method)


def _request(options: SegmentOptions) -> dict[str, Any]:
    """Return the options that determine the masks and tables, as JSON-like data."""
    maps = ("method", "propagate", "reference", "size", "stride", "tile", "query", "refines", "sample", "seed")
    tables = ("truth", "good_without_mask", "groups", "min_area")
    return {
        "options": dict(options.method_options),
        **{name: getattr(options, name) for name in (*maps, *tables)},
        "outputs": asdict(options.outputs),
    }


def _groups(spec: str, names: Sequence[str], reporter: ProgressReporter) -> dict[str, str]:
    """Return the group of each image that has one.

    Args:
        spec: `folder`, `folder:N`, or a CSV with the columns `path` and one other.
        names: Image names.
        reporter: Receives notes on assumptions.

    Raises:
        UsageError: A CSV with several group columns.
        DataError: The groups cannot be read.
    """
    columns = read_labels(spec, names, reporter.line)
    if len(columns) > 1:
        raise UsageError(f"--groups {spec} has the columns {', '.join(columns)}: give a CSV with path and one other")
    (groups,) = columns.values()
    if alone := sum(not group for group in groups):
        reporter.warn(f"{alone} of {len(names)} images have no group in {spec}, and are left out of groups.csv")
    return {name: group for name, group in zip(names, groups, strict=True) if group}


def _pass(plan: SegmentPlan, writer: ImageWriter, journal: SegmentJournal, reporter: ProgressReporter) -> None:
    """Segment all images that are not in the journal, in the order of the list."""
    images, total = plan.images, len(plan.images)
    if journal.done:
        reporter.line(f"continuing after {len(journal.done)} of {total}")
    limit = bad_limit(plan.data.max_bad, total + len(images.bad))
    limit.check([*images.bad, *journal.bad])
    order = natural_order(images.names) if writer.options.propagate else range(total)
    rows = [row for row in order if row not in journal.done]
    reporter.progress("segmenting", len(journal.done), total)
    pictures = plan.reader.read_images(images, rows, thread_count(plan.data.workers))
    with Signals().caught() as signals, closing(pictures):
        for picture in pictures:
            if isinstance(picture, SegmentImage):
                journal.add(picture.image, writer.finish(picture, plan.maps(picture)))
            else:
                row, reason = picture
                journal.add_bad(row, images.names[row], reason)
                limit.check([*images.bad, *journal.bad])
            reporter.progress("segmenting", len(journal.done), total)
            if signals.number:
                words = f"stopped by a signal after {len(journal.done)} of {total}; run the same command with --resume"
                raise Interrupted(words, signals.number)


def _outcome(folder: MaskFolder, manifest: dict[str, Any], begin: float) -> SegmentResult:
    return SegmentResult(
        folder=folder.path,
        method=MethodUsed(**manifest["method"]),
        confusion=manifest["confusion"],
        groups=manifest.get("groups"),
        scores={name: (three[0], three[1], three[2]) for name, three in manifest["scores"].items()},
        seconds=time.monotonic() - begin,
        **{name: manifest[name] for name in ("images", "segmented", "empty_images", "bad", "regions", "root")},
    )
