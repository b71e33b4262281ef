"""The images below a folder, and what was left out on the way."""

import os
from collections import Counter
from collections.abc import Iterator

from dinocli.data.image_formats import image_suffixes, missing_decoder
from dinocli.data.tar_shards import COMPRESSED, SUFFIX, open_shard
from dinocli.errors import DataError

SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "__macosx", "lost+found"),
    )
)
"""Folders that storage systems and archives put beside a user's own, in lower case; they hold previews and rubbish."""
PREVIEW_FOLDERS = frozenset(("thumbs", "thumb", "thumbnails", "_thumbs", "_thumbnails", ".thumbnails", ".thumbs"))

RESULT_FILES = (
    frozenset((".dinocli-cluster",)),
    frozenset(("segment.json", "segments.csv")),
    frozenset(("run.json", "recipe.toml")),
)
"""Files by which a folder is known that a command of ours wrote: links, masks, a run with pictures of its own."""

_SHOWN = 6


class FolderWalk:
    """Walks folders; a million files are listed without asking the file system about each of them.

    Hidden entries, `SYSTEM_FOLDERS`, folders of our own results and files without the ending of an image are left out
    and counted. Of a folder without any image, the tar shards are taken.
    """

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.system: Counter[str] = Counter()
        self.hidden = 0
        self.special = 0
        self.shards = 0
        self.results: list[str] = []
        self.bad_members: list[tuple[str, str]] = []
        self._tars: list[str] = []

    def images(self, top: str) -> Iterator[str]:
        """Yield the images below a folder.

        Symbolic links to folders are followed after all real folders, in sorted order: what lies inside twice is then
        found under its real name, and a loop ends at a folder that was already visited.

        Raises:
            DataError: A folder cannot be listed.
        """
        visited: set[tuple[int, int]] = set()
        links, found = [top], False
        self._tars = []
        while links:
            later: list[str] = []
            for link in sorted(links):
                for path in self._real(link, visited, later):
                    found = True
                    yield path
            links = later
        if found and self._tars:
            self.endings[SUFFIX] += len(self._tars)
        for path in [] if found else sorted(self._tars):
            yield from self.members(path)

    def members(self, path: str) -> Iterator[str]:
        """Yield the images in a tar shard, and count what else is in it.

        Raises:
            DataError: It cannot be read.
        """
        try:
            shard = open_shard(path)
        except OSError as error:
            raise DataError(f"cannot read {path!r}: {(error.strerror or str(error)).lower()}") from error
        self.shards += 1
        self.endings += shard.left_out
        self.bad_members += [(f"{path}/{name}", reason) for name, reason in shard.bad]
        yield from (f"{path}/{name}" for name in shard.names)

    def accepts(self, path: str) -> bool:
        """Return whether a file has the suffix of an image format; other files are counted."""
        name = os.path.basename(path).lower()
        if name.endswith(image_suffixes()) and not _are_features(path):
            return True
        self.endings[next(filter(name.endswith, COMPRESSED), os.path.splitext(name)[1])] += 1
        return False

    def note(self) -> str:
        """Say in one line what was left out; empty where it was nothing."""
        commonest = sorted(self.endings.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
        parts = [f"{count:,} {ending or 'without ending'}" for ending, count in commonest]
        others = self.endings.total() - sum(count for _, count in commonest)
        parts += [f"{others:,} of other endings"] if others else []
        parts += [f"{self.hidden:,} hidden images"] if self.hidden else []
        parts += [f"{self.special:,} pipes and devices"] if self.special else []
        if self.system:
            parts.append(f"{self.system.total():,} system folders ({', '.join(sorted(self.system))})")
        if self.results:
            parts.append(f"{len(self.results):,} folders of results of dinocli, such as {min(self.results)}")
        found = f"{self.shards:,} tar shards" if self.shards else ""
        if not parts:
            return found
        needs = sorted({why for ending in self.endings if (why := missing_decoder(ending))})
        needs += ["decompress archives once"] if set(COMPRESSED) & set(self.endings) else []
        needs += ["name archives that lie beside images"] if self.endings[SUFFIX] else []
        left = f"left out: {', '.join(parts)}" + (f"; to read them: {', '.join(needs)}" if needs else "")
        return f"{found}; {left}" if found else left

    def _real(self, top: str, visited: set[tuple[int, int]], links: list[str]) -> Iterator[str]:
        folders = [top]
        while folders:
            folder = folders.pop()
            entries = _entries(folder, visited)
            names = {entry.name for entry in entries}
            if folder != top and any(result <= names for result in RESULT_FILES):
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
        """Sort out a link: a broken one with the ending of an image is yielded, and later reported as unreadable."""
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
    """Yield paths, but of those that links to folders make of one file only the first: a link may lead round."""
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


def _are_features(path: str) -> bool:
    """Whether an array is a feature file of ours: the names of its rows lie beside it."""
    stem, ending = os.path.splitext(path)
    return ending.lower() in (".npy", ".npz") and os.path.exists(f"{stem}.paths.txt")


def _entries(folder: str, visited: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """List a folder, once."""
    try:
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in visited:
            return []
        visited.add((stat.st_dev, stat.st_ino))
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot list the folder {folder!r}: {reason}; make it readable or name the others") from error
