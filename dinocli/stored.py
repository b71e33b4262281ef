"""JSON files that commands write, and their validated reading by pydantic models.

Such a file may be edited, damaged or malicious. Whatever it holds, callers get data of the declared types and sizes,
or the user gets one line; no content of a file may raise anything else.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dinocli.errors import DinocliError, WeightsError, one_line
from dinocli.files import write_atomic

MAX_BYTES = 64 << 20
"""Maximum size of a JSON file; the largest that dinocli writes holds a few megabytes."""

MAX_DEPTH = 32
"""Maximum nesting of objects and lists; files of dinocli reach 6."""

_MAX_PATH_BYTES, _MAX_NAME_BYTES = 4095, 255
"""Limits of Linux for a path and for each of its parts."""

_MAX_MESSAGE_CHARACTERS = 160
"""Characters of file content that a message quotes."""


def usable_name(name: str) -> str:
    """Return a path that the file system accepts, or raise `ValueError`."""
    if "\0" in name:
        raise ValueError("a name with a NUL character")
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("a name that no file can have") from None
    if len(raw) > _MAX_PATH_BYTES or any(len(part) > _MAX_NAME_BYTES for part in raw.split(b"/")):
        raise ValueError("a name that is longer than any file's")
    return name


Name = Annotated[str, AfterValidator(usable_name)]
"""A path, or a word, that the file system accepts."""

Count = Annotated[int, Field(ge=0, le=2**62)]
"""A number of items."""

AnyJson = dict[str, Any]
"""A JSON object of any content, which is only compared or displayed."""

T = TypeVar("T")


class Stored(BaseModel):
    """Base model of stored objects: declared keys are type-checked, others (of later versions) are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


@contextlib.contextmanager
def reading(where: object, advice: str, verb: str = "read") -> Iterator[None]:
    """Convert any exception that reading a file raises into a `WeightsError` of one line.

    Damaged files make libraries raise nearly any class, from `IndexError` to private ones; every list of them has been
    incomplete.

    Args:
        where: File, for the message.
        advice: What the user can do.
        verb: Past participle of the operation.

    Raises:
        WeightsError: Instead of every exception but `DinocliError` and `MemoryError`.
    """
    try:
        yield
    except (DinocliError, MemoryError):
        raise
    except Exception as error:
        raise WeightsError(f"{where} cannot be {verb} ({reason(error)}); {advice}") from error


def read_json(path: Path, model: type[Stored], advice: str) -> dict[str, Any]:
    """Read and validate a JSON file.

    Args:
        path: JSON file.
        model: Pydantic model of its object.
        advice: What the user can do if the file is invalid.

    Returns:
        The object, with the model's defaults for missing keys.

    Raises:
        WeightsError: The file is missing, larger than `MAX_BYTES`, not JSON, or does not fit the model.
    """
    with reading(path, advice):
        return parse_json(read_limited(path, MAX_BYTES), model)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, indented for people."""
    write_atomic(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def json_safe(value: Any, *, empty_text: bool = True) -> Any:
    """Replace NaN and infinity, which JSON does not support, by null, at any depth; tuples become lists.

    Args:
        value: Any data of mappings, lists, tuples, texts and numbers.
        empty_text: Keep empty texts; otherwise they become null too.
    """
    if isinstance(value, Mapping):
        return {key: json_safe(inner, empty_text=empty_text) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(inner, empty_text=empty_text) for inner in value]
    if isinstance(value, str):
        return value if value or empty_text else None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(text: bytes | str, model: type[Stored]) -> dict[str, Any]:
    """Parse and validate a JSON object.

    Raises:
        ValueError: The text is not JSON, nested deeper than `MAX_DEPTH`, or does not fit the model; in one line.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if depth(data) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return checked(data, model)


def checked(data: object, model: type[Stored]) -> dict[str, Any]:
    """Validate data by a pydantic model and fill in defaults.

    Raises:
        ValueError: With the first invalid key and the reason.
    """
    try:
        return model.model_validate(data).model_dump()
    except ValidationError as error:
        raise ValueError(reason(error)) from None


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Read a file of limited size.

    Raises:
        ValueError: The file is larger than `max_bytes`.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes:,} bytes")
    return data


def depth(data: object) -> int:
    """Return the nesting depth of objects and lists; at most `MAX_DEPTH` + 1."""
    level = [data]
    for count in range(MAX_DEPTH + 1):
        inside = [part for part in level if isinstance(part, Mapping | list | tuple)]
        if not inside:
            return count
        level = [value for part in inside for value in (part.values() if isinstance(part, Mapping) else part)]
    return MAX_DEPTH + 1


def short_repr(value: object) -> str:
    """Return the repr of a file's value for a message, at most 160 characters; never raises."""
    try:
        return _short(repr(value))
    except (ValueError, RecursionError):  # integers of more than 4300 digits have no repr
        return f"a {type(value).__name__} that cannot be written"


def reason(error: BaseException) -> str:
    """Return the reason of an exception in one line of limited length, also of data that does not fit a model."""
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the whole"
        return f"{_short(where)}: {problem['msg'].removeprefix('Value error, ')}, not {short_repr(problem['input'])}"
    return _short(one_line(error))


def _short(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE_CHARACTERS else f"{text[:_MAX_MESSAGE_CHARACTERS]}..."
