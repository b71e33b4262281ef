"""The folder of a segmentation: what lies where, and how an interrupted one is continued.

Each image's files are written whole, into a hidden folder; then one line with its record goes to a hidden journal and
to the disk. So whatever ends the process, the lines tell which images are done. When all are, the tables are made of
the journal, and everything takes the place of an older result at once.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from dinocli.artifacts.run_folder import SCHEMA
from dinocli.errors import UsageError
from dinocli.file_set import LOCK, FileSet
from dinocli.files import remove_abandoned, remove_path, write_whole
from dinocli.journal import Journal
from dinocli.segmentation.regions import ImageRecord
from dinocli.stored import Anything, Count, Stored, checked, reading

PART, LOG = ".part", ".segment.jsonl"
OWN = (
    *("masks", "soft", "distances", "overlays", "maps", "labels", "gallery"),
    *("anomaly.safetensors", "classes.txt", "segments.csv", "groups.csv", "images.bad.csv", "report.html"),
)
"""What a result consists of, besides `segment.json`; all else in the folder is the user's."""


class MaskFolder:
    """Names of what is in it.

    Args:
        path: Of the folder.
        final: Where it will be when it is complete, if that is another place.
    """

    def __init__(self, path: Path, final: Path | None = None) -> None:
        self.path, self.final = path, final or path
        self.masks = path / "masks"
        self.soft = path / "soft"
        self.distances = path / "distances"
        self.learnt = path / "anomaly.safetensors"
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
        self.log = path / LOG

    @property
    def part(self) -> "MaskFolder":
        """The hidden folder that a result grows in."""
        return MaskFolder(self.path / PART, self.path)

    def about(self) -> dict[str, Any]:
        """Read `segment.json`; empty if it is not there."""
        try:
            data = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def write_about(self, about: dict[str, Any]) -> None:
        """Write `segment.json`, which says: complete."""
        write_whole(self.manifest, json.dumps({"schema": SCHEMA, **about}, indent=2, ensure_ascii=False) + "\n")

    def check_free(self, *, resume: bool, force: bool) -> None:
        """Raise a `UsageError` if something is there and nobody said what to do with it.

        Only what this command made is ever replaced: a folder `masks` may as well hold somebody's truth.
        """
        if not self.path.exists() or all(path.name == LOCK for path in self.path.iterdir()):
            return
        ours = self.manifest.is_file() or self.log.is_file()
        if not ours:
            raise UsageError(f"{self.path} is not empty and not made by `dinocli segment`: choose another --out")
        if not (resume or force):
            raise UsageError(f"{self.path} is there already; add --resume to continue, --force to replace it")

    def begin(self) -> None:
        """Make the folder and mark it as ours, before anything that takes long."""
        if not self.manifest.is_file() and not self.log.is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            self.log.touch()

    def file_set(self) -> FileSet:
        """Return the files that change together; the change that a dead process began is finished first."""
        return FileSet(self.manifest, (*OWN, PART, LOG))

    def clear(self) -> None:
        """Make an empty hidden folder for a new result; a complete older one stays."""
        self.file_set()
        remove_path(self.part.path)
        self.part.path.mkdir(parents=True)

    def publish(self, files: FileSet) -> None:
        """Let what is in the hidden folder, and the set, take the place of an older result."""
        part = self.part.path
        for name in OWN:
            if (part / name).exists():
                files.take(self.path / name, part / name)
            else:
                files.drop(self.path / name)
        files.take(self.manifest, self.part.manifest)
        files.drop(self.log)
        files.drop(part)
        files.swap()


class SegmentJournalLine(Stored):
    """An image that is done: its record, or why it cannot be read."""

    image: Count
    record: Anything | None = None
    bad: list[str] = Field(default_factory=list, max_length=2)


class SegmentJournal:
    """Records of the images that are done.

    Args:
        folder: Of the results.
        request: What determines them, as JSON-like data; only the same request may continue.
        resume: Take over what is there.

    Attributes:
        done: Places in the list of the images that need no second look.
        bad: Names and reasons of unreadable ones among them.

    Raises:
        UsageError: What is there was made for another request.
    """

    def __init__(self, folder: MaskFolder, request: dict[str, Any], *, resume: bool) -> None:
        self._journal = Journal(folder.log)
        self.done: set[int] = set()
        self.bad: list[tuple[str, str]] = []
        if not (resume and self._found(folder, request)):
            folder.clear()
            self._journal.begin(request)

    def add(self, image: int, record: ImageRecord) -> None:
        """Note that an image is done; its files are written already."""
        self.done.add(image)
        self._journal.append({"image": image, "record": record.to_dict()})

    def add_bad(self, image: int, name: str, reason: str) -> None:
        """Note that an image cannot be read."""
        self.done.add(image)
        self.bad.append((name, reason))
        self._journal.append({"image": image, "bad": [name, reason]})

    def __iter__(self) -> Iterator[ImageRecord]:
        """Read the records from the disk, in the order in which they were made: that of the images."""
        for line in self._journal:
            if line.get("record") is not None:
                yield ImageRecord.from_dict(line["record"])

    def _found(self, folder: MaskFolder, request: dict[str, Any]) -> bool:
        """Take over what an earlier process left, if it left anything of use."""
        lines = self._journal.found(request, str(folder.path))
        if lines is None or not folder.part.path.is_dir():
            return False
        with reading(self._journal.path, "add --force to begin anew"):
            for line in (checked(line, SegmentJournalLine) for line in lines):
                self.done.add(line["image"])
                if line["bad"]:
                    self.bad.append((line["bad"][0], line["bad"][1]))
                if line["record"] is not None:
                    ImageRecord.check(line["record"])
        for inner, _, _ in os.walk(folder.part.path):
            remove_abandoned(Path(inner))
        return True
