"""The folder of a segmentation: what lies where, and how an interrupted one goes on.

Each image's files are written whole; then one line with its record goes to a hidden log and to the disk. So whatever
ends the process, the lines tell which images are done. When all are, the tables are made of the log, and the log goes.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinocli.errors import UsageError
from dinocli.files import write_whole
from dinocli.tasks.artifacts import check_same
from dinocli.tasks.run_folder import SCHEMA
from dinocli.tasks.segment.regions import ImageRecord


class MaskFolder:
    """Names of what is in it.

    Args:
        path: Of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.masks = path / "masks"
        self.soft = path / "soft"
        self.overlays = path / "overlays"
        self.maps = path / "maps"
        self.labels = path / "labels"
        self.gallery = path / "gallery"
        self.frames = path / "frames"
        self.classes = path / "classes.txt"
        self.table = path / "segments.csv"
        self.bad = path / "images.bad.csv"
        self.report = path / "report.html"
        self.manifest = path / "segment.json"
        self.log = path / ".segment.jsonl"

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
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        ours = self.manifest.is_file() or self.log.is_file()
        if not ours:
            raise UsageError(f"{self.path} is not empty and not made by `dinocli segment`: choose another --out")
        if not (resume or force):
            raise UsageError(f"{self.path} is there already; add --resume to go on, --force to replace it")

    def begin(self) -> None:
        """Make the folder and mark it as ours, before anything that takes long."""
        if not self.manifest.is_file() and not self.log.is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            self.log.touch()

    def clear(self) -> None:
        """Make the folder, without what an earlier command of ours left in it."""
        if self.manifest.is_file() or self.log.is_file():
            for folder in (self.masks, self.soft, self.overlays, self.maps, self.labels, self.gallery):
                shutil.rmtree(folder, ignore_errors=True)
            for file in (self.classes, self.table, self.bad, self.report, self.manifest, self.log):
                file.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)


class SegmentJournal:
    """Records of the images that are done.

    Args:
        folder: Of the results.
        request: What determines them, as JSON-like data; only the same request may go on.
        resume: Take over what is there.

    Attributes:
        done: Places in the list of the images that need no second look.
        bad: Names and reasons of unreadable ones among them.

    Raises:
        UsageError: What is there was made for another request.
    """

    def __init__(self, folder: MaskFolder, request: dict[str, Any], *, resume: bool) -> None:
        self.path = folder.log
        self.done: set[int] = set()
        self.bad: list[tuple[str, str]] = []
        if not (resume and self._found(request)):
            folder.clear()
            self._append({"request": request})

    def add(self, image: int, record: ImageRecord) -> None:
        """Note that an image is done; its files are written already."""
        self.done.add(image)
        self._append({"image": image, "record": record.to_dict()})

    def add_bad(self, image: int, name: str, reason: str) -> None:
        """Note that an image cannot be read."""
        self.done.add(image)
        self.bad.append((name, reason))
        self._append({"image": image, "bad": [name, reason]})

    def __iter__(self) -> Iterator[ImageRecord]:
        """Read the records from the disk, in the order in which they were made: that of the images."""
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                data = json.loads(line)
                if "record" in data:
                    yield ImageRecord.from_dict(data["record"])

    def remove(self) -> None:
        """Let go of the log, once everything was made of it."""
        self.path.unlink(missing_ok=True)

    def _append(self, data: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(data, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _found(self, request: dict[str, Any]) -> bool:
        """Take over what an earlier process left, if it left anything of use."""
        with contextlib.suppress(OSError):
            whole = self.path.read_bytes().rpartition(b"\n")[0]
            first, *lines = whole.split(b"\n")
            if not first:
                return False
            check_same(json.loads(first)["request"], request, str(self.path.parent))
            for data in map(json.loads, lines):
                self.done.add(data["image"])
                if "bad" in data:
                    self.bad.append((data["bad"][0], data["bad"][1]))
            self.path.write_bytes(whole + b"\n")  # without the half line that the end of the process cut off
            return True
        return False
