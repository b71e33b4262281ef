"""Images in tar shards (WebDataset), read by their offset in the archive without unpacking it.

The path of such an image is the path of the archive, then its name inside: `shards/0001.tar/cat/12.jpg`. The headers of
an archive are read once; then each image takes one read.
"""

import bisect
import math
import os
import posixpath
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any, BinaryIO

from dinocli.data.image_formats import image_suffixes
from dinocli.data.text_tables import is_utf8
from dinocli.errors import DataError

SUFFIX = ".tar"
COMPRESSED = (
    *(".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4"),
    *(".zip", ".7z", ".rar"),
)
_COMPRESSION_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_MAX_HEADER_BYTES = 1 << 20  # read at once while listing: a header can claim gigabytes
_BRACES = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")
_MAX_BRACE_NAMES = 1_000_000
_LINK_TYPES = {tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a link"}


@dataclass(frozen=True)
class TarShard:
    """Positions of the images in one archive.

    Args:
        names: Sorted names; of duplicate names the last member counts.
        offsets: Offset of each image, bytes.
        sizes: Size of each image, bytes.
        stamp: Size and modification time (ns) of the archive when it was listed.
        bad: (name, reason) of links, sparse files, names that lead out of the archive, and a damaged end.
        left_out: Number of other members by suffix.
    """

    names: list[str]
    offsets: "array[int]"
    sizes: "array[int]"
    stamp: tuple[int, int]
    bad: list[tuple[str, str]]
    left_out: Counter[str]

    def place(self, name: str) -> tuple[int, int]:
        """Return offset and size of a member, bytes; `KeyError` if there is none."""
        row = bisect.bisect_left(self.names, name)
        if row == len(self.names) or self.names[row] != name:
            raise KeyError(name)
        return self.offsets[row], self.sizes[row]


_shards: dict[str, TarShard] = {}
_listing_lock = Lock()


def is_shard(path: str) -> bool:
    """Return whether a path is an existing uncompressed tar file."""
    return path.lower().endswith(SUFFIX) and os.path.isfile(path)


def split_member(path: str) -> tuple[str, str] | None:
    """Split the path of an image in an archive into (archive, name); None for other paths."""
    lower, start = path.lower(), 0
    while (end := lower.find(SUFFIX + "/", start)) >= 0:
        start = end + len(SUFFIX)
        if os.path.isfile(path[:start]):
            return path[:start], path[start + 1 :]
    return None


def open_shard(path: str) -> TarShard:
    """List the images of an archive; the list is cached until the archive changes.

    Raises:
        DataError: The file is compressed, or not a tar archive.
        OSError: The file cannot be read.
    """
    with _listing_lock, open(path, "rb") as file:
        stamp = _stamp(file)
        shard = _shards.get(path)
        if shard is None or shard.stamp != stamp:
            shard = _shards[path] = _listed(file, path, stamp)
        return shard


def read_member(archive: str, name: str) -> bytes:
    """Return the content of an image in an archive.

    Raises:
        DataError: The archive has no such image, or ends before it.
    """
    shard = _shards.get(archive) or open_shard(archive)
    with open(archive, "rb") as file:
        if _stamp(file) != shard.stamp:
            shard = open_shard(archive)
        try:
            offset, size = shard.place(name)
        except KeyError:
            raise DataError(f"{os.path.basename(archive)} has no such image") from None
        content = os.pread(file.fileno(), size, offset)
    if len(content) != size:
        raise DataError(f"{os.path.basename(archive)} ends before the image does")
    return content


def expand_braces(pattern: str) -> list[str]:
    """Expand `{000..012}` as a shell does; a pattern without braces gives itself.

    Raises:
        DataError: More than a million names.
    """
    ranges = [(int(first), int(last)) for first, last in _BRACES.findall(pattern)]
    if math.prod(abs(last - first) + 1 for first, last in ranges) > _MAX_BRACE_NAMES:
        raise DataError(f"{pattern!r} are more than {_MAX_BRACE_NAMES:,} names; give a folder or a glob")
    names, end = [""], 0
    for match, (first, last) in zip(_BRACES.finditer(pattern), ranges, strict=True):
        before, width = pattern[end : match.start()], len(match[1])
        numbers = range(first, last + 1) if first <= last else range(first, last - 1, -1)
        names = [f"{name}{before}{number:0{width}}" for name in names for number in numbers]
        end = match.end()
    return [name + pattern[end:] for name in names]


def refuse_compressed(path: str) -> None:
    """Raise `DataError` for a compressed archive, which has no random access."""
    if path.lower().endswith(COMPRESSED):
        raise DataError(f"{path!r} is compressed, so that its images cannot be read one by one: decompress it once")


def _stamp(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


class _HeaderReader:
    """File object that refuses reads of more than `_MAX_HEADER_BYTES`."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(size)

    def seek(self, *place: int) -> int:
        return self.file.seek(*place)

    def tell(self) -> int:
        return self.file.tell()


def _listed(file: BinaryIO, path: str, stamp: tuple[int, int]) -> TarShard:
    places: dict[str, tuple[int, int]] = {}
    bad: list[tuple[str, str]] = []
    left_out: Counter[str] = Counter()
    try:
        for member in _members(file, stamp[0]):
            _add_member(member, places, bad, left_out)
    except (tarfile.TarError, RecursionError, OverflowError, ValueError) as error:
        if not places:
            raise DataError(f"{path!r} {_unreadable_reason(file, error)}") from None
        bad.append(("", f"the archive is damaged after its first {len(places):,} images ({error})"))
    names = sorted(places)
    offsets, sizes = (array("q", (places[name][axis] for name in names)) for axis in (0, 1))
    return TarShard(names, offsets, sizes, stamp, bad, left_out)


def _members(file: BinaryIO, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members; raise for a damaged header in the middle, which `tarfile` takes for the end."""
    header_reader: Any = _HeaderReader(file)
    with tarfile.open(fileobj=header_reader, mode="r:") as archive:
        cached_members = getattr(archive, "members", [])  # `tarfile` keeps every member in memory
        while (member := archive.next()) is not None:
            cached_members.clear()
            if member.isreg() and not member.issparse() and member.offset_data + member.size > size:
                raise tarfile.ReadError("it ends early")
            yield member
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("no header where one should be")


def _add_member(
    member: tarfile.TarInfo, places: dict[str, tuple[int, int]], bad: list[tuple[str, str]], left_out: Counter[str]
) -> None:
    """Add an image to `places`, an unusable one to `bad`, any other member to the count by suffix."""
    if member.isdir():
        return
    name, suffix = member.name, posixpath.splitext(member.name)[1].lower()
    parts = name.split("/")
    if not name.lower().endswith(image_suffixes()) or parts[-1].startswith("."):
        left_out[suffix] += 1
    elif name.startswith("/") or ".." in parts:
        bad.append((name, "the name leads out of the archive"))
    elif member.issparse():
        bad.append((name, "a sparse member of an archive"))
    elif not member.isreg():
        bad.append((name, f"{_LINK_TYPES.get(member.type, 'a device')} in an archive, not an image"))
    else:
        places[posixpath.normpath(name)] = (member.offset_data, member.size)


def _unreadable_reason(file: BinaryIO, error: Exception) -> str:
    file.seek(0)
    head = file.read(8)
    compression = next((name for magic, name in _COMPRESSION_MAGIC.items() if head.startswith(magic)), "")
    if compression:
        return f"is compressed ({compression}), so that its images cannot be read one by one: decompress it once"
    return f"is not a tar archive that can be read: {error}" if is_utf8(str(error)) else "is not a tar archive"
