"""Source of stored distances: apply another threshold without the network (`segment --from`).

The anomaly method stores the distance of each patch to the memory bank, and the scale of distances. Images are read
again for edge refinement and pages; nothing else is computed.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.config.load import load_recipe
from dinocli.data.bad_images import read_bad
from dinocli.data.sources import ImageList
from dinocli.errors import DataError, UsageError
from dinocli.segmentation.anomaly_file import load_anomaly
from dinocli.segmentation.anomaly_threshold import parse_threshold
from dinocli.segmentation.method import PatchMaps
from dinocli.segmentation.output_names import output_stems
from dinocli.segmentation.segment_images import SegmentImage, SegmentReader
from dinocli.stored import AnyJson, Count, Name, Stored, read_json, reading
from dinocli.tasks.segment.segment_options import MethodUsed, SegmentOptions
from dinocli.tasks.segment.segment_plan import SegmentInputs, SegmentPlan

_ADVICE = "segment the images again"


class MethodRecord(Stored):
    """Method of a `segment` output folder."""

    name: str
    parameters: AnyJson = Field(default_factory=dict)


class ReadingRecord(Stored):
    """Preprocessing and layout of the images."""

    preprocess: AnyJson
    size: Count
    layout: list[Count] = Field(min_length=3, max_length=3)
    tiled: bool


class MasksRecord(Stored):
    """`segment.json`, as far as stored distances need it."""

    method: MethodRecord
    root: Name
    weights: AnyJson
    reading: ReadingRecord
    request: AnyJson


class StoredMaps:
    """Distances of an earlier command with a new threshold.

    Args:
        options: Options with `maps_from`, the earlier output folder.

    Attributes:
        options: As given.
        inputs: Images of the earlier command.

    Raises:
        UsageError: An option that the earlier command determined, or a folder without distances.
        WeightsError: A file of the folder is missing or damaged.
    """

    def __init__(self, options: SegmentOptions) -> None:
        _check_options(options)
        self._folder, self.options = MaskFolder(Path(options.maps_from)), options
        manifest = read_json(self._folder.manifest, MasksRecord, _ADVICE)
        if manifest["method"]["name"] != "anomaly":
            raise UsageError(
                f"--from {options.maps_from} holds masks of {manifest['method']['name']}; distances that can be "
                f"thresholded again are kept by --method anomaly alone"
            )
        self._manifest = manifest
        self._threshold = parse_threshold(str(options.method_options.get("threshold", "auto")))
        self._scale = load_anomaly(self._folder.anomaly).scale
        self._reader = SegmentReader.from_dict(manifest["reading"])
        with reading(self._folder.bad, _ADVICE):
            bad = read_bad(self._folder.bad)
        images = ImageList(Path(manifest["root"]), _names(self._folder.table), bad)
        self._stems = output_stems(images.names)
        given = {"max_bad": options.read.max_bad or None, "workers": options.read.workers}
        data = load_recipe(()).data
        data = data.model_validate(
            data.model_dump() | {key: value for key, value in given.items() if value is not None}
        )
        self.inputs = SegmentInputs(images, manifest["weights"], data, None)
        features = {name: value for name, value in manifest["method"]["parameters"].items() if name == "features"}
        parameters = {**features, **self._scale.parameters(self._threshold)}
        self._method = MethodUsed("anomaly", f"distances of {options.maps_from}", parameters)

    def request(self) -> dict[str, Any]:
        """Return the settings that determine the masks, besides the options."""
        return {"from": self._manifest["request"], "images": self.inputs.images.digest()}

    def forecast(self) -> dict[str, Any]:
        """Return the number of images, and the method, as JSON-like data."""
        return {"out": self.options.out, "images": len(self.inputs.images), **self._method.to_dict()}

    def plan(self) -> SegmentPlan:
        """Return the maps; nothing has to be fitted."""
        return SegmentPlan(self._reader, self._method, self._maps, self._scale)

    def _maps(self, picture: SegmentImage) -> PatchMaps:
        """Return the maps of one image from its stored distances.

        Raises:
            DataError: The image has changed since.
            WeightsError: Its distances are missing or damaged.
        """
        distances_hw = self._distances(self._stems[picture.image])
        if distances_hw.shape != picture.geometry.grid:
            raise DataError(
                f"{self.inputs.images.names[picture.image]} has changed since its distances were stored: a grid of "
                f"{picture.geometry.grid} where {distances_hw.shape} are; {_ADVICE}"
            )
        return self._scale.judge(distances_hw, self._threshold)

    def _distances(self, stem: str) -> NDArray[np.float32]:
        path = self._folder.distances / f"{stem}.npy"
        with reading(path, _ADVICE):
            distances_hw = np.load(path, allow_pickle=False)
            if distances_hw.dtype != np.float32 or distances_hw.ndim != 2 or not np.isfinite(distances_hw).all():
                raise ValueError(f"an array of {distances_hw.dtype} {distances_hw.shape} where distances belong")
        return np.asarray(distances_hw, np.float32)


def _check_options(options: SegmentOptions) -> None:
    """Refuse options that the earlier command determined."""
    weights = ("weights", "model", "reference", "detector", "save_detector")
    settled = (*weights, "size", "stride", "tile", "query", "propagate")
    given = [f"--{name.replace('_', '-')}" for name in settled if getattr(options, name)]
    given += [name for name in options.read.given() if name not in ("--max-bad", "--workers")]
    given += [f"--{name}" for name in options.method_options if name != "threshold"]
    given += ["IMAGES"] if options.inputs else []
    if given:
        raise UsageError(f"--from {options.maps_from} settles {', '.join(given)}: leave it out")
    if options.method not in ("auto", "anomaly"):
        raise UsageError(f"--from takes up --method anomaly, not {options.method}: leave --method out")


def _names(table: Path) -> list[str]:
    """Return the image names of `segments.csv` without duplicates."""
    with reading(table, _ADVICE), table.open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row["image"] for row in csv.DictReader(file)))
