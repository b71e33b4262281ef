"""Errors of `segment` that need neither torch nor an image: outputs that exist, and no run to take inputs from."""

from pathlib import Path

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.errors import UsageError
from dinocli.file_set import LOCK_NAME
from dinocli.tasks.inputs import check_inputs
from dinocli.tasks.segment.segment_options import SegmentOptions

DETECTOR_RECORD = "detector.json"


def check_early(options: SegmentOptions) -> None:
    """Raise the errors that need neither torch nor an image.

    Raises:
        UsageError: An output exists.
        DinocliError: As `check_inputs`.
    """
    if options.out:
        if not (Path(options.out) / LOCK_NAME).exists():  # else another process may write it, which the lock will say
            check_free(MaskFolder(Path(options.out)), options)
        if options.save_detector:
            check_new_detector(options)
    if not options.maps_from and (options.out or options.inputs):
        check_inputs(options, weights=options.detector)


def check_free(folder: MaskFolder, options: SegmentOptions) -> None:
    """Raise `UsageError` if the output exists and neither --resume nor --force was given."""
    folder.check_free(resume=options.resume, force=options.force)
    if options.outputs.coco and Path(options.outputs.coco).exists() and not (options.resume or options.force):
        raise UsageError(f"{options.outputs.coco} is there already; add --force to replace it, or name another --coco")


def check_new_detector(options: SegmentOptions) -> None:
    """Raise `UsageError` if the detector cannot be saved there, before any long work."""
    folder = Path(options.save_detector)
    if options.method not in ("auto", "anomaly") or options.propagate or options.maps_from or options.detector:
        raise UsageError("--save-detector keeps what --method anomaly has fitted: use it with that method")
    if not folder.exists():
        return
    if not (folder / DETECTOR_RECORD).is_file():
        raise UsageError(f"{folder} is there and no detector: choose another --save-detector")
    if not (options.force or options.resume):
        raise UsageError(f"{folder} is there already; add --force to replace it, or choose another --save-detector")
