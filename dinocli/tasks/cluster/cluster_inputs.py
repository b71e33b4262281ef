"""The images to group: names, features, files, and what is exactly the same.

Shapes: N images, D width.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import Box, FeatureFile
from dinocli.artifacts.pooled_rows import pooled_rows
from dinocli.config.preprocess import Preprocess
from dinocli.data.tar_shards import file_facts, for_decoder, image_source
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.feature_inputs import open_or_embed

_CHUNK = 1 << 20


@dataclass(frozen=True)
class ClusterInputs:
    """The rows of a feature file that can be grouped.

    Args:
        source: Where they come from.
        features_ND: Finite; still on the disk where all rows are.
        pooled_ND: Their pooled part, not whitened, for copies and odd images; the same where there is no other part.
        names: Image of each row.
        boxes: Tile of each row, or None.
        dropped: Rows that were left out.
    """

    source: FeatureFile
    features_ND: NDArray[np.floating]
    pooled_ND: NDArray[np.floating]
    names: list[str]
    boxes: list[Box] | None
    dropped: int

    def __len__(self) -> int:
        return len(self.names)

    @property
    def root(self) -> Path | None:
        """The folder of the images, where it is known and there."""
        return self.source.root

    def missing_root(self) -> str:
        """Say that the folder of the images is gone; empty where it is there or was never known."""
        named = self.source.meta.get("root", "")
        return f"their folder {named} is gone" if named and self.root is None else ""

    def preprocess(self) -> Preprocess | None:
        """Return how the images were read, or None if the file does not say."""
        return self.source.preprocess()

    def copies(self) -> list[list[int]]:
        """Find files with the same bytes: groups of two and more rows, sorted; tiles are not looked at.

        Only files of the same size are read.
        """
        if self.root is None or self.boxes is not None:
            return []
        by_size: dict[int, list[int]] = defaultdict(list)
        for row, name in enumerate(self.names):
            try:
                by_size[file_facts(str(self.root / name))[0]].append(row)
            except OSError:
                continue
        return sorted(group for rows in by_size.values() if len(rows) > 1 for group in self._same(rows))

    def _same(self, rows: Iterable[int]) -> list[list[int]]:
        by_content: dict[bytes, list[int]] = defaultdict(list)
        for row in rows:
            assert self.root is not None
            try:
                by_content[_digest(self.root / self.names[row])].append(row)
            except OSError:
                continue
        return [group for group in by_content.values() if len(group) > 1]


def open_members(options: ClusterOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> ClusterInputs:
    """Open the features that were asked for, or compute them.

    Raises:
        DinocliError: There are none, or they cannot be used.
    """
    source = open_or_embed(options, reporter, stdin)
    members = _usable(source, pooled_rows(source, reporter.warn))
    if members.dropped:
        reporter.warn(f"{members.dropped} of {len(source)} rows of {source.path} are not finite and left out")
    if gone := members.missing_root():
        reporter.warn(f"the images cannot be looked at, for copies, issues and pictures: {gone}")
    return members


def _usable(source: FeatureFile, pooled_ND: NDArray[np.floating]) -> ClusterInputs:
    """Leave out the rows that are not finite."""
    features_ND, kept = source.flat(), source.finite_rows()
    if not len(kept):
        raise DataError(f"{source.path} has no row of finite numbers; embed again")
    if len(kept) == len(source):
        return ClusterInputs(source, features_ND, pooled_ND, source.names, source.boxes, 0)
    boxes = [source.boxes[row] for row in kept] if source.boxes else None
    names = [source.names[row] for row in kept]
    return ClusterInputs(source, features_ND[kept], pooled_ND[kept], names, boxes, len(source) - len(kept))


def _digest(path: Path) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    source = for_decoder(image_source(str(path)))
    with open(source, "rb") if isinstance(source, str) else source as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.digest()
