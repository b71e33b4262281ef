"""Ground-truth masks rasterised from COCO, YOLO or VOC annotations: polygons, run lengths or boxes.

Legend: H W pixels of the source.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.data.annotated_images import AnnotatedObject
from dinocli.data.annotations import annotation_kind, read_annotations
from dinocli.data.image_list import ImageList
from dinocli.data.label_paths import match_paths
from dinocli.errors import DataError, WeightsError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.ground_truth import GroundTruth, is_good


class AnnotationTruth:
    """Masks of the annotated objects; the value of a pixel is the number of its class, from 1.

    Args:
        spec: Annotation file or folder.
        images: The images; names are matched as in `dinocli.data.label_paths.match_paths`.
        good_without_mask: Images without an annotation count as images without an object, as in a folder `good`.

    Raises:
        DataError: The annotations cannot be read, or name none of the images.
    """

    def __init__(self, spec: str, images: ImageList, *, good_without_mask: bool = False) -> None:
        annotations = read_annotations(Path(spec))
        self.spec, self._relative, names = spec, annotations.relative, list(images.names)
        self._number = {name: number for number, name in enumerate(annotations.categories, start=1)}
        matches = match_paths([image.name for image in annotations.images], names)
        self._objects: dict[str, tuple[AnnotatedObject, ...]] = {}
        loose, self._loose = set(matches.loose), ""
        exact = {row for number, row in enumerate(matches.image_R) if number not in loose}
        for number, (image, row) in enumerate(zip(annotations.images, matches.image_R, strict=True)):
            if row < 0 or (number in loose and row in exact):  # `old/1.png` is not `1.png` where that is named too
                continue
            if number in loose:
                self._loose = self._loose or f"{image.name} means {names[row]}"
            self._objects[names[row]] = self._objects.get(names[row], ()) + image.objects
        if not self._objects:
            first = annotations.images[0].name if annotations.images else "none"
            raise DataError(f"{spec} names no image here; its first image is {first!r}, ours {names[0]}")
        rest = [name for name in names if name not in self._objects]
        self._good = {name for name in rest if good_without_mask or is_good(name)}
        self._missing = len(rest) - len(self._good)
        self._box_objects = 0

    def __contains__(self, name: str) -> bool:
        return name in self._objects or name in self._good

    def read(self, name: str, size: tuple[int, int]) -> NDArray[np.int64]:
        """Draw the mask of an image, small objects above large ones; arguments as in `GroundTruth.read`."""
        labels_HW = np.zeros(size, np.int64)
        for item in sorted(self._objects.get(name, ()), key=lambda item: -item.area):
            if not (item.polygons or item.rle):
                self._box_objects += 1
            try:
                labels_HW[_mask(item, size, relative=self._relative)] = self._number[item.category]
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(f"{self.spec}: an object of {name} cannot be drawn: {error}") from None
        return labels_HW

    def report(self, reporter: ProgressReporter) -> None:
        """Report how many images count as good, and how many the scores leave out."""
        if self._loose:
            reporter.line(f"images of {self.spec} are matched by part of their path: {self._loose}")
        empty = sum(not objects for objects in self._objects.values()) + len(self._good)
        if empty:
            reporter.line(f"{empty} images have no object in {self.spec}, and count as good")
        if self._missing:
            reporter.warn(
                f"{self._missing} images are not named in {self.spec}; the scores leave them out "
                f"(--good-without-mask counts them as good)"
            )

    def report_notes(self, reporter: ProgressReporter) -> None:
        """Warn of objects that have only a box."""
        if self._box_objects:
            reporter.warn(f"{self._box_objects} objects have a box and no outline: the whole box counts as the object")


TrueMasks = GroundTruth | AnnotationTruth


def open_truth(spec: str, images: ImageList, *, good_without_mask: bool) -> TrueMasks:
    """Open a folder of masks, a COCO .json, or a folder of YOLO .txt or VOC .xml files.

    Raises:
        DataError: The ground truth cannot be read, or matches none of the images.
    """
    if annotation_kind(Path(spec)):
        return AnnotationTruth(spec, images, good_without_mask=good_without_mask)
    return GroundTruth(spec, images, good_without_mask=good_without_mask)


def _mask(item: AnnotatedObject, size: tuple[int, int], *, relative: bool) -> NDArray[np.bool_]:
    """Return the mask of an object as pycocotools draws it; for a box, the pixels with their centre inside."""
    height, width = size
    if item.rle or item.polygons:
        return _drawn(item.rle or [_scaled(line, size, relative) for line in item.polygons], size)
    mask_HW = np.zeros(size, np.bool_)
    if item.box:
        left, top, across, down = _scaled(item.box, size, relative)
        rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
        mask_HW[np.ix_((rows > top) & (rows < top + down), (columns > left) & (columns < left + across))] = True
    return mask_HW


def _scaled(values: Sequence[float], size: tuple[int, int], relative: bool) -> list[float]:
    """Return x, y, x, y, ... in pixels; relative values are fractions of width and height."""
    return [value * size[1 - index % 2] if relative else value for index, value in enumerate(values)]


def _drawn(shape: dict[str, Any] | list[list[float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        from pycocotools import mask as coco
    except ImportError:
        raise WeightsError("outlines and run lengths need pycocotools: pip install 'dinocli[coco]'") from None
    if isinstance(shape, dict):
        if list(shape["size"]) != list(size):
            raise ValueError(
                f"its run lengths are of {shape['size'][1]}x{shape['size'][0]} px, the image {size[1]}x{size[0]}"
            )
        runs = shape if isinstance(shape["counts"], str | bytes) else coco.frPyObjects(shape, *size)
    else:
        runs = coco.merge(coco.frPyObjects(shape, *size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # raised inside pycocotools 2.0.11
        return np.asarray(coco.decode(runs), np.bool_)
