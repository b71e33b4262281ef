"""Outputs of a command: locked for one process, and replaced together.

`claimed` locks an output and proves that it can be written before any work is done; `FileSet` replaces several files
as one transaction; `read_consistent` reads them while another process replaces them.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dinocli.errors import UsageError, WeightsError
from dinocli.file_locks import locked
from dinocli.files import hidden_sibling, remove_abandoned, remove_path, replace_path, sync_folder
from dinocli.journal import Journal
from dinocli.output_paths import refuse_special

T = TypeVar("T")

_NEW_SUFFIX = "new"
LOCK_NAME = ".lock"
"""Lock file of an output folder. It lies inside: the parent folder may belong to another user."""


@contextlib.contextmanager
def claimed(*files: Path, folder: Path | None = None) -> Iterator[None]:
    """Lock outputs for this process, create their parent folders, and recover what a dead process left.

    Created folders that are still empty at the end are removed.

    Args:
        files: Output files, or folders whose lock file may lie beside them.
        folder: Output folder that may already exist; its lock file lies inside.

    Raises:
        UsageError: Another process writes one of the outputs, or it is ``-`` or a device.
        OSError: An output cannot be written.
    """
    refuse_special([*files, *([folder] if folder else [])])
    locks = {hidden_sibling(file, "lock"): file for file in files} | ({folder / LOCK_NAME: folder} if folder else {})
    with contextlib.ExitStack() as held:
        for parent in dict.fromkeys(lock.parent for lock in locks):
            held.enter_context(created_folder(parent))
        for lock, output in sorted(locks.items(), key=lambda item: os.path.abspath(item[0])):  # no deadlock
            try:
                held.enter_context(locked(lock, output))
            except BlockingIOError as busy:
                raise UsageError(f"{output} {busy.strerror}; wait for it, or write elsewhere") from None
        for file in files:
            recover(file)
        for parent in dict.fromkeys(lock.parent for lock in locks):
            remove_abandoned(parent)
        yield


@contextlib.contextmanager
def created_folder(folder: Path) -> Iterator[None]:
    """Create a folder and its parents for the block; those still empty at the end are removed."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()


class FileSet:
    """Files and folders of one result, replaced in one transaction.

    All are written under hidden names, while the old result stays. `commit` then writes all renames to a journal beside
    the target and renames, the target last. If the process dies during the renames, the next start finishes them
    (`recover`); if it dies before, the next start deletes the hidden files.

    Args:
        target: File whose presence marks the result as complete. This process has to hold its lock (`claimed`).
        droppable: Names beside the target that `drop` may delete, besides those that begin with its stem.
    """

    def __init__(self, target: Path, droppable: Sequence[str] = ()) -> None:
        self.target, self.droppable = target, droppable
        self._journal = Journal(_journal_of(target))
        self._renames: dict[Path, Path] = {}
        self._dropped: list[str] = []
        recover(target, droppable)

    def new(self, path: Path) -> Path:
        """Add a file or folder to the set; return the hidden path to write it to."""
        temporary = hidden_sibling(path, _NEW_SUFFIX)
        self._journal.append({"new": self._name(temporary)})
        self._renames[path] = temporary
        return temporary

    def adopt(self, path: Path, written: Path) -> None:
        """Add a file or folder that is already written, under a hidden name in the same folder."""
        self._renames[path] = written

    def drop(self, path: Path) -> None:
        """Delete an old file or folder beside the target at the commit."""
        self._dropped.append(path.name)

    def commit(self) -> None:
        """Rename all files and folders of the set, the target last."""
        pairs = [(path, part) for path, part in self._renames.items() if path != self.target]
        pairs.append((self.target, self._renames[self.target]))
        for folder in {part.parent for _, part in pairs}:
            sync_folder(folder)
        names = [[self._name(part), self._name(path)] for path, part in pairs]
        renewed = {path.name for path in self._renames if path.parent == self.target.parent}
        self._journal.append({"swap": names, "gone": [name for name in self._dropped if name not in renewed]})
        recover(self.target, self.droppable)

    def __enter__(self) -> "FileSet":
        return self

    def __exit__(self, *_: object) -> None:
        recover(self.target, self.droppable)  # without a commit this deletes what was written

    def _name(self, path: Path) -> str:
        home = self.target.parent
        return str(path.relative_to(home)) if path.is_relative_to(home) else os.path.abspath(path)


def read_consistent(target: Path, read: Callable[[Path], T]) -> T:
    """Read the files of one result, all old or all new, while another process may replace them.

    Args:
        target: File whose presence marks the result as complete.
        read: Function that reads the target and the files beside it.

    Raises:
        WeightsError: Another process is replacing them and takes longer than the wait for its lock, or one died while
            it replaced them, and they cannot be repaired.
    """
    while True:
        _repair(target)
        before = _identity(target)
        try:
            result = read(target)
        except WeightsError:
            if _identity(target) == before and not _is_committing(target):
                raise
        else:
            if _identity(target) == before and not _is_committing(target):
                return result


def _identity(target: Path) -> tuple[int, int, int]:
    try:
        status = target.stat()
    except OSError:
        return 0, 0, 0
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _is_committing(target: Path) -> bool:
    return any("swap" in line for line in Journal(_journal_of(target)))


def _repair(target: Path) -> None:
    if not _is_committing(target):
        return
    try:
        with locked(hidden_sibling(target, "lock"), target):
            recover(target)
    except BlockingIOError as busy:
        raise WeightsError(f"{target} {busy.strerror}; try again") from None
    except OSError as error:
        raise WeightsError(f"{target} was left half replaced and cannot be repaired ({error}); make it again") from None


def recover(target: Path, droppable: Sequence[str] = ()) -> None:
    """Finish the commit that a dead process began, or delete what it wrote before the commit.

    The journal is not trusted: anybody may have written it. It can rename only hidden files to names in the same
    folder, and delete only hidden files of a set, names beside the target that begin with its stem, and `droppable`.

    Args:
        target: As in `FileSet`.
        droppable: As in `FileSet`.

    Raises:
        OSError: The folder cannot be written.
    """
    journal = Journal(_journal_of(target))
    if not journal.path.exists():
        return
    home = target.parent
    for line in journal:
        for part, path in _renames(home, line.get("swap")):
            replace_path(part, path)
            sync_folder(path.parent)
        for name in _strings(line.get("gone")):
            if "/" not in name and (name in droppable or name.startswith(f"{target.stem}.")):
                remove_path(home / name)
    for line in journal:
        for name in _strings([line.get("new")]):
            if _is_hidden_name(name):
                remove_path(home / name)
    journal.remove()


def _journal_of(target: Path) -> Path:
    return hidden_sibling(target, "set")


def _strings(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _renames(home: Path, value: object) -> Iterator[tuple[Path, Path]]:
    """Yield (hidden path, final path) of each valid rename in a journal line."""
    for names in value if isinstance(value, list) else []:
        if len(pair := _strings(names)) == 2:
            part, path = (Path(os.path.normpath(home / name)) for name in pair)
            if part.is_relative_to(path.parent) and part.relative_to(path.parent).parts[0].startswith("."):
                yield part, path


def _is_hidden_name(name: str) -> bool:
    last = Path(name).name
    return last.startswith(".") and last.endswith(f".{_NEW_SUFFIX}")
