"""Detector: a fitted anomaly method with its weights, as one folder, for later images.

    detector/
      backbone/             the weights; timm.create_model("local-dir:detector/backbone", pretrained=True)
      anomaly.safetensors   the memory banks, and the scale of distances
      detector.json         size, canvas, stride, tiles and threshold, and the SHA-256 of the files

The hashes are checked: mixed files of two detectors would silently give wrong answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dinocli import __version__
from dinocli.artifacts.mask_folder import DETECTOR_RECORD
from dinocli.artifacts.run_folder import SCHEMA
from dinocli.config.preprocess import Preprocess
from dinocli.errors import WeightsError
from dinocli.files import atomic_folder
from dinocli.models.backbone import Backbone
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import sha256_of
from dinocli.models.weights_info import WeightsInfo
from dinocli.segmentation.anomaly import FEATURES, FittedAnomaly
from dinocli.segmentation.anomaly_file import load_anomaly, save_anomaly
from dinocli.segmentation.anomaly_threshold import parse_threshold
from dinocli.segmentation.feature_extraction import grid_layout
from dinocli.segmentation.patch_geometry import MAX_LONG_SIDE
from dinocli.stored import AnyJson, Count, Name, Stored, read_json, write_json

BACKBONE, LEARNT = "backbone", "anomaly.safetensors"
_FILES = (f"{BACKBONE}/config.json", f"{BACKBONE}/model.safetensors", LEARNT)

RecordedCanvas = Annotated[list[Annotated[int, Field(gt=0, le=2 * MAX_LONG_SIDE)]], Field(min_length=2, max_length=2)]


class DetectorRecord(Stored):
    """`detector.json`; without canvas and precision before they were recorded, without canvas if images had several."""

    threshold: str
    size: Count
    canvas: RecordedCanvas | None = None
    stride: Count
    tile: str
    features: Literal["fine", "coarse", "both"]
    precision: Literal["", "fp32", "bf16", "fp16"] = ""
    refine: bool
    min_area: Count | None
    weights: AnyJson
    sha256: dict[str, Name]


@dataclass(frozen=True)
class Detector:
    """A loaded detector.

    Args:
        folder: Detector folder.
        record: Contents of `detector.json`.
        fitted: The fitted method.
    """

    folder: Path
    record: Mapping[str, Any]
    fitted: FittedAnomaly

    @property
    def backbone(self) -> Path:
        """Folder of the weights."""
        return self.folder / BACKBONE

    @property
    def digest(self) -> str:
        """Hashes of its files."""
        return " ".join(self.record["sha256"][name] for name in _FILES)


def save_detector(
    folder: Path,
    fitted: FittedAnomaly,
    backbone: Backbone,
    info: WeightsInfo,
    preprocess: Preprocess,
    settings: Mapping[str, Any],
) -> None:
    """Write the folder atomically; an existing detector is replaced.

    Args:
        folder: Output folder.
        fitted: The fitted method.
        backbone: The weights.
        info: Origin of the weights.
        preprocess: Preprocessing of the weights.
        settings: Threshold, size, stride, tile, features, precision, refine and min_area, as in `DetectorRecord`.
    """
    with atomic_folder(folder) as part:
        save_backbone(part / BACKBONE, backbone, info, preprocess)
        save_anomaly(part / LEARNT, fitted.scale, fitted.banks)
        record = {
            "schema": SCHEMA,
            "kind": "detector",
            **settings,
            "canvas": fitted.grid and grid_layout(backbone, fitted.feature_kind).canvas(fitted.grid),
            "parameters": dict(fitted.parameters),
            "weights": info.to_dict(),
            "sha256": {file: sha256_of(part / file) for file in _FILES},
            "dinocli": __version__,
        }
        write_json(part / DETECTOR_RECORD, record)


def load_detector(folder: Path, threshold: str = "") -> Detector:
    """Load a detector.

    Args:
        folder: Detector folder.
        threshold: `--threshold`; empty for that of the detector.

    Raises:
        WeightsError: The folder is missing, damaged, or mixes files of two detectors.
    """
    record = read_json(folder / DETECTOR_RECORD, DetectorRecord, "save the detector again with --save-detector")
    for name in _FILES:
        path = folder / name
        if not path.is_file() or sha256_of(path) != record["sha256"].get(name):
            raise WeightsError(f"{path} is not the file that {DETECTOR_RECORD} names: save the detector again")
    learnt = load_anomaly(folder / LEARNT)
    if len(learnt.banks) != (2 if record["features"] == "both" else 1):
        raise WeightsError(f"{folder / LEARNT} does not hold the banks of {record['features']} features: save it again")
    kind, parsed = FEATURES[record["features"]], parse_threshold(threshold or record["threshold"])
    return Detector(folder, record, FittedAnomaly(learnt.banks, learnt.scale, parsed, feature_kind=kind))
