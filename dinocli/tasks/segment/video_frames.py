"""Frames of a video as the images of `segment`: unpacked into the hidden folder, and published with the masks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.data.image_source import size_and_mtime
from dinocli.data.video import is_video, unpack
from dinocli.errors import DataError, UsageError
from dinocli.file_set import created_folder
from dinocli.files import atomic_folder
from dinocli.journal import Journal, check_same
from dinocli.progress import ProgressReporter
from dinocli.tasks.segment.segment_options import SegmentOptions


def video_request(options: SegmentOptions) -> dict[str, Any]:
    """Return name, size and modification time of the video, for `--resume`; empty if the inputs are images.

    Raises:
        DataError: There is no such file.
        UsageError: `--root` with a video.
    """
    if not is_video(options.inputs):
        return {}
    video = Path(options.inputs[0])
    if options.read.root:
        raise UsageError(f"--root {options.read.root}: the frames of a video are named by their number; leave it out")
    try:
        size, modified = size_and_mtime(str(video))
    except OSError as error:
        raise DataError(f"{video} cannot be read as a video ({(error.strerror or str(error)).lower()})") from error
    return {"video": {"name": video.name, "bytes": size, "mtime_ns": modified}}


def with_frames(
    options: SegmentOptions, request: dict[str, Any], folder: MaskFolder, reporter: ProgressReporter
) -> SegmentOptions:
    """Replace a video by the folder of its frames.

    They are decoded once: `--resume` takes the frames that the interrupted or complete result was made from. Frames of
    an older result stay until the new one is complete.

    Args:
        options: Options with the video.
        request: `video_request` of it.
        folder: Output folder.
        reporter: Receives the number of frames.

    Raises:
        DataError: The video cannot be read.
        UsageError: `--resume` with another video.
        WeightsError: PyAV is not installed.
    """
    video = Path(options.inputs[0])
    if options.resume and (before := _earlier_request(folder)):
        check_same(before, request, str(folder.path))
        frames = (folder.partial if folder.journal.is_file() else folder).frames
    else:
        folder.begin()
        frames = folder.partial.frames
        with created_folder(folder.partial.path), atomic_folder(frames) as new:
            count = unpack(video, new / video.stem)
        reporter.line(f"{count} frames of {video}")
    return replace(options, inputs=(str(frames / video.stem),))


def _earlier_request(folder: MaskFolder) -> dict[str, Any]:
    """Return the request of an interrupted or complete result; empty before its journal was begun."""
    lines = iter(Journal(folder.journal)) if folder.journal.is_file() else iter([folder.read_manifest()])
    request = next(lines, {}).get("request")
    return request if isinstance(request, dict) else {}
