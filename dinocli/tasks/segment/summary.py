"""Write tables, COCO, YOLO classes, report and `segment.json` from the journal of a segmentation."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from math import floor
from pathlib import Path
from typing import Any

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.artifacts.segment_journal import SegmentJournal
from dinocli.config.installed_packages import versions_used
from dinocli.data.bad_images import write_bad
from dinocli.data.mask_images import label_colour
from dinocli.errors import counted
from dinocli.file_set import FileSet
from dinocli.files import write_atomic
from dinocli.progress import ProgressReporter
from dinocli.report.gallery_page import GalleryPage, Segment, write_gallery_page
from dinocli.report.mask_gallery import MAX_EMBEDDED_IMAGES, MAX_HEAT_IMAGES, VERDICT_NOTE, gallery_image
from dinocli.report.page import Cell, Table
from dinocli.segmentation.annotation_formats import category_names, write_coco, write_groups, write_segments_csv
from dinocli.segmentation.anomaly_file import save_anomaly
from dinocli.segmentation.anomaly_threshold import distance_at, soft_value
from dinocli.segmentation.segment_images import BLANK
from dinocli.tasks.segment.image_writer import ImageWriter
from dinocli.tasks.segment.segment_plan import SegmentPlan

CATEGORIES = {"anomaly": "anomaly", "kmeans": "segment"}
"""Category name of a method's labels; `object` for other methods."""

SCORES = {
    "anomaly": "anomaly score",
    "tokencut": "1 - lambda_2",
}
"""Name of a method's image score; `score` for other methods."""

OTHERS = {
    "attention": "use --method tokencut for one object per image, or anomaly for surfaces and parts",
    "tokencut": "no object stands out; use --method anomaly for surfaces and parts, kmeans to segment all",
    "kmeans": "the patches have no clear groups; use --segments 6, or --method tokencut for objects",
    "pca": "the folder has no foreground in common; use --method tokencut for objects, anomaly for surfaces and parts",
}
"""Advice if a method for objects finds nothing."""

SMALLER = (
    "If you see a defect, move the slider Threshold to the left; --from FOLDER --threshold VALUE --out NEW writes the "
    "masks it shows. --reference GOOD, a folder of good images, or a larger --size find smaller defects. For "
    "objects in photographs use --method tokencut."
)
"""Advice if the anomaly method finds nothing."""

NOTES = (
    "The method is unsupervised: a mask shows what stands out in the features, not what it is.",
    "The background of a label map is 0; segments.csv has a row for each region, and segment 0 for an empty image.",
)


def finish(
    plan: SegmentPlan,
    writer: ImageWriter,
    journal: SegmentJournal,
    final: MaskFolder,
    request: dict[str, Any],
    groups: Mapping[str, str] | None,
    reporter: ProgressReporter,
) -> dict[str, Any]:
    """Write tables and report from the journal, and publish all files together; returns `segment.json`."""
    reporter.stage("writing tables and page")
    folder, images, method = writer.folder, plan.images, plan.method
    with final.file_set() as files:
        names = _write_tables(method.name, writer, journal, files)
        bad = [*images.bad, *journal.bad]
        if bad:
            write_bad(folder.bad, bad)
            reporter.warn(
                f"{counted(len(bad), 'image')} cannot be read; they are named in {folder.final / folder.bad.name}"
            )
        manifest: dict[str, Any] = {
            "kind": "masks",
            "images": len(images) + len(images.bad),
            "segmented": sum(1 for _ in journal),
            "empty_images": sum(1 for record in journal if not record.regions),
            "bad": len(bad),
            "regions": sum(len(record.regions) for record in journal),
            "method": asdict(method),
            "scores": {name: (one.value, one.low, one.high) for name, one in writer.scorer.scores().items()},
            "confusion": writer.scorer.confusion(),
            "groups": None if groups is None else write_groups(folder.groups, groups, journal, dict(bad)),
            "root": str(final.published(images.root)),
            "weights": dict(plan.weights),
            "reading": plan.reader.to_dict(),
            "versions": versions_used(),
            "request": request,
        }
        _report(plan, writer, journal, manifest, reporter)
        inside = manifest["segmented"] <= MAX_EMBEDDED_IMAGES
        page = _page(plan, folder, journal, names, manifest, inside=inside)
        write_gallery_page(folder.report, page, at=folder.final / folder.report.name)
        if plan.scale is not None:
            save_anomaly(folder.anomaly, plan.scale)
        folder.write_manifest(manifest)
        if inside:  # the page holds the pictures
            shutil.rmtree(folder.gallery, ignore_errors=True)
        final.publish(files, images.root)
    return manifest


def _report(
    plan: SegmentPlan,
    writer: ImageWriter,
    journal: SegmentJournal,
    manifest: dict[str, Any],
    reporter: ProgressReporter,
) -> None:
    """Report images in which nothing was found, and images that are marked as a whole or not judged."""
    method, images = plan.method, manifest["segmented"]
    if warning := nothing_found(method.name, manifest["empty_images"], images):
        reporter.warn(warning)
    whole, blank, lost, furthest = list[str](), list[str](), 0, 0.0
    for record in journal:
        distance = record.metrics.get("furthest", 0.0)
        furthest = max(furthest, distance)
        lost += not record.regions and distance > 1
        whole += [record.image] if "whole_image" in record.metrics else []
        blank += [record.image] if record.empty_reason == BLANK else []
    if plan.scale is not None and images and not manifest["regions"] and furthest <= 1:
        reporter.line(no_anomaly(method.parameters, furthest, images))
    if whole:
        reporter.warn(
            f"{len(whole)} of {images} images are marked as a whole, such as {whole[0]}: they are another scene than "
            "the good ones, lack the part, or are blank"
        )
    if blank:
        reporter.warn(f"{len(blank)} of {images} images are blank, such as {blank[0]}: not judged")
    if lost:
        ways = ["--no-refine"] * writer.options.refines + ["--min-area 0"] * (writer.options.min_area != 0)
        keeps = f"{' '.join(ways)} keeps it" if ways else "a slightly lower --threshold marks it"
        reporter.warn(
            f"{lost} of {images} images have a patch above the threshold, but a region smaller than --min-area, or one "
            f"that upsampling and refinement along edges removed: {keeps}"
        )


def _write_tables(method: str, writer: ImageWriter, journal: SegmentJournal, files: FileSet) -> dict[int, str]:
    """Write CSV, COCO and YOLO classes; return the category of each label."""
    folder, outputs = writer.folder, writer.options.outputs
    names = category_names(
        {region.label for record in journal for region in record.regions}, CATEGORIES.get(method, "object")
    )
    write_segments_csv(folder.table, journal, names)
    if outputs.coco:
        Path(outputs.coco).parent.mkdir(parents=True, exist_ok=True)
        write_coco(files.new(Path(outputs.coco)), journal, names, as_polygons=outputs.polygons)
    if outputs.yolo:  # class 0 on the first line
        lines = (f"{names.get(label, f'unused {label}')}\n" for label in range(1, max(names, default=0) + 1))
        write_atomic(folder.classes, "".join(lines))
    return names


def _page(
    plan: SegmentPlan,
    folder: MaskFolder,
    journal: SegmentJournal,
    names: dict[int, str],
    manifest: dict[str, Any],
    *,
    inside: bool,
) -> GalleryPage:
    method, weights, root = plan.method, manifest["weights"], Path(manifest["root"])
    heat, labels = manifest["segmented"] <= MAX_HEAT_IMAGES, list(names)
    threshold = None if plan.scale is None else float(method.parameters.get("threshold", 0.5))
    scores: list[list[Cell]] = [[name, *three] for name, three in manifest["scores"].items()]
    return GalleryPage(
        title=f"Segments of {root.name}",
        images=[
            gallery_image(folder, record, root / record.image[2:], labels, inside=inside, heat=heat)
            for record in journal
        ],
        segments=[Segment(name, label_colour(label)) for label, name in names.items()],
        score_name=SCORES.get(method.name, "score"),
        tables=[Table("Against the truth", ["", "value", "95 % from", "to"], scores)] if scores else [],
        facts=[
            ("method", method.name),
            *([("reason", method.reason)] if method.reason else []),
            *((key.replace("_", " "), value) for key, value in method.parameters.items()),
            ("weights", weights["source"]),
            ("model", weights["name"]),
            ("images", manifest["segmented"]),
            ("unreadable images", manifest["bad"]),
            ("empty masks", manifest["empty_images"]),
            ("regions", manifest["regions"]),
        ],
        notes=NOTES if threshold is None else (*NOTES, VERDICT_NOTE),
        warning=nothing_found(method.name, manifest["empty_images"], manifest["segmented"]) or plan.warning,
        advice=advice(method.name),
        threshold=threshold if heat else None,
        defective_first=threshold is not None,
    )


def advice(method: str) -> str:
    """Return the advice for an image in which a method finds nothing."""
    if method == "anomaly":
        return SMALLER
    words = OTHERS.get(method, "")
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def nothing_found(method: str, empty: int, images: int) -> str:
    """Return a warning if a method for objects finds nothing in most images; else empty."""
    if method not in OTHERS or 2 * empty <= images:
        return ""
    return f"{method} found nothing in {empty} of {images} images: {OTHERS[method]}"


def no_anomaly(parameters: Mapping[str, float | str], furthest: float, images: int) -> str:
    """Return a line for a folder in which the anomaly method marks nothing: what was tested, and what to do.

    Args:
        parameters: Of the fitted method, with the number of synthetic defects if it was tested on these.
        furthest: Largest distance of a patch; 1 is the threshold of the command.
        images: Number of images.
    """
    features = str(parameters.get("features")).replace(" ", "_")
    found, tested = parameters.get(f"found_by_{features}_features"), ""
    if found is not None:
        defects = parameters["synthetic_defects"]
        tested = f"; {found} of {defects} synthetic defects were found, but real ones may be fainter"
    number = float(parameters.get("threshold", 0.5))
    highest = float(soft_value(furthest * distance_at(number, 1), 1))
    return (
        f"nothing marked in {images} images: the furthest patch is at {furthest:.2f} of the threshold, which is "
        f"--threshold {number:g}{tested}. A value below {floor(100 * highest) / 100:g} marks more"
    )
