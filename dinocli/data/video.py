"""Unpack a video to a folder of frames, which is then read like any images."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dinocli.errors import DataError, WeightsError, one_line
from dinocli.files import write_atomic

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")


def is_video(inputs: tuple[str, ...]) -> bool:
    """Return whether the only input is a video."""
    return len(inputs) == 1 and inputs[0].lower().endswith(SUFFIXES)


def unpack(video: Path, folder: Path) -> int:
    """Write the frames of a video as PNG, numbered from 000000 in presentation order; return their number.

    Frames take disk space, but can be viewed, and an interrupted command reuses them.

    Args:
        video: Video file.
        folder: Output folder; created, and empty before.

    Raises:
        DataError: The video cannot be read, or holds no frame.
        WeightsError: PyAV is not installed.
    """
    folder.mkdir(parents=True)
    count = 0
    for image in _frames(video):
        file = io.BytesIO()
        image.save(file, "png", compress_level=1)
        write_atomic(folder / f"{count:06}.png", file.getvalue())
        count += 1
    if not count:
        raise DataError(f"{video} holds no frame; check it in a player")
    return count


def _frames(video: Path) -> Iterator[Image.Image]:
    try:
        import av
    except ImportError:
        raise WeightsError("reading a video needs PyAV: pip install 'dinocli[video]'") from None
    try:
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                pixels = frame.to_ndarray(format="rgb24")
                # The rotation is metadata, as in a photograph: degrees counter-clockwise.
                yield Image.fromarray(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90))))
    except (OSError, IndexError, av.FFmpegError) as error:
        raise DataError(f"{video} cannot be read as a video ({one_line(error)})") from error
