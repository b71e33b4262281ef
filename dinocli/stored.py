"""Files that a command wrote, as checked data: the one place where they are believed.

Somebody may have changed such a file, a disk may have damaged it, or it may be a stranger's. So whatever it holds, the
reader of it gets data of the declared types and sizes, or the user gets one line; nothing in a file is a bug of ours.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dinocli.errors import DinocliError, WeightsError

MOST_BYTES = 64 << 20
"""Of a JSON file; the largest that we write holds a few megabytes."""

MOST_DEPTH = 32
"""Objects and lists inside each other; ours have six."""

_MOST_PATH, _MOST_PART = 4095, 255
"""Bytes of a path and of each of its parts, on Linux."""

_MOST_WORDS = 160
"""Letters of foreign text in a message."""


def usable_name(name: str) -> str:
    """Return a name that the system takes, or raise a `ValueError`."""
    if "\0" in name:
        raise ValueError("a name with a NUL character")
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("a name that no file can have") from None
    if len(raw) > _MOST_PATH or any(len(part) > _MOST_PART for part in raw.split(b"/")):
        raise ValueError("a name that is longer than any file's")
    return name


Name = Annotated[str, AfterValidator(usable_name)]
"""A path or another word, which the system takes."""

Count = Annotated[int, Field(ge=0, le=2**62)]
"""How many of something there are."""

Anything = dict[str, Any]
"""An object that is only compared or shown."""

T = TypeVar("T")


class Stored(BaseModel):
    """An object in a file of ours: declared keys have their type, other keys (of later versions) stay as they are."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


@contextlib.contextmanager
def reading(where: object, advice: str, verb: str = "read") -> Iterator[None]:
    """Turn whatever a library raises on a file into one line.

    Damaged files make readers raise nearly anything, from `IndexError` to errors that are no part of a library's public
    names; listing them has been incomplete each time.

    Args:
        where: The file, for the message.
        advice: What to do about it.
        verb: What was tried.

    Raises:
        WeightsError: In place of every error that is not ours already; out of memory stays what it is.
    """
    try:
        yield
    except (DinocliError, MemoryError):
        raise
    except Exception as error:
        raise WeightsError(f"{where} cannot be {verb} ({reason(error)}); {advice}") from error


def read_json(path: Path, kind: type[Stored], advice: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        kind: What it has to be.
        advice: What to do where it is not.

    Returns:
        The object, with the defaults of `kind` for keys that are missing.

    Raises:
        WeightsError: It is not there, too large, no JSON, or something else than declared.
    """
    with reading(path, advice):
        return parse_json(read_limited(path, MOST_BYTES), kind)


def parse_json(text: bytes | str, kind: type[Stored]) -> dict[str, Any]:
    """Parse a JSON object as `read_json`.

    Raises:
        ValueError: It is no JSON, nested too deeply, or something else than declared; in one line.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if depth(data) > MOST_DEPTH:
        raise ValueError("nested too deeply")
    return checked(data, kind)


def checked(data: object, kind: type[Stored]) -> dict[str, Any]:
    """Check data of a file against its declaration; defaults are filled in.

    Raises:
        ValueError: With the first key that is wrong, and why.
    """
    try:
        return kind.model_validate(data).model_dump()
    except ValidationError as error:
        raise ValueError(reason(error)) from None


def read_limited(path: Path, most: int) -> bytes:
    """Read a file of at most this many bytes.

    Raises:
        ValueError: It is larger.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return data


def depth(data: object) -> int:
    """Count the objects and lists inside each other, up to one more than `MOST_DEPTH`."""
    level = [data]
    for count in range(MOST_DEPTH + 1):
        inside = [part for part in level if isinstance(part, Mapping | list | tuple)]
        if not inside:
            return count
        level = [value for part in inside for value in (part.values() if isinstance(part, Mapping) else part)]
    return MOST_DEPTH + 1


def shown(value: object) -> str:
    """Write a value of a file for a message: short, on one line, and without failing."""
    try:
        return _short(repr(value))
    except (ValueError, RecursionError):  # whole numbers of thousands of digits cannot be written
        return f"a {type(value).__name__} that cannot be written"


def reason(error: BaseException) -> str:
    """Say in one short line why something failed."""
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the whole"
        return f"{_short(where)}: {problem['msg'].removeprefix('Value error, ')}, not {shown(problem['input'])}"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _short(" ".join(text.split()) or type(error).__name__)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}..."
