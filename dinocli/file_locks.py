"""File locks that end with their process, however it ends: the kernel releases a `flock`."""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

_LOCKS_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_WAIT_SECONDS = 2.0  # a reader that repairs a file set holds the lock only briefly

_held_locks: set[int] = set()


def _close_inherited_locks() -> None:
    """Close the locks in a forked child: a lock has to end with the process that acquired it."""
    for handle in _held_locks:
        os.close(handle)
    _held_locks.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)


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


def is_locked(path: Path) -> bool:
    """Return whether a process holds a lock file; also if that cannot be known.

    Args:
        path: Lock file. Nothing is created.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return lock_open_file(handle, wait=False) is not True
    except OSError:  # NFS: an exclusive lock needs a file that is open for writing
        return True
    finally:
        os.close(handle)


def _acquire(path: Path, protected: Path, deadline: float) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(protected)) from None
        state = lock_open_file(handle, wait=False)
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


def lock_open_file(handle: int, *, wait: bool) -> bool | None:
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
