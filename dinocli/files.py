"""Atomic file writes, file locks, and removal of the temporary files of killed processes.

The writing process holds a `flock` on each temporary file, and the kernel releases it when the process ends, however it
ends. So a temporary file without a lock is abandoned, and the next start removes it.
"""

import atexit
import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_TEMPORARY_FILE = re.compile(r"\..*\.[0-9a-f]{8}\.dinocli", re.DOTALL)
_FOLDER_PREFIX = "dinocli-"
_LOCK_NAME = ".lock"
_LOCKS_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_WAIT_SECONDS = 2.0  # a reader that repairs a file set holds the lock only briefly

_held_locks: set[int] = set()


def _close_inherited_locks() -> None:
    """Close the locks in a forked child: a lock has to end with the process that acquired it."""
    for handle in _held_locks:
        os.close(handle)
    _held_locks.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)


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
    """
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


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """Create a locked temporary file in the folder of a path."""
    while True:
        temporary = hidden_sibling(path, f"{secrets.token_hex(4)}.dinocli")
        file = temporary.open("xb")
        _lock(file.fileno(), wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # another process removed it as abandoned before it was locked


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write bytes, or text as UTF-8, atomically; errors as `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


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
            if _lock(handle, wait=False) is True:
                path.unlink()
        finally:
            os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool | None:
    """Lock an open file; False if another process holds the lock, None if the file system does not support locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _LOCKS_UNSUPPORTED:
            return None
        raise
    return True


@contextlib.contextmanager
def locked(path: Path, protected: Path, *, seconds: float = _WAIT_SECONDS) -> Iterator[None]:
    """Hold a lock file for the block; the kernel releases the lock if this process dies.

    Args:
        path: Lock file; removed at the end.
        protected: Path that the lock protects, for messages.
        seconds: Time to wait for another process.

    Raises:
        BlockingIOError: Another process still holds the lock.
        OSError: The folder cannot be written.
    """
    handle = _acquire(path, protected, time.monotonic() + seconds)
    _held_locks.add(handle)
    try:
        yield
    finally:
        if handle in _held_locks:  # not in a forked child
            _held_locks.discard(handle)
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)


def _acquire(path: Path, protected: Path, deadline: float) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(protected)) from None
        state = _lock(handle, wait=False)
        if state is None or (state and os.fstat(handle).st_nlink):
            with contextlib.suppress(OSError):  # on a full disk the lock works without the name of its holder
                os.truncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return handle
        holder = os.pread(handle, 200, 0).decode("utf-8", "replace")
        os.close(handle)
        if state is False and time.monotonic() > deadline:
            raise BlockingIOError(errno.EAGAIN, f"is being written by another dinocli ({holder})", str(protected))
        time.sleep(0.01)


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
                if _lock(handle, wait=False) is True:
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
