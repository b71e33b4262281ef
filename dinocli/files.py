"""Atomic file writes, and removal of the temporary files of killed processes.

The writing process holds a `flock` on each temporary file, and the kernel releases it when the process ends, however it
ends. So a temporary file without a lock is abandoned, and the next start removes it.
"""

import atexit
import contextlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dinocli.errors import UsageError
from dinocli.file_locks import lock_open_file, locked

_TEMPORARY_FILE = re.compile(r"\..*\.[0-9a-f]{8}\.dinocli", re.DOTALL)
_FOLDER_PREFIX = "dinocli-"
_LOCK_NAME = ".lock"


def hidden_sibling(path: Path, suffix: str) -> Path:
    """Return a hidden path in the same folder: `feats.npy`, `part` -> `.feats.npy.part`."""
    # File names have at most 255 bytes: 200 leave room for the suffix.
    start = os.fsdecode(os.fsencode(path.name)[:200])
    return path.with_name(f".{start}.{suffix}")


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Add a file name to any `OSError` in the block that has none; "disk full" alone does not say which file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
        raise


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file atomically: readers see the old or the new content, never a part.

    Writes a temporary file in the same folder, flushes it to the disk (one fsync) and renames it.

    Args:
        path: Output file in an existing folder; replaced when the block ends without an error.

    Raises:
        OSError: The folder cannot be written or the disk is full; the temporary file is removed.
        UsageError: The path is a device or a pipe.
    """
    refuse_device(path)
    with named_errors(path):
        temporary, file = _open_temporary(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def refuse_device(path: Path) -> None:
    """Raise `UsageError` if an output is a device, a pipe or a socket: a rename would replace it by a file."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path} is neither a file nor a folder, but a device or a pipe: choose another output")


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """Create a locked temporary file in the folder of a path."""
    while True:
        temporary = hidden_sibling(path, f"{secrets.token_hex(4)}.dinocli")
        file = temporary.open("xb")
        lock_open_file(file.fileno(), wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # another process removed it as abandoned before it was locked


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write bytes, or text as UTF-8, atomically; errors as `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder to fill, which then replaces the folder of that path; after an error the old one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = hidden_sibling(path, "new")
    remove_path(part)  # left by a killed process
    part.mkdir()
    try:
        yield part
        replace_path(part, path)
    finally:
        remove_path(part)


def replace_path(source: Path, target: Path) -> None:
    """Rename a file or folder over an existing one; safe to repeat after a process died half-way.

    Args:
        source: Path on the same file system; if it is missing, it counts as already renamed.
        target: Final path; an existing file or folder is removed once the new one is in place.
    """
    old = hidden_sibling(target, "old")
    if os.path.lexists(source):
        if target.is_dir() and not target.is_symlink():
            remove_path(old)
            target.rename(old)  # rename cannot replace a folder that is not empty
        source.replace(target)
    remove_path(old)


def remove_path(path: Path) -> None:
    """Remove a file, a link, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Flush the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems do not support it
            os.fsync(handle)
    finally:
        os.close(handle)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of dead processes from a folder, not from its subfolders."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if _TEMPORARY_FILE.fullmatch(name):
                _remove_unlocked(folder / name)


def _remove_unlocked(path: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if lock_open_file(handle, wait=False) is True:
                path.unlink()
        finally:
            os.close(handle)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a temporary folder for the block, after removing those of dead processes."""
    _remove_abandoned_folders()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
    try:
        with locked(folder / _LOCK_NAME, folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_until_exit = contextlib.ExitStack()
atexit.register(_until_exit.close)


def folder_until_exit() -> Path:
    """Create a temporary folder that is removed when this process exits."""
    return _until_exit.enter_context(temporary_folder())


def _remove_abandoned_folders() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
                continue
            handle = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)  # no lock file: not created by dinocli
            try:
                if lock_open_file(handle, wait=False) is True:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def home_folder() -> Path:
    """Return the user's home folder, or `TMPDIR/home-UID` without HOME and without a passwd entry.

    Containers often run under user ids without a passwd entry.
    """
    try:
        return Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir(), f"home-{os.getuid()}")


def user_path(name: str) -> Path:
    """Expand `~` and `~user` in a path; an unknown `~user` stays unchanged."""
    if name == "~" or name.startswith("~/"):
        return home_folder() / name[2:]
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def with_sorted_metadata(data: bytes) -> bytes:
    """Sort the metadata of a safetensors file, whose order safetensors draws, so that equal results are equal files."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" not in header:
        return data
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors by spaces
    return len(text).to_bytes(8, "little") + text + data[8 + size :]
