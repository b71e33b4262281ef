"""Write the files of one segmented image, and return its record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.data.georeference import georeference_of
from dinocli.data.image_list import ImageList
from dinocli.data.mask_images import (
    label_geotiff,
    label_png,
    map_png,
    overlay_jpeg,
    soft_npy,
    soft_png,
    write_image_file,
)
from dinocli.quality.mask_scorer import MaskScorer
from dinocli.report.mask_gallery import write_thumbnail
from dinocli.segmentation.annotation_formats import yolo_lines
from dinocli.segmentation.annotation_truth import TrueMasks
from dinocli.segmentation.ground_truth import is_good
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.placement import boxed, inside, inside_cells, on_whole, shown, whole_size
from dinocli.segmentation.regions import ImageRecord, find_regions, region_record, without_specks
from dinocli.segmentation.segment_images import BLANK, SegmentImage, is_blank
from dinocli.segmentation.upsample import Rendered, render
from dinocli.tasks.segment.segment_options import SegmentOptions


@dataclass
class ImageWriter:
    """Writes the output files of each image.

    Args:
        options: Options of the command.
        folder: Output folder.
        images: Images of the command.
        stems: File stem of each image's outputs.
        truth: Ground-truth masks, or None.
        scorer: Scorer against the ground truth.
    """

    options: SegmentOptions
    folder: MaskFolder
    images: ImageList
    stems: list[str]
    truth: TrueMasks | None
    scorer: MaskScorer

    def finish(self, picture: SegmentImage, maps: PatchMaps) -> ImageRecord:
        """Write all files of an image from the maps of the method, and return its record."""
        dense = maps.threshold < 0
        rendered = inside(self._rendered(picture, maps), picture)
        labels_HW, empty_reason = rendered.labels_HW, maps.empty_reason
        if not dense:
            labels_HW = without_specks(labels_HW, self.options.least_area(picture.geometry))
            if not empty_reason and not labels_HW.any():
                empty_reason = "no pixel is left above the threshold"
            if empty_reason and maps.distances_Fhw is not None and is_blank(picture):
                empty_reason = BLANK
        stem, truth_HW = self.stems[picture.image], self._truth(picture)
        rendered = Rendered(labels_HW, rendered.soft_HW)
        placed = Rendered(on_whole(labels_HW, picture), on_whole(rendered.soft_HW, picture))
        self._write_maps(stem, picture, placed, maps)
        heat_hw = on_whole(inside_cells(maps.saliency(), picture), picture) if maps.distances_Fhw is not None else None
        true_HW = None if truth_HW is None else on_whole(truth_HW > 0, picture)
        write_thumbnail(self.folder, stem, shown(picture), placed.labels_HW, heat_hw=heat_hw, truth_HW=true_HW)
        height, width = whole_size(picture)
        outlines = self.options.outputs.yolo or self.options.outputs.polygons
        record = ImageRecord(
            image=self.images.names[picture.image],
            mask=f"{self.folder.masks.name}/{stem}.png",
            height=height,
            width=width,
            score=float(maps.score),
            empty_reason=empty_reason,
            metrics={**maps.metrics, **self._scores(picture, truth_HW, maps, rendered)},
            regions=[
                region_record(region, (height, width), counts=bool(self.options.outputs.coco), outlines=outlines)
                for region in find_regions(*placed, connected=not dense)
            ],
        )
        if self.options.outputs.yolo:
            write_image_file(self.folder.labels, stem, ".txt", yolo_lines(record).encode())
        return record

    def score_folders(self, records: Iterable[ImageRecord]) -> None:
        """Add image labels from folder names to the scorer, for the anomaly method without true masks.

        Images in a folder `good` are good, all others defective; without such a folder there are no labels.

        Args:
            records: Of all images, also of those that an interrupted command has finished.
        """
        if self.truth is None and any(map(is_good, self.images.names)):
            for record in records:
                if "furthest" in record.metrics:
                    defective, flagged = not is_good(record.image), bool(record.regions)
                    self.scorer.add_image(record.score, defective=defective, flagged=flagged)

    def _rendered(self, picture: SegmentImage, maps: PatchMaps) -> Rendered:
        """Upsample the maps to the pixels of the image; for an empty image only if its soft map is needed."""
        outputs, size = self.options.outputs, picture.geometry.source
        if maps.empty_reason and not (outputs.soft or outputs.npy or self.truth):
            return Rendered(np.zeros(size, np.uint16), np.zeros(size, np.float32))
        return render(maps, picture.geometry, picture.source_CHW, refine=self.options.refines)

    def _write_maps(self, stem: str, picture: SegmentImage, rendered: Rendered, maps: PatchMaps) -> None:
        labels_HW, soft_HW = rendered
        write_image_file(self.folder.masks, stem, ".png", label_png(labels_HW))
        if place := georeference_of(self.images.path(picture.image)):
            write_image_file(self.folder.geotiff, stem, ".tif", label_geotiff(labels_HW, place))
        if self.options.outputs.soft:
            write_image_file(self.folder.soft, stem, ".png", soft_png(soft_HW))
        if self.options.outputs.npy:
            write_image_file(self.folder.soft, stem, ".npy", soft_npy(soft_HW))
        if self.options.outputs.overlay:
            write_image_file(self.folder.overlays, stem, ".jpg", overlay_jpeg(shown(picture), labels_HW))
        for name, extra_map in maps.extra_maps.items() if self.options.outputs.maps else ():
            write_image_file(self.folder.maps, f"{stem}.{name}", ".png", map_png(extra_map))
        if maps.distances_Fhw is not None:
            write_image_file(self.folder.distances, stem, ".npy", soft_npy(maps.distances_Fhw))

    def _truth(self, picture: SegmentImage) -> NDArray[np.int64] | None:
        name = self.images.names[picture.image]
        if self.truth is None or name not in self.truth:
            return None
        return boxed(self.truth.read(name, whole_size(picture)), picture)

    def _scores(
        self, picture: SegmentImage, truth_HW: NDArray[np.int64] | None, maps: PatchMaps, rendered: Rendered
    ) -> Mapping[str, float]:
        """Add an image to the scorer, and return its overlap with the ground truth."""
        if truth_HW is None:
            return {}
        if maps.threshold >= 0:
            flagged = bool(rendered.labels_HW.any())
            self.scorer.add_image(maps.score, defective=bool(truth_HW.any()), flagged=flagged)
        heads_AHW = None
        if maps.heads_nhw is not None:
            whole = slice(0, picture.geometry.source[0])
            heads_AHW = picture.geometry.upsampled(maps.heads_nhw.astype(np.float32), whole) > 0.5
        return self.scorer.add(truth_HW, *rendered, dense=maps.threshold < 0, heads_AHW=heads_AHW)
