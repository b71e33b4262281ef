"""A video as a folder of frames, so that everything that reads images reads it."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dinocli.errors import DataError, WeightsError
from dinocli.files import write_atomic
from dinocli.progress import ProgressReporter

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")


def is_video(inputs: tuple[str, ...]) -> bool:
    """Whether a video was named, which then has to be the only input."""
    return len(inputs) == 1 and inputs[0].lower().endswith(SUFFIXES)


def unpack(video: Path, folder: Path, *, again: bool, reporter: ProgressReporter) -> Path:
    """Write the frames of a video as PNG, numbered from 000000 in the order in which they are shown.

    Frames take room on the disk, but can be looked at, and an interrupted command finds them again.

    Args:
        video: The file.
        folder: Gets a folder of frames with the name of the video.
        again: Without what an earlier command left there.
        reporter: Is told the progress.

    Returns:
        The folder of the frames.

    Raises:
        DataError: It cannot be read, or holds no frame.
        WeightsError: PyAV is not installed.
    """
    frames = folder / video.stem
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    frames.mkdir(parents=True, exist_ok=True)
    count = 0
    for number, image in enumerate(_frames(video)):
        path = frames / f"{number:06}.png"
        count = number + 1
        if not path.is_file():
            file = io.BytesIO()
            image.save(file, "png", compress_level=1)
            write_atomic(path, file.getvalue())
    if not count:
        raise DataError(f"{video} holds no frame; check it in a player")
    reporter.line(f"{count} frames of {video} in {frames}")
    return frames


def _frames(video: Path) -> Iterator[Image.Image]:
    try:
        import av
    except ImportError:
        raise WeightsError("reading a video needs PyAV: pip install 'dinocli[video]'") from None
    try:
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                pixels = frame.to_ndarray(format="rgb24")
                # The turn is a note beside the pixels, as in a photograph: counter-clockwise degrees.
                yield Image.fromarray(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90))))
    except (OSError, IndexError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{video} cannot be read as a video ({reason.lower()})") from error
