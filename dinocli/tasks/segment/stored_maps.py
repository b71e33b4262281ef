"""Source of stored distances: apply another threshold without the network (`segment --from`).

The anomaly method stores the distance of each patch to the memory bank, and the scale of distances. Images are read
again for edge refinement and pages; nothing else is computed.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dinocli.artifacts.mask_folder import READ_ADVICE, MaskFolder
from dinocli.data.image_list import ImageList, modified_words
from dinocli.errors import DataError, UsageError
from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly_file import load_anomaly
from dinocli.segmentation.anomaly_threshold import parse_threshold
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.output_names import output_stems
from dinocli.segmentation.segment_images import SegmentImage, SegmentReader
from dinocli.tasks.segment.segment_options import MethodUsed, SegmentOptions
from dinocli.tasks.segment.segment_plan import SegmentPlan


class StoredMaps:
    """Distances of an earlier command with a new threshold.

    Args:
        options: Options with `maps_from`, the earlier output folder.
        reporter: Receives a warning of images that were modified since.

    Attributes:
        options: As given.
        images: Images of the earlier command.
        run: None: the weights are not used.

    Raises:
        UsageError: An option that the earlier command determined, or a folder without distances.
        WeightsError: A file of the folder is missing or damaged.
    """

    def __init__(self, options: SegmentOptions, reporter: ProgressReporter) -> None:
        given = [name for name in options.read.given() if name not in ("--max-bad", "--workers")]
        given += ["IMAGES"] if options.inputs else []
        options.check_settled(f"--from {options.maps_from}", ("detector", "save_detector"), given)
        self._folder, self.options = MaskFolder(Path(options.maps_from)), options
        manifest = self._folder.read_record()
        if manifest["method"]["name"] != "anomaly":
            raise UsageError(
                f"--from {options.maps_from} holds masks of {manifest['method']['name']}; distances that can be "
                f"thresholded again are kept by --method anomaly alone"
            )
        self._manifest = manifest
        self._threshold = parse_threshold(str(options.method_options.get("threshold", "auto")))
        self._scale = load_anomaly(self._folder.anomaly).scale
        self._reader = SegmentReader.from_dict(manifest["reading"])
        self.images = ImageList(Path(manifest["root"]), self._folder.read_names(), self._folder.read_bad())
        if modified := self.images.modified_after(self._folder.manifest.stat().st_mtime):
            reporter.warn(
                f"{modified_words(modified)} after {options.maps_from} was written: the distances may be of other "
                f"images; {READ_ADVICE}"
            )
        self.run = None
        self._stems = output_stems(self.images.names)
        features = {name: value for name, value in manifest["method"]["parameters"].items() if name == "features"}
        parameters = {**features, **self._scale.parameters(self._threshold)}
        self._method = MethodUsed("anomaly", f"distances of {options.maps_from}", parameters)

    def request(self) -> dict[str, Any]:
        """Return the settings that determine the masks, besides the options."""
        return {"from": self._manifest["request"], "images": self.images.digest()}

    def forecast(self) -> dict[str, Any]:
        """Return the number of images, and the method, as JSON-like data."""
        return {"out": self.options.out, "images": len(self.images), **asdict(self._method)}

    def plan(self) -> SegmentPlan:
        """Return the maps; nothing has to be fitted."""
        weights, data = self._manifest["weights"], self.options.read.data()
        return SegmentPlan(self.images, weights, data, self._reader, self._method, self._maps, self._scale)

    def _maps(self, picture: SegmentImage) -> PatchMaps:
        """Return the maps of one image from its stored distances.

        Raises:
            DataError: The image has changed since.
            WeightsError: Its distances are missing or damaged.
        """
        kinds = len(self._scale.place_FPP)
        distances_Fhw = self._folder.read_distances(self._stems[picture.image], kinds)
        if distances_Fhw.shape[1:] != picture.geometry.grid:
            raise DataError(
                f"{self.images.names[picture.image]} has changed since its distances were stored: a grid of "
                f"{picture.geometry.grid} where {distances_Fhw.shape[1:]} are; {READ_ADVICE}"
            )
        return self._scale.judge(distances_Fhw, self._threshold)
