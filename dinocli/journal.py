"""What a command has done so far, one JSON object a line, so that a resumed one knows where to continue."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinocli.errors import UsageError
from dinocli.files import naming

Line = dict[str, Any]

COMMIT_SECONDS = 1.0
"""At most this much work is lost by a kill."""


class Journal:
    """What is done so far, one JSON object a line, the request first; a line stands once it is on the disk.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._when = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last line is old enough for another one."""
        return time.monotonic() - self._when >= COMMIT_SECONDS

    def begin(self, request: Line) -> None:
        """Start anew."""
        self.remove()
        self.append({"request": request})

    def append(self, line: Line) -> None:
        """Add a line, to the disk."""
        with naming(self.path), self.path.open("ab") as file:
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._when = time.monotonic()

    def found(self, request: Line, name: str) -> list[Line] | None:
        """Return the lines after the request, and cut off a torn last one; None where nothing can be continued.

        Args:
            request: Of the command that wants to continue.
            name: Of the output, for the message.

        Raises:
            UsageError: The journal is of another request.
        """
        lines = list(self)
        if not lines or not isinstance(lines[0].get("request"), dict):
            return None
        check_same(lines[0]["request"], request, name)
        os.truncate(self.path, self._whole_bytes())
        return lines[1:]

    def __iter__(self) -> Iterator[Line]:
        """Read the lines from the disk, up to the first that is torn or no JSON object."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            for line in file:
                data = _line(line)
                if data is None:
                    return
                yield data

    def remove(self) -> None:
        """Let go of the file."""
        self.path.unlink(missing_ok=True)

    def _whole_bytes(self) -> int:
        with self.path.open("rb") as file:
            total = 0
            for line in file:
                if _line(line) is None:
                    break
                total += len(line)
        return total


def _line(line: bytes) -> Line | None:
    if not line.endswith(b"\n"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def check_same(kept: Line, request: Line, name: str) -> None:
    """Raise a `UsageError` with the differences, if the results of one request are none of the other."""
    asked = json.loads(json.dumps(request))
    changed = [key for key in asked if kept.get(key) != asked[key]]
    if changed:
        shown = "; ".join(f"{key}: {kept.get(key)} -> {asked[key]}" for key in changed)
        raise UsageError(f"--resume needs the same command as before; of {name} changed: {shown}; or use --force")
