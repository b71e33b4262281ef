"""Output folder of `segment`: file layout, and how a new result replaces an older one.

The files of an image are written atomically into a hidden folder; then its record is appended to a hidden journal
(`segment_journal`) and synced to disk. After a crash the journal says which images are complete. When all are, the
tables are written from the journal, and the new result replaces the old one as a whole.
"""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dinocli.artifacts.run_folder import SCHEMA
from dinocli.data.bad_images import read_bad
from dinocli.errors import UsageError
from dinocli.file_set import LOCK_NAME, FileSet
from dinocli.files import remove_path, user_path
from dinocli.stored import AnyJson, Count, Name, Stored, read_json, reading, write_json

PARTIAL_FOLDER, JOURNAL_FILE = ".part", ".segment.jsonl"
RESULT_FILES = (
    *("masks", "geotiff", "soft", "distances", "overlays", "maps", "labels", "gallery"),
    *("anomaly.safetensors", "classes.txt", "segments.csv", "groups.csv", "images.bad.csv", "report.html"),
)
"""Files and folders of a result besides `segment.json`; all others belong to the user."""

DETECTOR_RECORD = "detector.json"
"""File by which a folder is a detector (`detector_folder`); named here, where no module loads torch."""

READ_ADVICE = "segment the images again"


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


class MaskFolder:
    """Paths of the files in a `segment` output folder.

    Args:
        path: The folder.
        final: Folder of the complete result, if `path` is the hidden folder.
    """

    def __init__(self, path: Path, final: Path | None = None) -> None:
        self.path, self.final = path, final or path
        self.masks = path / "masks"
        self.geotiff = path / "geotiff"
        self.soft = path / "soft"
        self.distances = path / "distances"
        self.anomaly = path / "anomaly.safetensors"
        self.overlays = path / "overlays"
        self.maps = path / "maps"
        self.labels = path / "labels"
        self.gallery = path / "gallery"
        self.frames = path / "frames"
        self.classes = path / "classes.txt"
        self.table = path / "segments.csv"
        self.groups = path / "groups.csv"
        self.bad = path / "images.bad.csv"
        self.report = path / "report.html"
        self.manifest = path / "segment.json"
        self.journal = path / JOURNAL_FILE

    @property
    def partial(self) -> "MaskFolder":
        """The hidden folder of an incomplete result."""
        return MaskFolder(self.path / PARTIAL_FOLDER, self.path)

    def read_manifest(self) -> dict[str, Any]:
        """Read `segment.json`; empty if it is missing or damaged."""
        try:
            data = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def read_record(self) -> dict[str, Any]:
        """Read `segment.json` of a complete result.

        Raises:
            WeightsError: The file is missing or damaged.
        """
        return read_json(self.manifest, MasksRecord, READ_ADVICE)

    def read_names(self) -> list[str]:
        """Return the image names of `segments.csv`, in order.

        Raises:
            WeightsError: The table is missing or damaged.
        """
        with reading(self.table, READ_ADVICE), self.table.open(encoding="utf-8", newline="") as file:
            return list(dict.fromkeys(row["image"] for row in csv.DictReader(file)))

    def read_bad(self) -> list[tuple[str, str]]:
        """Return name and reason of the unreadable images."""
        with reading(self.bad, READ_ADVICE):
            return read_bad(self.bad)

    def read_distances(self, stem: str, kinds: int) -> NDArray[np.float32]:
        """Return the distances of an image, (F, h, w).

        Args:
            stem: Path of the file below `distances/`, without its suffix.
            kinds: F, the number of kinds of features.

        Raises:
            WeightsError: The file is missing or damaged.
        """
        path = self.distances / f"{stem}.npy"
        with reading(path, READ_ADVICE):
            maps_Fhw = np.load(path, allow_pickle=False)
            fits = maps_Fhw.dtype == np.float32 and maps_Fhw.ndim == 3 and len(maps_Fhw) == kinds
            if not fits or not np.isfinite(maps_Fhw).all():
                raise ValueError(f"an array of {maps_Fhw.dtype} {maps_Fhw.shape} where distances belong")
        return np.asarray(maps_Fhw, np.float32)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write `segment.json`, which marks the result as complete."""
        write_json(self.manifest, {"schema": SCHEMA, **manifest})

    def check_free(self, *, resume: bool, force: bool) -> None:
        """Raise `UsageError` if the output exists and neither --force nor --resume was given.

        Only output of this command is replaced: a folder `masks` may hold a user's true masks.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: choose another --out")
        if not self.path.exists() or all(path.name == LOCK_NAME for path in self.path.iterdir()):
            return
        if not (self.manifest.is_file() or self.journal.is_file()):
            raise UsageError(f"{self.path} is not empty and not made by `dinocli segment`: choose another --out")
        if not (resume or force):
            raise UsageError(f"{self.path} already exists; add --resume to continue, --force to replace it")

    def begin(self) -> None:
        """Create the folder and mark it as output of `segment`, before any long work."""
        if not self.manifest.is_file() and not self.journal.is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            self.journal.touch()

    def file_set(self) -> FileSet:
        """Return the set of files to replace together; this completes a replacement that a crash interrupted."""
        return FileSet(self.manifest, (*RESULT_FILES, PARTIAL_FOLDER, JOURNAL_FILE))

    def clear(self) -> None:
        """Empty the hidden folder for a new result, but for frames just unpacked; a complete older result stays."""
        self.file_set()
        partial = self.partial
        partial.path.mkdir(parents=True, exist_ok=True)
        for path in partial.path.iterdir():
            if path != partial.frames:
                remove_path(path)

    def published(self, root: Path) -> Path:
        """Return where the folder of the images is once the result is complete: frames leave the hidden folder."""
        hidden = os.path.abspath(self.partial.frames)
        return Path(os.path.abspath(self.frames), root.relative_to(hidden)) if root.is_relative_to(hidden) else root

    def publish(self, files: FileSet, root: Path) -> None:
        """Replace an older result by the files of the hidden folder and of the set.

        Args:
            files: Set of further files.
            root: Absolute folder of the images. Older frames stay unless it holds new ones: they may be the images.
        """
        partial = self.partial.path
        if self.published(root) != root:
            files.adopt(self.frames, self.partial.frames)
        for name in RESULT_FILES:
            if (partial / name).exists():
                files.adopt(self.path / name, partial / name)
            else:
                files.drop(self.path / name)
        files.adopt(self.manifest, self.partial.manifest)
        files.drop(self.journal)
        files.drop(partial)
        files.commit()


def is_detector(path: str) -> bool:
    """Return whether a path is the folder of a detector."""
    return bool(path) and (user_path(path) / DETECTOR_RECORD).is_file()
