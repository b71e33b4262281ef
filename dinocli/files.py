"""Whole files or none: the one way in which dinocli writes, locks, and finds what a killed process left.

A temporary file is locked by the process that writes it (`flock`: the lock ends with the process, whatever ends it). So
a file of our name that no process has locked belongs to none, and the next start removes it.
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

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.dinocli", re.DOTALL)
_FOLDER = "dinocli-"
_LOCK = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # of file systems that cannot lock
_SHORT_WAIT = 2.0  # seconds: a reader that repairs a file set holds its lock for a moment

_held: set[int] = set()


def _let_go() -> None:
    """Close inherited locks in a forked child: a lock has to end with the process that took it."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def hidden(path: Path, word: str) -> Path:
    """Return the name of a hidden neighbour: `feats.npy`, `part` -> `.feats.npy.part`."""
    # A name may be 255 bytes long, and its neighbour's no longer.
    start = os.fsdecode(os.fsencode(path.name)[:200])
    return path.with_name(f".{start}.{word}")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give the name of a file to an `OSError` inside the block that has none: a full disk says only that it is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
        raise


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write it so that a reader sees the old one or the new one, never half of it.

    The bytes go to a neighbour in the same folder, to the disk, and then take the name. The price is one flush.

    Args:
        path: In a folder that exists; a file of that name is replaced when the block ends without an error.

    Raises:
        OSError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    with naming(path):
        neighbour, file = _temporary(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                neighbour.replace(path)
        except BaseException:
            neighbour.unlink(missing_ok=True)
            raise


def _temporary(path: Path) -> tuple[Path, BinaryIO]:
    """Make a locked file beside a path."""
    while True:
        neighbour = hidden(path, f"{secrets.token_hex(4)}.dinocli")
        file = neighbour.open("xb")
        _lock(file.fileno(), wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return neighbour, file
        file.close()  # taken for a left-over in the moment before it was locked


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a whole file; text is UTF-8. Arguments and errors as `whole_file`."""
    with whole_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def replace_path(part: Path, path: Path) -> None:
    """Give a file or folder its final name, also if a process died while it did so before.

    Args:
        part: On the same file system; nothing happens where it has its name already.
        path: A file or a folder that is there is removed, once the new one is in its place.
    """
    old = hidden(path, "old")
    if os.path.lexists(part):
        if path.is_dir() and not path.is_symlink():
            remove_path(old)
            path.rename(old)  # a folder that holds something cannot be replaced in one go
        part.replace(path)
    remove_path(old)


def remove_path(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(handle)
    finally:
        os.close(handle)


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of dead processes from a folder, not from those in it."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if _TEMPORARY.fullmatch(name):
                _remove_unheld(folder / name)


def _remove_unheld(path: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _lock(handle, wait=False) is True:
                path.unlink()
        finally:
            os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool | None:
    """Lock an open file; False if another process holds it, None where the file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


@contextlib.contextmanager
def locked(path: Path, what: Path, *, seconds: float = _SHORT_WAIT) -> Iterator[None]:
    """Hold a lock that ends with this process, however that ends.

    Args:
        path: The lock file. It is removed at the end.
        what: What the lock protects, for messages.
        seconds: To wait for another process.

    Raises:
        BlockingIOError: Another process still holds it.
        OSError: The folder cannot be written.
    """
    handle = _acquire(path, what, time.monotonic() + seconds)
    _held.add(handle)
    try:
        yield
    finally:
        if handle in _held:  # not in a forked child
            _held.discard(handle)
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)


def _acquire(path: Path, what: Path, until: float) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(what)) from None
        state = _lock(handle, wait=False)
        if state is None or (state and os.fstat(handle).st_nlink):
            with contextlib.suppress(OSError):  # on a full disk the lock alone has to do
                os.truncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return handle
        holder = os.pread(handle, 200, 0).decode("utf-8", "replace")
        os.close(handle)
        if state is False and time.monotonic() > until:
            raise BlockingIOError(errno.EAGAIN, f"is being written by another dinocli ({holder})", str(what))
        time.sleep(0.01)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for the time of the block; first remove those that dead processes left."""
    _remove_abandoned_folders()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
    try:
        with locked(folder / _LOCK, folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_until_exit = contextlib.ExitStack()
atexit.register(_until_exit.close)


def folder_until_exit() -> Path:
    """Make a temporary folder that lives as long as this process."""
    return _until_exit.enter_context(temporary_folder())


def _remove_abandoned_folders() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if about.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
                continue
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)  # without a lock it is not one of these
            try:
                if _lock(handle, wait=False) is True:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def home_folder() -> Path:
    """Return the user's home, or a folder of the user's own where there is neither HOME nor an entry in passwd.

    Containers often run under user ids without an entry.
    """
    try:
        return Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir(), f"home-{os.getuid()}")


def user_path(name: str) -> Path:
    """Return a path that a user wrote, with `~` as the home; a `~name` without such a user stays as it is."""
    if name == "~" or name.startswith("~/"):
        return home_folder() / name[2:]
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)
