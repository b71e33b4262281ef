"""Images in tar shards as WebDataset writes them: read where they lie, by their place in the archive, never unpacked.

The path of such an image is that of its archive and its name inside: `shards/0001.tar/cat/12.jpg`. An archive is gone
through once, header by header; afterwards each image is one read.
"""

import bisect
import os
import posixpath
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import Any, BinaryIO

from dinocli.data.image_formats import image_suffixes
from dinocli.data.text_tables import is_utf8
from dinocli.errors import DataError

SUFFIX = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_MOST_HEADER = 1 << 20  # bytes read at a time while listing: a header can claim to be gigabytes
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_BRACES = 1_000_000
_TYPES = {tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a link"}

Source = str | bytes
"""A file by its path, or an image of an archive by its content."""


@dataclass(frozen=True)
class TarShard:
    """Where the images of one archive lie.

    Args:
        names: Sorted; a name that the archive holds twice counts once, as the later one.
        offsets: Of each, bytes.
        sizes: Of each, bytes.
        stamp: Size and modification time (ns) of the archive when it was gone through.
        bad: Names with the reason: links, sparse files, names that lead out of the archive, and a damaged end.
        left_out: Number of other members, by ending.
    """

    names: list[str]
    offsets: "array[int]"
    sizes: "array[int]"
    stamp: tuple[int, int]
    bad: list[tuple[str, str]]
    left_out: Counter[str]

    def place(self, name: str) -> tuple[int, int]:
        """Return offset and size of a member; `KeyError` where there is none."""
        row = bisect.bisect_left(self.names, name)
        if row == len(self.names) or self.names[row] != name:
            raise KeyError(name)
        return self.offsets[row], self.sizes[row]


_shards: dict[str, TarShard] = {}
_one_at_a_time = Lock()


def is_shard(path: str) -> bool:
    """Say whether a path names an uncompressed tar file that is there."""
    return path.lower().endswith(SUFFIX) and os.path.isfile(path)


def split_member(path: str) -> tuple[str, str] | None:
    """Split the path of an image in an archive into both; None for every other path."""
    lower, start = path.lower(), 0
    while (end := lower.find(SUFFIX + "/", start)) >= 0:
        start = end + len(SUFFIX)
        if os.path.isfile(path[:start]):
            return path[:start], path[start + 1 :]
    return None


def open_shard(path: str) -> TarShard:
    """Return the images of an archive, gone through at the first call, and again after it has changed.

    Raises:
        DataError: It is compressed, or no archive.
        OSError: It cannot be read.
    """
    with _one_at_a_time, open(path, "rb") as file:
        stamp = _stamp(file)
        known = _shards.get(path)
        if known is None or known.stamp != stamp:
            known = _shards[path] = _go_through(file, path, stamp)
        return known


def image_source(path: str) -> Source:
    """Return the content of an image in an archive, and the path of every other file as it is.

    Raises:
        DataError: The archive has no such image, or has changed meanwhile.
    """
    found = split_member(path)
    if found is None:
        return path
    archive, name = found
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


def decoder_input(source: Source) -> str | BytesIO:
    """Return what decoders take: a path, or a file in memory at its beginning."""
    return source if isinstance(source, str) else BytesIO(source)


def read_source(source: Source) -> bytes:
    """Return all bytes of an image."""
    if isinstance(source, bytes):
        return source
    with open(source, "rb") as file:
        return file.read()


def size_and_mtime(path: str) -> tuple[int, int]:
    """Return size in bytes and modification time in ns; of an image in an archive the archive's time and its own place.

    Raises:
        OSError: There is no such file.
    """
    if found := split_member(path):
        shard = open_shard(found[0])
        try:
            offset, size = shard.place(found[1])
        except KeyError:
            raise FileNotFoundError(2, "no such image in the archive", path) from None
        return size, shard.stamp[1] + offset
    about = os.stat(path)
    return about.st_size, about.st_mtime_ns


def expand_braces(pattern: str) -> list[str]:
    """Expand `{000..012}` as a shell does; a pattern without braces stays alone.

    Raises:
        DataError: More than a million names.
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    first, last, width = int(match[1]), int(match[2]), len(match[1])
    if abs(last - first) >= _MOST_BRACES:
        raise DataError(f"{pattern!r} are more than {_MOST_BRACES:,} names; give a folder or a glob")
    numbers = range(first, last + 1) if first <= last else range(first, last - 1, -1)
    heads = (f"{pattern[: match.start()]}{number:0{width}}" for number in numbers)
    return [head + rest for head in heads for rest in expand_braces(pattern[match.end() :])]


def refuse_compressed(path: str) -> None:
    """Raise a `DataError` for a compressed archive: no image in it can be read without all before it."""
    if path.lower().endswith(COMPRESSED):
        raise DataError(f"{path!r} is compressed, so that its images cannot be read one by one: decompress it once")


def _stamp(file: BinaryIO) -> tuple[int, int]:
    about = os.fstat(file.fileno())
    return about.st_size, about.st_mtime_ns


class _Headers:
    """A file that gives no more than a header may need."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(size)

    def seek(self, *place: int) -> int:
        return self.file.seek(*place)

    def tell(self) -> int:
        return self.file.tell()


def _go_through(file: BinaryIO, path: str, stamp: tuple[int, int]) -> TarShard:
    places: dict[str, tuple[int, int]] = {}
    bad: list[tuple[str, str]] = []
    left_out: Counter[str] = Counter()
    try:
        for member in _members(file, stamp[0]):
            _sort_in(member, places, bad, left_out)
    except (tarfile.TarError, RecursionError, OverflowError, ValueError) as error:
        if not places:
            raise DataError(f"{path!r} {_no_archive(file, error)}") from None
        bad.append(("", f"the archive is damaged after its first {len(places):,} images ({error})"))
    names = sorted(places)
    offsets, sizes = (array("q", (places[name][axis] for name in names)) for axis in (0, 1))
    return TarShard(names, offsets, sizes, stamp, bad, left_out)


def _members(file: BinaryIO, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members; `tarfile` itself takes a damaged header in the middle for the end."""
    opened: Any = _Headers(file)
    with tarfile.open(fileobj=opened, mode="r:") as archive:
        kept = getattr(archive, "members", [])  # it would keep all of them
        while (member := archive.next()) is not None:
            kept.clear()
            if member.isreg() and not member.issparse() and member.offset_data + member.size > size:
                raise tarfile.ReadError("it ends early")
            yield member
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("no header where one should be")


def _sort_in(
    member: tarfile.TarInfo, places: dict[str, tuple[int, int]], bad: list[tuple[str, str]], left_out: Counter[str]
) -> None:
    """Take an image, name what looks like one and is none, and count the rest."""
    if member.isdir():
        return
    name, ending = member.name, posixpath.splitext(member.name)[1].lower()
    parts = name.split("/")
    if not name.lower().endswith(image_suffixes()) or parts[-1].startswith("."):
        left_out[ending] += 1
    elif name.startswith("/") or ".." in parts:
        bad.append((name, "the name leads out of the archive"))
    elif member.issparse():
        bad.append((name, "a sparse member of an archive"))
    elif not member.isreg():
        bad.append((name, f"{_TYPES.get(member.type, 'a device')} in an archive, not an image"))
    else:
        places[posixpath.normpath(name)] = (member.offset_data, member.size)


def _no_archive(file: BinaryIO, error: Exception) -> str:
    file.seek(0)
    head = file.read(8)
    packed = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    if packed:
        return f"is compressed ({packed}), so that its images cannot be read one by one: decompress it once"
    return f"is no tar archive that can be read: {error}" if is_utf8(str(error)) else "is no tar archive"
