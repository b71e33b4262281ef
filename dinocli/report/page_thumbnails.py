"""Thumbnails of a page of any number of images: embedded, or in a folder beside it."""

from collections.abc import Sequence
from pathlib import Path

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.file_set import FileSet
from dinocli.files import named_errors
from dinocli.progress import ProgressReporter
from dinocli.report.picture import Picture
from dinocli.report.thumbnails import SUFFIX, Thumbnails

SIDE = 96
EMBEDDED_BYTES = 24 << 20
"""Maximum size of embedded thumbnails, about 12,000; if there are more, all are written to the folder."""


def page_thumbnails(
    images: FeatureFile, rows: Sequence[int], folder: Path, files: FileSet, reporter: ProgressReporter
) -> list[Picture | Path]:
    """Encode thumbnails; if they are too large to embed, write all of them to files.

    Args:
        images: All rows.
        rows: The shown ones.
        folder: Folder of the files.
        files: File set that the folder joins.
        reporter: Receives the progress.
    """
    part, thumbnails, total = None, list[Picture | Path](), 0
    for number, picture in enumerate(Thumbnails(images, SIDE).encoded(rows)):
        total += len(picture.data)
        if total > EMBEDDED_BYTES and part is None:
            part = files.new(folder)
            part.mkdir()
            for index, earlier in enumerate(thumbnails):
                assert isinstance(earlier, Picture)
                thumbnails[index] = _write(folder, part, index, earlier)
        thumbnails.append(_write(folder, part, number, picture) if part else picture)
        reporter.progress("thumbnails", number + 1, len(rows))
    return thumbnails


def _write(folder: Path, part: Path, number: int, picture: Picture) -> Path:
    """Write a thumbnail to the hidden folder; return its final path."""
    name = f"{number}{SUFFIX}"
    with named_errors(part / name):
        (part / name).write_bytes(picture.data)
    return folder / name
