"""Recursive listing of the images in a folder, with counts of what was left out."""

import os
from collections import Counter
from collections.abc import Iterator

from dinocli.data.image_formats import ZARR, image_suffixes, missing_decoder
from dinocli.data.tar_shards import COMPRESSED, SUFFIX, open_shard
from dinocli.errors import DataError, counted, one_line

SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "__macosx", "lost+found"),
    )
)
"""Folders that NAS and operating systems create, in lower case; they hold previews and deleted files."""
PREVIEW_FOLDERS = frozenset(("thumbs", "thumb", "thumbnails", "_thumbs", "_thumbnails", ".thumbnails", ".thumbs"))

RESULT_FILES = (
    frozenset((".dinocli-cluster",)),
    frozenset(("segment.json", "segments.csv")),
    frozenset(("run.json", "recipe.toml")),
)
"""Sets of files that identify an output folder of `cluster` (links), `segment` and training; it may hold pictures."""

_ZARR_FILES = frozenset((".zarray", ".zgroup", ".zattrs", "zarr.json"))
"""Files of which a Zarr store has at least one."""

_MAX_NOTED_SUFFIXES = 6


class FolderWalk:
    """Lists images recursively, without a `stat` per file.

    Hidden entries, `SYSTEM_FOLDERS`, output folders of dinocli and files without an image suffix are left out and
    counted. If a folder holds no image, its tar shards are listed.
    """

    def __init__(self) -> None:
        self.suffixes: Counter[str] = Counter()
        self.system: Counter[str] = Counter()
        self.hidden = 0
        self.special = 0
        self.shards = 0
        self.results: list[str] = []
        self.bad_members: list[tuple[str, str]] = []
        self._tars: list[str] = []

    def images(self, top: str) -> Iterator[str]:
        """Yield the paths of the images in a folder and its subfolders.

        Symbolic links to folders are followed after all real folders, in sorted order: an image that is reached twice
        is listed under its real name, and a loop ends at a folder that was already visited.

        Raises:
            DataError: A folder cannot be listed.
        """
        visited: set[tuple[int, int]] = set()
        links, any_image = [top], False
        self._tars = []
        while links:
            next_links: list[str] = []
            for link in sorted(links):
                for path in self._without_links(link, visited, next_links):
                    any_image = True
                    yield path
            links = next_links
        if any_image and self._tars:
            self.suffixes[SUFFIX] += len(self._tars)
        for path in [] if any_image else sorted(self._tars):
            yield from self.members(path)

    def members(self, path: str) -> Iterator[str]:
        """Yield the images in a tar shard, and count its other members.

        Raises:
            DataError: The shard cannot be read.
        """
        try:
            shard = open_shard(path)
        except OSError as error:
            raise DataError(f"cannot read {path!r}: {one_line(error)}") from error
        self.shards += 1
        self.suffixes += shard.left_out
        self.bad_members += [(f"{path}/{name}", reason) for name, reason in shard.bad]
        yield from (f"{path}/{name}" for name in shard.names)

    def accepts(self, path: str) -> bool:
        """Return whether a file has an image suffix; other files are counted by suffix."""
        name = os.path.basename(path).lower()
        if name.endswith(image_suffixes()) and not is_feature_file(path):
            return True
        self.suffixes[next(filter(name.endswith, COMPRESSED), os.path.splitext(name)[1])] += 1
        return False

    def note(self) -> str:
        """Return one line on what was left out; empty if nothing was."""
        commonest = sorted(self.suffixes.items(), key=lambda item: (-item[1], item[0]))[:_MAX_NOTED_SUFFIXES]
        parts = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in commonest]
        others = self.suffixes.total() - sum(count for _, count in commonest)
        parts += [f"{others:,} with other suffixes"] if others else []
        parts += [f"{self.hidden:,} hidden images"] if self.hidden else []
        parts += [counted(self.special, "special file")] if self.special else []
        if self.system:
            parts.append(f"{self.system.total():,} system folders ({', '.join(sorted(self.system))})")
        if self.results:
            parts.append(f"{len(self.results):,} output folders of dinocli, such as {min(self.results)}")
        shards = f"{self.shards:,} tar shards" if self.shards else ""
        if not parts:
            return shards
        needs = sorted({need for suffix in self.suffixes if (need := missing_decoder(suffix))})
        needs += ["decompress archives once"] if set(COMPRESSED) & set(self.suffixes) else []
        needs += ["name archives that lie beside images"] if self.suffixes[SUFFIX] else []
        left = f"left out: {', '.join(parts)}" + (f"; to read them: {', '.join(needs)}" if needs else "")
        return f"{shards}; {left}" if shards else left

    def _without_links(self, top: str, visited: set[tuple[int, int]], links: list[str]) -> Iterator[str]:
        """Yield the images below a folder; collect links to folders in `links`."""
        folders = [top]
        while folders:
            folder = folders.pop()
            entries = _entries(folder, visited)
            names = {entry.name for entry in entries}
            if names & _ZARR_FILES:
                self.suffixes[ZARR] += 1
                continue
            if folder != top and any(files <= names for files in RESULT_FILES):
                self.results.append(os.path.relpath(folder, top))
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    self.hidden += entry.name.lower().endswith(image_suffixes()) and not entry.name.startswith("._")
                elif entry.is_symlink():
                    yield from self._link(entry, links)
                elif entry.is_dir(follow_symlinks=False):
                    if entry.name.casefold() in SYSTEM_FOLDERS:
                        self.system[entry.name] += 1
                    else:
                        folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    self.special += 1
                elif entry.name.lower().endswith(SUFFIX):
                    self._tars.append(entry.path)
                elif self.accepts(entry.path):
                    yield entry.path

    def _link(self, entry: os.DirEntry[str], links: list[str]) -> Iterator[str]:
        """Yield a link to an image, or collect a link to a folder; a broken link is yielded and fails later."""
        try:
            is_folder, is_file, broken = entry.is_dir(), entry.is_file(), not os.path.exists(entry.path)
        except OSError:  # a link to itself
            is_folder, is_file, broken = False, False, True
        if is_folder and entry.name.casefold() not in SYSTEM_FOLDERS:
            links.append(entry.path)
        elif is_folder:
            self.system[entry.name] += 1
        elif not is_file and not broken:
            self.special += 1
        elif self.accepts(entry.path):
            yield entry.path


def unique_real_paths(paths: list[str]) -> Iterator[str]:
    """Yield paths without duplicates by links to folders; the shortest path of a file comes first."""
    real: dict[str, str] = {}
    seen: set[str] = set()
    for path in sorted(paths, key=lambda path: (path.count(os.sep), path)):
        folder, name = os.path.split(path)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        place = os.path.join(real[folder], name)
        if place not in seen:
            seen.add(place)
            yield path


def is_feature_file(path: str) -> bool:
    """Return whether an array is a feature file of `embed`: its row names lie beside it."""
    stem, suffix = os.path.splitext(path)
    return suffix.lower() in (".npy", ".npz") and os.path.exists(f"{stem}.paths.txt")


def _entries(folder: str, visited: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """List a folder; empty if it was already visited."""
    try:
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in visited:
            return []
        visited.add((stat.st_dev, stat.st_ino))
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"cannot list the folder {folder!r}: {one_line(error)}; make it readable or name the others"
        ) from error
