"""The end of a segmentation: tables, exchange files, report and `segment.json`, all made of the log."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dinocli import __version__
from dinocli.data.cache import write_bad
from dinocli.engine.progress import ProgressReporter
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.annotation_formats import category_names, write_coco, write_segments_csv
from dinocli.tasks.segment.gallery import INSIDE, GalleryReport, discard_small, write_report
from dinocli.tasks.segment.image_writer import ImageWriter, write_classes
from dinocli.tasks.segment.mask_folder import SegmentJournal
from dinocli.tasks.segment.method_fit import SegmentPlan

CATEGORIES = {"anomaly": "anomaly", "kmeans": "segment"}
"""What the labels of a method are called; those of all others are objects."""

NOTES = (
    "Nobody told the method what to look for: a mask says what stands out to the features, not what it is.",
    "Label maps hold 0 for nothing; segments.csv has a row for each region.",
)


def finish(
    plan: SegmentPlan,
    setting: EmbedContext,
    desk: ImageWriter,
    log: SegmentJournal,
    request: dict[str, Any],
    reporter: ProgressReporter,
) -> dict[str, Any]:
    """Make the tables and the report of the log; `segment.json` comes last and says: complete."""
    folder, job, images = desk.folder, desk.job, setting.images
    found = {region.label for record in log for region in record.found}
    names = category_names(found, CATEGORIES.get(plan.chosen.name, "object"))
    write_segments_csv(folder.table, log, names)
    if job.coco:
        Path(job.coco).parent.mkdir(parents=True, exist_ok=True)
        write_coco(Path(job.coco), log, names, as_polygons=job.polygons)
    if job.yolo:
        write_classes(folder, names)
    bad = [*images.bad, *log.bad]
    if bad:
        write_bad(folder.bad, bad)
        reporter.warn(f"{len(bad)} images cannot be read; they are named in {folder.bad}")
    counts = {
        "images": len(images) + len(images.bad),
        "segmented": sum(1 for _ in log),
        "nothing": sum(1 for record in log if not record.found),
        "bad": len(bad),
        "regions": sum(len(record.found) for record in log),
    }
    facts = {"method": plan.chosen.name, "why": plan.chosen.why, **plan.fitted.facts}
    scores = {name: (one.value, one.low, one.high) for name, one in desk.marks.scores().items()}
    report = GalleryReport(
        title=f"Segments of {images.root.name}",
        names=names,
        facts={**facts, "weights": setting.info.source, "model": setting.info.name, **counts},
        scores=scores,
        notes=NOTES,
    )
    inside = counts["segmented"] <= INSIDE
    write_report(folder, log, lambda name: images.root / name[2:], report, inside=inside)
    about = {
        "kind": "masks",
        **counts,
        "facts": facts,
        "scores": scores,
        "root": str(images.root),
        "weights": setting.info.to_dict(),
        "versions": {"dinocli": __version__, "python": platform.python_version()}
        | {name: version(name) for name in ("torch", "timm", "numpy", "pillow")},
        "request": request,
    }
    folder.write_about(about)
    log.remove()
    if inside:
        discard_small(folder)
    return about
