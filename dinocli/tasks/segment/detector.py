"""Detector: a fitted anomaly method with its weights, as one folder, for later images.

    detector/
      backbone/             the weights; timm.create_model("local-dir:detector/backbone", pretrained=True)
      anomaly.safetensors   the memory banks, and the scale of distances
      detector.json         size, stride, tiles and threshold, and the SHA-256 of the files

The hashes are checked: mixed files of two detectors would silently give wrong answers.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dinocli import __version__
from dinocli.artifacts.run_folder import SCHEMA
from dinocli.errors import UsageError, WeightsError
from dinocli.files import atomic_folder, user_path
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import sha256_of
from dinocli.segmentation.anomaly import FEATURES, FittedAnomaly
from dinocli.segmentation.anomaly_file import load_anomaly, save_anomaly
from dinocli.segmentation.anomaly_threshold import parse_threshold
from dinocli.segmentation.method import FittedMethod
from dinocli.stored import AnyJson, Count, Name, Stored, read_json, write_json
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.inputs import STORED_READING
from dinocli.tasks.segment.segment_options import DETECTOR_RECORD, SegmentOptions

BACKBONE, LEARNT = "backbone", "anomaly.safetensors"
_FILES = (f"{BACKBONE}/config.json", f"{BACKBONE}/model.safetensors", LEARNT)


class DetectorRecord(Stored):
    """`detector.json`."""

    threshold: str
    size: Count
    stride: Count
    tile: str
    features: Literal["fine", "coarse", "both"]
    refine: bool
    min_area: Count | None
    weights: AnyJson
    sha256: dict[str, Name]


@dataclass(frozen=True)
class Detector:
    """A loaded detector.

    Args:
        folder: Detector folder.
        options: Options of the command, completed by those of the detector.
        fitted: The fitted method.
        digest: Hashes of its files.
    """

    folder: Path
    options: SegmentOptions
    fitted: FittedAnomaly
    digest: str


def save_detector(options: SegmentOptions, context: EmbedContext, name: str, fitted: FittedMethod) -> None:
    """Write the folder atomically; an existing detector is replaced.

    Raises:
        UsageError: The method is not anomaly.
    """
    folder = Path(options.save_detector)
    if not isinstance(fitted, FittedAnomaly):
        raise UsageError(f"--save-detector keeps --method anomaly, and this folder got {name}: name it")
    with atomic_folder(folder) as part:
        save_backbone(part / BACKBONE, context.backbone, context.info, context.preprocess)
        save_anomaly(part / LEARNT, fitted.scale, fitted.banks)
        record = {
            "schema": SCHEMA,
            "kind": "detector",
            "threshold": str(options.method_options.get("threshold", "auto")),
            "size": options.canvas_side,
            "features": fitted.features,
            **{key: getattr(options, key) for key in ("stride", "tile", "refine", "min_area")},
            "parameters": dict(fitted.parameters),
            "weights": context.info.to_dict(),
            "sha256": {file: sha256_of(part / file) for file in _FILES},
            "dinocli": __version__,
        }
        write_json(part / DETECTOR_RECORD, record)


def open_detector(options: SegmentOptions) -> Detector:
    """Load the detector of the options.

    Raises:
        UsageError: An option that the detector determines was given.
        WeightsError: The folder is missing, damaged, or mixes files of two detectors.
    """
    folder = user_path(options.detector)
    given = [name for name in options.read.given() if name in STORED_READING]
    options.check_settled(f"--detector {options.detector}", ("maps_from",), given)
    record = read_json(folder / DETECTOR_RECORD, DetectorRecord, "save the detector again with --save-detector")
    for name in _FILES:
        path = folder / name
        if not path.is_file() or sha256_of(path) != record["sha256"].get(name):
            raise WeightsError(f"{path} is not the file that {DETECTOR_RECORD} names: save the detector again")
    learnt = load_anomaly(folder / LEARNT)
    if len(learnt.banks) != (2 if record["features"] == "both" else 1):
        raise WeightsError(f"{folder / LEARNT} does not hold the banks of {record['features']} features: save it again")
    threshold = str(options.method_options.get("threshold", record["threshold"]))
    kind = FEATURES[record["features"]]
    settled: dict[str, Any] = {key: record[key] for key in ("size", "stride", "tile")}
    smallest = record["min_area"] if options.min_area is None else options.min_area
    return Detector(
        folder,
        replace(
            options,
            **settled,
            method="anomaly",
            weights=str(folder / BACKBONE),
            refine=options.refine and record["refine"],
            min_area=smallest,
        ),
        FittedAnomaly(learnt.banks, learnt.scale, parse_threshold(threshold), feature_kind=kind),
        " ".join(record["sha256"][name] for name in _FILES),
    )
