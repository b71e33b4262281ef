"""Streaming inspection: a detector in memory that judges one image after the other, good or defective."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dinocli.artifacts.feature_model import load
from dinocli.data.image_list import ImageList
from dinocli.data.labels import folder_labels, is_folder_spec
from dinocli.data.sources import find_images
from dinocli.data.stored_reading import FirstImages, check_stored
from dinocli.data.tiling import parse_tiling
from dinocli.engine.precision import DTYPES, feature_precision
from dinocli.errors import UsageError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.placement import inside, on_whole
from dinocli.segmentation.regions import find_regions, without_specks
from dinocli.segmentation.segment_images import SegmentImage, is_blank
from dinocli.segmentation.upsample import render
from dinocli.tasks.segment.detector import open_detector
from dinocli.tasks.segment.segment_options import SegmentOptions

Inspection = dict[str, Any]
"""Result of an image, JSON-like; see `Inspector.inspect`."""


@dataclass
class _Group:
    """Images of a group so far: whether one is unreadable; whether the worst one is defective, and its score."""

    unreadable: bool = False
    worst: tuple[bool, float] = (False, 0.0)


class Inspector:
    """A detector in memory.

    Args:
        options: Options with `detector`; `groups` can be `folder` or `folder:N` of the path below `root`.
        reporter: Receives a line on the loaded weights, and warnings.

    Raises:
        UsageError: Options that the detector determines.
        WeightsError: The detector is missing or damaged.
    """

    def __init__(self, options: SegmentOptions, reporter: ProgressReporter) -> None:
        if options.groups and not is_folder_spec(options.groups):
            raise UsageError(f"--groups {options.groups}: without --out it is folder or folder:N; a CSV needs --out")
        detector, self._options = open_detector(options)
        self._fitted = detector.fitted
        model = load(detector.backbone, device=options.device)
        assert model.info is not None
        reporter.line(f"{model.info.describe()}, detector {detector.folder}")
        if self._options.stride:
            model.backbone.set_stride(self._options.stride)
        self._extractor = FeatureExtraction(
            model.backbone,
            model.preprocess,
            self._fitted.feature_kind,
            model.device,
            self._options.canvas_side,
            parse_tiling(self._options.tile),
            autocast=DTYPES.get(feature_precision(model.device, self._options.precision)),
        )
        self._name, self._preprocess, self._reporter = f"detector {detector.folder}", model.preprocess, reporter
        self._first_images = FirstImages(model.preprocess, self._name, reporter.warn)
        self._groups: dict[str, _Group] = {}

    def check(self, images: ImageList) -> None:
        """Warn if images do not fit the reading that the detector was saved with."""
        for note in check_stored(images, self._preprocess, self._name):
            self._reporter.warn(note)

    def check_next(self, path: str) -> None:
        """Warn if one of the first images of a stream does not fit."""
        self._first_images.check([path])

    def inspect(self, path: str, root: str = "") -> Inspection:
        """Judge an image.

        Args:
            path: Path of the image.
            root: Folder from which the folders of `groups` are counted; empty for the root of the file system. An image
                directly in it is of the group of that name.

        Returns:
            JSON-like data: `image`; `good` (no region is left, and not `whole_image`); `whole_image` (as a whole unlike
            the good images: another scene, a missing part, a blank image); `score` (0 to 1); `furthest` (largest
            distance of a patch; 1 is the threshold); `regions`, each with box (left, top, width, height in pixels),
            area in pixels and score; `seconds`; with groups also `group`, and `group_score` and `group_good` over its
            images so far. For an unreadable image, `image`, `error` and `group`; a group with one is not known to be
            good: `group_good` is None unless another image is defective.
        """
        begin = time.monotonic()
        (picture,) = self._extractor.reader.read_images(_one_image(path), [0], 0)
        if not isinstance(picture, SegmentImage):
            return {"image": path, "error": picture[1], **self._of_group(path, root, None)}
        maps = self._fitted.apply(self._extractor.grid(picture))
        rendered = inside(render(maps, picture.geometry, picture.source_CHW, refine=self._options.refines), picture)
        labels_HW = without_specks(rendered.labels_HW, self._options.least_area(picture.geometry))
        regions = [
            {"box": list(region.box), "area": region.area, "score": round(region.score, 4)}
            for region in find_regions(
                on_whole(labels_HW, picture), on_whole(rendered.soft_HW, picture), connected=True
            )
        ]
        whole = "whole_image" in maps.metrics or is_blank(picture)
        score, furthest = float(maps.score), float(maps.metrics["furthest"])
        result = {
            "image": path,
            "good": not regions and not whole,
            "whole_image": whole,
            "score": round(score, 4),
            "furthest": round(furthest, 4),
        }
        seconds = round(time.monotonic() - begin, 3)
        return {**result, **self._of_group(path, root, result), "regions": regions, "seconds": seconds}

    def _of_group(self, path: str, root: str, result: Inspection | None) -> Inspection:
        """Return the result of the group of an image; None for `result`: the image is unreadable."""
        if not self._options.groups:
            return {}
        name = os.path.relpath(path, root or os.sep)
        if os.sep not in name:  # directly in the input folder, which is its group then
            name = os.path.join(os.path.basename(os.path.dirname(os.path.abspath(path))), name)
        (group,) = folder_labels(self._options.groups, [f"./{name}"])
        seen = self._groups.setdefault(group, _Group())
        if result is None:
            seen.unreadable = True
            return {"group": group}
        # A defective image stands for its group.
        seen.worst = max(seen.worst, (not result["good"], result["score"]))
        defective, score = seen.worst
        good = None if seen.unreadable and not defective else not defective
        return {"group": group, "group_score": score, "group_good": good}


def inspect_images(options: SegmentOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> Iterator[Inspection]:
    """Yield the result of each input image; with `-`, for each path as soon as its line arrives.

    Args:
        options: Options with `detector`.
        reporter: Receives a line on the loaded weights, and warnings about the images; of paths on stdin, about the
            first ones.
        stdin: Standard input for `-`: one path per line, or NUL-separated with `options.read.null`.

    Raises:
        DinocliError: Any error before the first result; an unreadable image gives a result with `error`.
    """
    if not options.inputs:
        raise UsageError("--detector needs IMAGES, or - for paths on stdin")
    if options.inputs == ("-",) and stdin is not None:
        inspector = Inspector(options, reporter)
        reporter.stage("judging images")
        for path in _arriving(stdin, b"\0" if options.read.null else b"\n"):
            inspector.check_next(path)
            yield inspector.inspect(path, options.read.root)
        return
    images = find_images(options.inputs, stdin=stdin, null=options.read.null, **options.read.naming())
    inspector = Inspector(options, reporter)
    inspector.check(images)
    reporter.stage("judging images")
    for path in images.paths():
        yield inspector.inspect(path, str(images.root))


def _one_image(path: str) -> ImageList:
    folder, name = os.path.split(os.path.abspath(path))
    return ImageList(Path(folder), [f"./{name}"], [])


def _arriving(stdin: BinaryIO, end: bytes) -> Iterator[str]:
    """Yield paths as they arrive; a buffered reader would wait for a full buffer.

    Args:
        stdin: Standard input.
        end: NUL, after which paths are taken verbatim, or a line feed; a carriage return before it is left out.
    """
    left = b""
    while more := os.read(stdin.fileno(), 1 << 16):
        *whole, left = (left + more).split(end)
        yield from _paths(whole, end)
    yield from _paths([left], end)


def _paths(parts: Sequence[bytes], end: bytes) -> Iterator[str]:
    lines = parts if end == b"\0" else (part.removesuffix(b"\r") for part in parts if part.strip())
    return (os.fsdecode(line) for line in lines if line)
