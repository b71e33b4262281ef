"""Detectors of `segment`: the options that one settles, and the settings that one keeps."""

from dataclasses import replace
from pathlib import Path

from dinocli.artifacts.detector_folder import Detector, load_detector, save_detector
from dinocli.config.preprocess import STORED_READING
from dinocli.errors import UsageError
from dinocli.files import user_path
from dinocli.segmentation.anomaly import FittedAnomaly
from dinocli.segmentation.method import FittedMethod
from dinocli.tasks.embed.embed_setup import EmbedContext
from dinocli.tasks.segment.segment_options import SegmentOptions


def keep_detector(options: SegmentOptions, context: EmbedContext, name: str, fitted: FittedMethod) -> None:
    """Save the fitted method of a command, by its name, with the weights.

    Raises:
        UsageError: The method is not anomaly.
    """
    if not isinstance(fitted, FittedAnomaly):
        raise UsageError(f"--save-detector keeps --method anomaly, and this folder got {name}: name it")
    settings = {
        "threshold": str(options.method_options.get("threshold", "auto")),
        "size": options.canvas_side,
        "features": fitted.features,
        "precision": context.precision,
        "refine": options.refines,
        **{key: getattr(options, key) for key in ("stride", "tile", "min_area")},
    }
    save_detector(Path(options.save_detector), fitted, context.backbone, context.info, context.preprocess, settings)


def open_detector(options: SegmentOptions) -> tuple[Detector, SegmentOptions]:
    """Load the detector of the options, and complete them by its settings.

    Raises:
        UsageError: An option that the detector determines was given.
        WeightsError: The folder is missing, damaged, or mixes files of two detectors.
    """
    given = [name for name in options.read.given() if name in STORED_READING]
    options.check_settled(f"--detector {options.detector}", ("maps_from",), given)
    detector = load_detector(user_path(options.detector), str(options.method_options.get("threshold", "")))
    record = detector.record
    settled = replace(
        options,
        **{key: record[key] for key in ("size", "stride", "tile")},
        method="anomaly",
        weights=str(detector.backbone),
        precision=record["precision"] if options.precision == "auto" and record["precision"] else options.precision,
        **{key: record[key] for key in ("refine", "min_area") if getattr(options, key) is None},
    )
    return detector, settled
