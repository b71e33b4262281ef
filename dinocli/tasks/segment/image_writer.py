"""From the maps of one image to its files and its record."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.data.mask_images import label_png, map_png, overlay_jpeg, soft_npy, soft_png, write_below
from dinocli.data.sources import ImageList
from dinocli.files import write_whole
from dinocli.quality.mask_scorer import MaskScorer
from dinocli.tasks.segment.annotation_formats import yolo_lines
from dinocli.tasks.segment.feature_extraction import SegmentImage
from dinocli.tasks.segment.gallery import write_thumbnail
from dinocli.tasks.segment.ground_truth import TrueMasks, is_good
from dinocli.tasks.segment.mask_folder import MaskFolder
from dinocli.tasks.segment.method import PatchMaps
from dinocli.tasks.segment.regions import ImageRecord, find_regions, region_record, without_specks
from dinocli.tasks.segment.segment_options import SegmentOptions
from dinocli.tasks.segment.upsample import Rendered, render

SMALLEST = 0.25
"""Part of a patch that a region has at least: what is smaller came from the pixels, not from the network."""


@dataclass
class ImageWriter:
    """Where images are finished, one after the other.

    Args:
        options: What was asked for.
        folder: Gets the files.
        images: The list.
        stems: Name of each one's files.
        truth: True masks, or None.
        scorer: Scores against them.
    """

    options: SegmentOptions
    folder: MaskFolder
    images: ImageList
    stems: list[str]
    truth: TrueMasks | None
    scorer: MaskScorer

    def __post_init__(self) -> None:
        # Folder names say which images are good where the method looks for defects and there are no masks.
        self.has_good = self.options.method == "anomaly" and any(map(is_good, self.images.names))

    def finish(self, picture: SegmentImage, maps: PatchMaps, heads_nhw: NDArray[np.bool_] | None = None) -> ImageRecord:
        """Write all files of an image.

        Args:
            picture: As it was read.
            maps: What the method said.
            heads_nhw: Masks of attention heads on the grid, for the truth alone.
        """
        dense = maps.threshold < 0
        rendered = render(maps, picture.geometry, picture.source_CHW, refine=self.options.refine)
        labels_HW, empty_reason = rendered.labels_HW, maps.empty_reason
        if not dense:
            labels_HW = without_specks(labels_HW, round(SMALLEST * picture.geometry.cell_pixels**2))
            if not empty_reason and not labels_HW.any():
                empty_reason = "no pixel is left above the threshold"
        name, stem = self.images.names[picture.image], self.stems[picture.image]
        self._write_maps(stem, picture, labels_HW, rendered.soft_HW, maps)
        height, width = picture.geometry.source
        outlines = self.options.outputs.yolo or self.options.outputs.polygons
        record = ImageRecord(
            image=name,
            mask=f"{self.folder.masks.name}/{stem}.png",
            height=height,
            width=width,
            score=float(maps.score),
            empty_reason=empty_reason,
            metrics={
                **maps.metrics,
                **self._marked(name, picture, maps, Rendered(labels_HW, rendered.soft_HW), heads_nhw),
            },
            regions=[
                region_record(region, (height, width), counts=bool(self.options.outputs.coco), outlines=outlines)
                for region in find_regions(labels_HW, rendered.soft_HW, connected=not dense)
            ],
        )
        if self.options.outputs.yolo:
            write_below(self.folder.labels, stem, ".txt", yolo_lines(record).encode())
        return record

    def _write_maps(
        self,
        stem: str,
        picture: SegmentImage,
        labels_HW: NDArray[np.uint16],
        soft_HW: NDArray[np.float32],
        maps: PatchMaps,
    ) -> None:
        write_below(self.folder.masks, stem, ".png", label_png(labels_HW))
        if self.options.outputs.soft or self.options.outputs.npy:
            suffix, data = (".npy", soft_npy(soft_HW)) if self.options.outputs.npy else (".png", soft_png(soft_HW))
            write_below(self.folder.soft, stem, suffix, data)
        if self.options.outputs.overlay:
            write_below(self.folder.overlays, stem, ".jpg", overlay_jpeg(picture.source_CHW, labels_HW))
        for word, further in maps.extra_maps.items() if self.options.outputs.maps else ():
            write_below(self.folder.maps, f"{stem}.{word}", ".png", map_png(further))
        write_thumbnail(self.folder, stem, picture.source_CHW, labels_HW)

    def _marked(
        self, name: str, picture: SegmentImage, maps: PatchMaps, rendered: Rendered, heads_nhw: NDArray[np.bool_] | None
    ) -> Mapping[str, float]:
        flagged = bool(rendered.labels_HW.any())
        if self.truth is None and self.has_good:
            self.scorer.add_image(maps.score, defective=not is_good(name), flagged=flagged)
        if self.truth is None or name not in self.truth:
            return {}
        heads_AHW = None
        if heads_nhw is not None:
            rows = slice(0, picture.geometry.source[0])
            heads_AHW = picture.geometry.upsampled(heads_nhw.astype(np.float32), rows) > 0.5
        truth_HW = self.truth.read(name, picture.geometry.source)
        if maps.threshold >= 0:
            self.scorer.add_image(maps.score, defective=bool(truth_HW.any()), flagged=flagged)
        return self.scorer.add(truth_HW, *rendered, dense=maps.threshold < 0, heads_AHW=heads_AHW)


def write_classes(folder: MaskFolder, names: dict[int, str]) -> None:
    """Name the classes of the YOLO labels, class 0 on the first line."""
    most = max(names, default=0)
    write_whole(folder.classes, "".join(f"{names.get(label, f'unused {label}')}\n" for label in range(1, most + 1)))
