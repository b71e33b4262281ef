"""Journal of `segment`: the record of each processed image, from which an interrupted result is continued."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.files import remove_abandoned
from dinocli.journal import Journal
from dinocli.segmentation.regions import ImageRecord
from dinocli.stored import AnyJson, Count, Stored, checked, reading


class SegmentJournalLine(Stored):
    """A processed image: its record, or the name and the reason why it cannot be read."""

    image: Count
    record: AnyJson | None = None
    bad: list[str] = Field(default_factory=list, max_length=2)


class SegmentJournal:
    """Journal of `segment`: the record of each processed image.

    Args:
        folder: Output folder.
        request: Options and inputs that determine the result, as JSON-like data; a resume needs the same ones.
        resume: Continue an interrupted result.

    Attributes:
        done: Indices of the processed images.
        bad: Names and reasons of the unreadable images among them.

    Raises:
        UsageError: The interrupted result belongs to another request.
    """

    def __init__(self, folder: MaskFolder, request: dict[str, Any], *, resume: bool) -> None:
        self._journal = Journal(folder.journal)
        self.done: set[int] = set()
        self.bad: list[tuple[str, str]] = []
        if not (resume and self._resume(folder, request)):
            folder.clear()
            self._journal.begin(request)

    def add(self, image: int, record: ImageRecord) -> None:
        """Append the record of an image whose files are written."""
        self.done.add(image)
        self._journal.append({"image": image, "record": record.to_dict()})

    def add_bad(self, image: int, name: str, reason: str) -> None:
        """Append the name of an unreadable image, with the reason."""
        self.done.add(image)
        self.bad.append((name, reason))
        self._journal.append({"image": image, "bad": [name, reason]})

    def __iter__(self) -> Iterator[ImageRecord]:
        """Read the records from disk, in the order in which the images were processed."""
        for line in self._journal:
            if line.get("record") is not None:
                yield ImageRecord.from_dict(line["record"])

    def _resume(self, folder: MaskFolder, request: dict[str, Any]) -> bool:
        """Load the journal of an interrupted result; False if there is none to continue."""
        lines = self._journal.resume(request, str(folder.path))
        if lines is None or not folder.partial.path.is_dir():
            return False
        with reading(self._journal.path, "add --force to begin again"):
            for line in (checked(line, SegmentJournalLine) for line in lines):
                self.done.add(line["image"])
                if line["bad"]:
                    self.bad.append((line["bad"][0], line["bad"][1]))
                if line["record"] is not None:
                    ImageRecord.check(line["record"])
        for subfolder, _, _ in os.walk(folder.partial.path):
            remove_abandoned(Path(subfolder))
        return True
