"""Journal of an interrupted command: finished work, one JSON object per line, from which `--resume` continues."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinocli.errors import UsageError
from dinocli.files import named_errors

Line = dict[str, Any]

COMMIT_SECONDS = 1.0
"""Time between two lines: the work that a kill can lose."""


class Journal:
    """A JSON Lines file: first the request of the command, then one line per unit of finished work.

    Args:
        path: Journal file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last_append = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether `COMMIT_SECONDS` have passed since the last line."""
        return time.monotonic() - self._last_append >= COMMIT_SECONDS

    def begin(self, request: Line) -> None:
        """Start a new journal with the request as its first line."""
        self.remove()
        self.append({"request": request})

    def append(self, line: Line) -> None:
        """Append a line and flush it to the disk."""
        with named_errors(self.path), self.path.open("ab") as file:
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._last_append = time.monotonic()

    def resume(self, request: Line, name: str) -> list[Line] | None:
        """Return the lines after the request and truncate an incomplete last line; None if there is nothing to resume.

        Args:
            request: Request of the resuming command.
            name: Name of the output, for the message.

        Raises:
            UsageError: The journal belongs to a different request.
        """
        lines = list(self)
        if not lines or not isinstance(lines[0].get("request"), dict):
            return None
        check_same(lines[0]["request"], request, name)
        os.truncate(self.path, self._valid_bytes())
        return lines[1:]

    def __iter__(self) -> Iterator[Line]:
        """Read the lines from the disk, up to the first that is incomplete or not a JSON object."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            for line in file:
                data = _parsed(line)
                if data is None:
                    return
                yield data

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)

    def _valid_bytes(self) -> int:
        with self.path.open("rb") as file:
            total = 0
            for line in file:
                if _parsed(line) is None:
                    break
                total += len(line)
        return total


def _parsed(line: bytes) -> Line | None:
    if not line.endswith(b"\n"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


IMAGES = "images"
"""Key of the hash of names, sizes and modification times of the images in a request."""

OTHER_IMAGES = "their names, sizes or modification times"
"""What a difference between two such hashes means."""


def _change(key: str, before: Any, now: Any) -> str:
    """Return a changed setting as text; of a group of settings those that differ."""
    if key == IMAGES:
        return f"{key} ({OTHER_IMAGES})"
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{key}: {before} -> {now}"
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{key}.{name}: {before.get(name)} -> {now.get(name)}" for name in names)


def check_same(before: Line, request: Line, name: str) -> None:
    """Raise `UsageError` with the differences if a request is not the one that the output was started with."""
    now = json.loads(json.dumps(request))
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        changes = "; ".join(_change(key, before.get(key), now[key]) for key in changed)
        raise UsageError(
            f"--resume needs the same command as before; for {name} these settings changed: {changes}; or use --force"
        )
