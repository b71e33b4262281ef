"""The end of a segmentation: tables, exchange files, report and `segment.json`, all made of the log."""

from pathlib import Path
from typing import Any

from dinocli.config.installed_packages import versions_used
from dinocli.data.bad_images import write_bad
from dinocli.engine.progress import ProgressReporter
from dinocli.file_set import FileSet
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.annotation_formats import category_names, write_coco, write_segments_csv
from dinocli.tasks.segment.gallery import INSIDE, GalleryReport, remove_thumbnails, write_report
from dinocli.tasks.segment.image_writer import ImageWriter, write_classes
from dinocli.tasks.segment.mask_folder import MaskFolder, SegmentJournal
from dinocli.tasks.segment.method_fit import SegmentPlan
from dinocli.tasks.segment.segment_options import MethodUsed

CATEGORIES = {"anomaly": "anomaly", "kmeans": "segment"}
"""What the labels of a method are called; those of all others are objects."""

NOTES = (
    "Nobody told the method what to look for: a mask says what stands out to the features, not what it is.",
    "Label maps hold 0 for nothing; segments.csv has a row for each region.",
)


def finish(
    plan: SegmentPlan,
    context: EmbedContext,
    writer: ImageWriter,
    journal: SegmentJournal,
    final: MaskFolder,
    request: dict[str, Any],
    reporter: ProgressReporter,
) -> dict[str, Any]:
    """Make the tables and the report of the journal, and let all files take their places at once."""
    reporter.stage("writing tables and page")
    with final.file_set() as files:
        about = _write(plan, context, writer, journal, files, request, reporter)
        final.publish(files)
    return about


def _write(
    plan: SegmentPlan,
    context: EmbedContext,
    writer: ImageWriter,
    journal: SegmentJournal,
    files: FileSet,
    request: dict[str, Any],
    reporter: ProgressReporter,
) -> dict[str, Any]:
    folder, options, images = writer.folder, writer.options, context.images
    found = {region.label for record in journal for region in record.regions}
    names = category_names(found, CATEGORIES.get(plan.chosen.name, "object"))
    write_segments_csv(folder.table, journal, names)
    if options.outputs.coco:
        Path(options.outputs.coco).parent.mkdir(parents=True, exist_ok=True)
        write_coco(files.new(Path(options.outputs.coco)), journal, names, as_polygons=options.outputs.polygons)
    if options.outputs.yolo:
        write_classes(folder, names)
    bad = [*images.bad, *journal.bad]
    if bad:
        write_bad(folder.bad, bad)
        reporter.warn(f"{len(bad)} images cannot be read; they are named in {folder.final / folder.bad.name}")
    counts = {
        "images": len(images) + len(images.bad),
        "segmented": sum(1 for _ in journal),
        "empty_images": sum(1 for record in journal if not record.regions),
        "bad": len(bad),
        "regions": sum(len(record.regions) for record in journal),
    }
    method = MethodUsed(plan.chosen.name, plan.chosen.reason, plan.fitted.parameters)
    scores = {name: (one.value, one.low, one.high) for name, one in writer.scorer.scores().items()}
    report = GalleryReport(
        title=f"Segments of {images.root.name}",
        names=names,
        facts={
            "method": method.name,
            "reason": method.reason,
            **method.parameters,
            "weights": context.info.source,
            "model": context.info.name,
            **counts,
        },
        scores=scores,
        notes=NOTES,
    )
    inside = counts["segmented"] <= INSIDE
    write_report(folder, journal, lambda name: images.root / name[2:], report, inside=inside)
    about = {
        "kind": "masks",
        **counts,
        "method": method.to_dict(),
        "scores": scores,
        "confusion": writer.scorer.confusion(),
        "root": str(images.root),
        "weights": context.info.to_dict(),
        "versions": versions_used(),
        "request": request,
    }
    folder.write_about(about)
    if inside:
        remove_thumbnails(folder)
    return about
