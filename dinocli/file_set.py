"""Results of a command: claimed for one process, and changed as a whole.

`claimed` keeps two processes from one output, and proves that it can be written before any work is done; a `FileSet`
changes several files together; `read_whole` reads them while another process changes them.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dinocli.errors import UsageError, WeightsError
from dinocli.files import hidden, locked, remove_abandoned, remove_path, replace_path, sync_folder
from dinocli.journal import Journal

T = TypeVar("T")

_NEW = "new"
LOCK = ".lock"
"""Of a folder, inside it: its parent may belong to another user."""


@contextlib.contextmanager
def claimed(*files: Path, folder: Path | None = None) -> Iterator[None]:
    """Hold outputs for this process, and make the folders that they lie in.

    Folders that were made for them and are still empty at the end are removed again.

    Args:
        files: Outputs that are files, or folders beside which a lock may lie.
        folder: An output folder that may be there already.

    Raises:
        UsageError: Another process writes one of them.
        OSError: One of them cannot be written.
    """
    locks = {hidden(file, "lock"): file for file in files} | ({folder / LOCK: folder} if folder else {})
    with contextlib.ExitStack() as held:
        for parent in dict.fromkeys(lock.parent for lock in locks):
            held.enter_context(made(parent))
        for lock, output in sorted(locks.items(), key=lambda item: os.path.abspath(item[0])):  # one order for everybody
            try:
                held.enter_context(locked(lock, output))
            except BlockingIOError as busy:
                words = f"{output} {busy.strerror}; wait for it, or choose another --out"
                raise UsageError(words) from None
        for file in files:
            settle(file)
        for parent in dict.fromkeys(lock.parent for lock in locks):
            remove_abandoned(parent)
        yield


def check_free(paths: Iterable[Path], *, force: bool, options: str = "--out") -> None:
    """Refuse to replace what nobody said may be replaced.

    Args:
        paths: Outputs of a command.
        force: They may be replaced.
        options: That name another place.

    Raises:
        UsageError: One of them is there.
    """
    there = next((path for path in paths if path.exists()), None)
    if there and not force:
        raise UsageError(f"{there} is there already; add --force to replace it, or choose another {options}")


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder and its parents; those that are empty at the end are removed again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


def side_file(table: Path, usual: str, name: str) -> Path:
    """Return where a file lies that comes with a table: so that a second table beside the first has files of its own.

    Args:
        table: The table that the user named.
        usual: Name of the table where the user names none; its neighbours have their plain names.
        name: Plain name of the file, such as `duplicates.csv`.

    Returns:
        `duplicates.csv` beside `clusters.csv`, `other.duplicates.csv` beside `other.csv`.
    """
    return table.with_name(name if table.stem == Path(usual).stem else f"{table.stem}.{name}")


class FileSet:
    """Files and folders of one result, that change together.

    All are written under hidden names first; the old result stays until the new one is complete. Then a journal beside
    the target says what takes which name, and the names change, that of the target last. If the process dies in
    between, the next start finishes the change (`settle`); if it dies earlier, the next start removes what it wrote.

    Args:
        target: The file that says: complete. It is claimed by this process.
        own: Names of its neighbours that may be dropped, besides those with its stem.
    """

    def __init__(self, target: Path, own: Sequence[str] = ()) -> None:
        self.target, self.own = target, own
        self._journal = Journal(_journal_of(target))
        self._pairs: dict[Path, Path] = {}
        self._gone: list[str] = []
        settle(target, own)

    def new(self, path: Path) -> Path:
        """Return the hidden name under which a file or folder of the set is to be written."""
        part = hidden(path, _NEW)
        self._journal.append({"new": self._name(part)})
        self._pairs[path] = part
        return part

    def take(self, path: Path, part: Path) -> None:
        """Let what is written already, under a hidden name in its folder, become one of the set."""
        self._pairs[path] = part

    def drop(self, path: Path) -> None:
        """Let a neighbour of the target go when the others change."""
        self._gone.append(path.name)

    def swap(self) -> None:
        """Change all names, that of the target last."""
        pairs = [(path, part) for path, part in self._pairs.items() if path != self.target]
        pairs.append((self.target, self._pairs[self.target]))
        for folder in {part.parent for _, part in pairs}:
            sync_folder(folder)
        names = [[self._name(part), self._name(path)] for path, part in pairs]
        kept = {path.name for path in self._pairs if path.parent == self.target.parent}
        self._journal.append({"swap": names, "gone": [name for name in self._gone if name not in kept]})
        settle(self.target, self.own)

    def __enter__(self) -> "FileSet":
        return self

    def __exit__(self, *_: object) -> None:
        settle(self.target, self.own)  # without a swap this removes what was written

    def _name(self, path: Path) -> str:
        home = self.target.parent
        return str(path.relative_to(home)) if path.is_relative_to(home) else os.path.abspath(path)


def read_whole(target: Path, read: Callable[[Path], T]) -> T:
    """Read the files of one result, all of them old or all of them new, also while another process changes them.

    Args:
        target: The file that says: complete.
        read: Reads it and its neighbours.

    Raises:
        WeightsError: A process died while it changed them, and they cannot be repaired.
    """
    while True:
        _repair(target)
        before = _identity(target)
        try:
            found = read(target)
        except WeightsError:
            if _identity(target) == before and not _is_changing(target):
                raise
        else:
            if _identity(target) == before and not _is_changing(target):
                return found


def _identity(target: Path) -> tuple[int, int, int]:
    try:
        about = target.stat()
    except OSError:
        return 0, 0, 0
    return about.st_dev, about.st_ino, about.st_mtime_ns


def _is_changing(target: Path) -> bool:
    return any("swap" in line for line in Journal(_journal_of(target)))


def _repair(target: Path) -> None:
    if not _is_changing(target):
        return
    try:
        with locked(hidden(target, "lock"), target):
            settle(target)
    except OSError as error:
        raise WeightsError(f"{target} was left half replaced and cannot be repaired ({error}); make it again") from None


def settle(target: Path, own: Sequence[str] = ()) -> None:
    """Finish the change of a file set that a dead process began, or remove what it wrote for it.

    The journal may be anybody's. So it can only give a name to what is hidden in the folder of that name, and remove
    only hidden files of a set, and neighbours of the target with its stem or a name of its own.

    Args:
        target: As in `FileSet`.
        own: As in `FileSet`.

    Raises:
        OSError: The folder cannot be written.
    """
    journal = Journal(_journal_of(target))
    if not journal.path.exists():
        return
    home = target.parent
    for line in journal:
        for part, path in _pairs_of(home, line.get("swap")):
            replace_path(part, path)
            sync_folder(path.parent)
        for name in _strings(line.get("gone")):
            if "/" not in name and (name in own or name.startswith(f"{target.stem}.")):
                remove_path(home / name)
    for line in journal:
        for name in _strings([line.get("new")]):
            if _is_hidden_name(name):
                remove_path(home / name)
    journal.remove()


def _journal_of(target: Path) -> Path:
    return hidden(target, "set")


def _strings(found: object) -> list[str]:
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _pairs_of(home: Path, found: object) -> Iterator[tuple[Path, Path]]:
    """Yield hidden file and final name of each line of a swap that is one of ours."""
    for names in found if isinstance(found, list) else []:
        if len(pair := _strings(names)) == 2:
            part, path = (Path(os.path.normpath(home / name)) for name in pair)
            if part.is_relative_to(path.parent) and part.relative_to(path.parent).parts[0].startswith("."):
                yield part, path


def _is_hidden_name(name: str) -> bool:
    last = Path(name).name
    return last.startswith(".") and last.endswith(f".{_NEW}")
