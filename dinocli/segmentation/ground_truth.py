"""Ground-truth masks in a folder, matched with images by name.

Legend: H W pixels of the source.
"""

import os
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dinocli.data.image_list import ImageList
from dinocli.data.mask_reader import check_size, read_mask
from dinocli.data.sources import find_images
from dinocli.errors import DataError
from dinocli.progress import ProgressReporter

_WORDS = ("mask", "masks", "cp_masks", "gt", "label", "labels", "seg")
MASK_SUFFIXES = tuple(f"{join}{word}" for word in _WORDS for join in "_-")
"""Suffixes of mask names after the name of the image."""

LOSSY_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".webp")
"""Suffixes of files that are used as mask only where no other file has their name."""

_NUMBER = re.compile(r"-?\d[\d.,]*")

GOOD = "good"
"""Name of folders whose images have no defect and need no mask."""


class GroundTruth:
    """Masks of a folder, matched by name.

    Args:
        folder: Folder with the relative paths and names of the images, any file type; also `NAME_mask` and the other
            `MASK_SUFFIXES`, which take precedence if masks and images share a folder. No image is its own mask.
        images: The images.
        good_without_mask: Images without a mask count as images without an object, as in a folder `good`.

    Raises:
        DataError: The folder holds no image, or no image has a mask.
    """

    def __init__(self, folder: str, images: ImageList, *, good_without_mask: bool = False) -> None:
        self.folder = folder
        listed = find_images([folder])
        root = Path(os.path.abspath(folder)) if os.path.isdir(folder) else listed.root
        paths = [Path(listed.path(row)) for row in range(len(listed))]
        paths.sort(key=lambda path: path.suffix.lower() not in LOSSY_SUFFIXES)  # of equal names the last one is used
        stems = [str(path.relative_to(root).with_suffix("")) for path in paths]
        by_stem = dict(zip(stems, paths, strict=True))
        image_paths = {os.path.realpath(images.path(row)) for row in range(len(images))}
        same_folder = bool(image_paths & {os.path.realpath(path) for path in paths})
        matches = {name: _mask_of(name, by_stem, image_paths, same_folder=same_folder) for name in images.names}
        self._masks = {name: path for name, path in matches.items() if path}
        if not self._masks:
            if os.path.realpath(next(iter(by_stem.values()))) in image_paths:
                raise DataError(f"{folder} holds the images themselves: name the folder of their masks")
            raise DataError(
                f"no image has a mask in {folder}: the first image is {images.names[0]}, the first mask "
                f"./{next(iter(by_stem.values())).relative_to(root)}; a mask needs the path (below --root) and name of "
                "its image, with any suffix, or NAME_mask"
            )
        rest = [name for name in images.names if name not in self._masks]
        self._good = {name for name in rest if good_without_mask or is_good(name)}
        self._missing = len(rest) - len(self._good)
        self._listed_masks = len(image_paths & {os.path.realpath(path) for path in self._masks.values()})
        used = set(self._masks.values())
        spare = {path: by_stem[stem] for stem, path in zip(stems, paths, strict=True) if path not in used}
        spare = {path: same_name for path, same_name in spare.items() if os.path.realpath(path) not in image_paths}
        self._twins = [pair for pair in spare.items() if pair[1] in used]
        self._unused = sorted(path for path, same_name in spare.items() if same_name not in used)
        self._noted: Counter[str] = Counter()
        self._first_noted: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._masks or name in self._good

    def read(self, name: str, size: tuple[int, int]) -> NDArray[np.int64]:
        """Read the labels of an image.

        Args:
            name: Of the image, `./a/b.png`.
            size: (H, W) of the image.

        Returns:
            (H, W), upright; 0 is the background, every other value an object.

        Raises:
            DataError: The mask cannot be read, or has another size.
        """
        if name in self._good:
            return np.zeros(size, np.int64)
        path = self._masks[name]
        try:
            mask = read_mask(path)
        except DataError as error:
            raise DataError(f"the mask {path} cannot be read: {error}") from error
        check_size(mask.labels_HW, path, size, "its image")
        if mask.note:
            kind = _NUMBER.sub("", mask.note)
            self._noted[kind] += 1
            self._first_noted.setdefault(kind, f"{path}: {mask.note}")
        return mask.labels_HW

    def report(self, reporter: ProgressReporter) -> None:
        """Report how many images count as good, and how many the scores leave out; warn of masks among the images."""
        if self._good:
            reporter.line(f"{len(self._good)} images without a mask in {self.folder} count as good")
        if self._missing:
            total = self._missing + len(self._good) + len(self._masks)
            reporter.warn(
                f"{self._missing} of {total} images have no mask in {self.folder}; the scores leave them out "
                f"(--good-without-mask counts them as good)"
            )
        if self._unused:
            reporter.line(
                f"{len(self._unused)} files in {self.folder} are the mask of no image here, such as {self._unused[0]}"
            )
        if self._twins:
            reporter.warn(
                f"{len(self._twins)} masks have two files: {self._twins[0][1]} is read, not {self._twins[0][0].name}"
            )
        if self._listed_masks:
            reporter.warn(
                f"{self._listed_masks} of the images are masks of others and are segmented too; "
                f"leave them out with --exclude '*_mask.*', or keep masks in a folder of their own"
            )

    def report_notes(self, reporter: ProgressReporter) -> None:
        """Report the assumptions about the masks read so far, by kind with a count and an example."""
        for kind, count in self._noted.items():
            reporter.warn(f"{count} of {len(self._masks)} masks, such as {self._first_noted[kind]}")


def _mask_of(name: str, by_stem: dict[str, Path], image_paths: set[str], *, same_folder: bool) -> Path | None:
    """Return the mask of an image, or None; in the folder of the images an unsuffixed name is usually an image."""
    stem = str(PurePosixPath(name).with_suffix(""))
    for suffix in MASK_SUFFIXES if same_folder else ("", *MASK_SUFFIXES):
        path = by_stem.get(stem + suffix)
        if path is not None:
            return path
    plain = by_stem.get(stem)
    return plain if plain is not None and os.path.realpath(plain) not in image_paths else None


def is_good(name: str) -> bool:
    """Whether an image lies in a folder called good."""
    return any(part.lower() == GOOD for part in PurePosixPath(name).parts[:-1])
