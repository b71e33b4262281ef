"""Images in tar shards: listed and read like those of folders; headers of an archive are not trusted."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.config.preprocess import Preprocess
from dinocli.data.cache import Decoder, open_store
from dinocli.data.decode import image_size, page_count, read_native
from dinocli.data.image_list import ImageList
from dinocli.data.image_source import size_and_mtime
from dinocli.data.read import Reader
from dinocli.data.sources import find_images
from dinocli.data.store import Store
from dinocli.data.tar_shards import expand_braces, open_shard, split_member
from dinocli.errors import DataError
from tests.engine.learners import PREPROCESS

NAMES = ("cat/0.png", "cat/1.jpg", "dog/2.tif", "dog/3.pgm", "4.npy")


def encoded(number: int, ending: str) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (24, 32), dtype=np.uint8)
    file = io.BytesIO()
    if ending == "npy":
        np.save(file, pixels)
    else:
        kind = {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "pgm": "PPM"}[ending]
        Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def add(
    archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    return {name: encoded(number, name.rsplit(".", 1)[1]) for number, name in enumerate(NAMES)}


def write_shards(folder: Path, contents: dict[str, bytes], shards: int = 2) -> Path:
    """Write the images to shards in turn, each with a `.cls` label beside it, as WebDataset does."""
    folder.mkdir()
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:03}.tar", "w") as archive:
            for name, content in list(contents.items())[shard::shards]:
                add(archive, name, content)
                add(archive, name.rsplit(".", 1)[0] + ".cls", b"1")
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]) -> Path:
    return write_shards(tmp_path_factory.mktemp("tar") / "shards", contents)


def test_folder_of_shards_reads_like_a_folder_of_images(
    shards: Path, contents: dict[str, bytes], tmp_path: Path
) -> None:
    found = find_images([str(shards)])
    assert found.names == sorted(f"./{place % 2:03}.tar/{name}" for place, name in enumerate(contents))
    assert found.root == shards
    assert found.notes[0] == "2 tar shards; left out: 5 .cls"
    for place, (name, content) in enumerate(contents.items()):
        plain = tmp_path / name.replace("/", "-")
        plain.write_bytes(content)
        inside = f"{shards}/{place % 2:03}.tar/{name}"
        np.testing.assert_array_equal(read_native(inside), read_native(plain))
        assert (image_size(inside), page_count(inside)) == (image_size(plain), page_count(plain))


@pytest.mark.parametrize(
    "named",
    [
        lambda top: [f"{top}/*.tar"],
        lambda top: [f"{top}/*"],
        lambda top: [f"{top}/{{000..001}}.tar"],
        lambda top: [f"{top}/001.tar", f"{top}/000.tar"],
        lambda top: [f"{top}/000.tar/cat/0.png", str(top)],
    ],
)
def test_different_inputs_list_the_same_shards(shards: Path, named: Callable[[Path], list[str]]) -> None:
    assert find_images(named(shards)).names == find_images([str(shards)]).names


def test_shard_and_single_member_are_inputs(shards: Path) -> None:
    whole = find_images([str(shards / "000.tar")])
    assert (whole.root, len(whole)) == (shards, 3)
    one = find_images([str(shards / "000.tar" / "cat" / "0.png")])
    assert (one.root, one.names) == (shards, ["./000.tar/cat/0.png"])
    assert find_images([str(shards)], exclude=["cat"]).names == [
        "./000.tar/4.npy",
        "./000.tar/dog/2.tif",
        "./001.tar/dog/3.pgm",
    ]


def test_brace_ranges_are_expanded() -> None:
    assert expand_braces("a{08..11}.tar") == ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]
    assert expand_braces("{1..0}{0..1}") == ["10", "11", "00", "01"]
    with pytest.raises(DataError, match="more than"):
        expand_braces("{0..99999999}.tar")
    with pytest.raises(DataError, match="more than 1,000,000 names"):  # of both together
        expand_braces("{0..999}/{0..999}-{0..1}.tar")
    assert len(expand_braces("{0..99}/{0..99}.tar")) == 10_000
    assert expand_braces(huge := f"{{0..{'9' * 5000}}}.tar") == [huge]


def test_missing_shard_is_named(shards: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 3 files of .* are missing, first '.*002.tar'"):
        find_images([f"{shards}/{{000..002}}.tar"])


def store_of(images: ImageList, folder: Path, preprocess: Preprocess = PREPROCESS) -> Store:
    reader = Reader(preprocess, 16)
    return open_store(Decoder(images, reader, 0, "100%"), cache="auto", shared=True, folder=folder)


def test_cache_is_reused_until_an_archive_changes(contents: dict[str, bytes], tmp_path: Path) -> None:
    top = write_shards(tmp_path / "shards", contents)
    images = find_images([str(top)])
    before = store_of(images, tmp_path / "cache")
    assert (len(before), before.kind) == (5, "disk")
    assert images.digest() == find_images([str(top)]).digest()
    store_of(images, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    (top / "000.tar").unlink()
    write_shards(tmp_path / "other", dict(list(contents.items())[:1]), shards=1)
    (tmp_path / "other" / "000.tar").rename(top / "000.tar")
    assert find_images([str(top)]).digest() != images.digest()
    gone = store_of(images, tmp_path / "cache2")
    assert [name for name, _ in gone.bad] == ["./000.tar/4.npy", "./000.tar/dog/2.tif"]


def test_archive_beside_images_is_left_out_and_noted(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "backup.tar").write_bytes((shards / "000.tar").read_bytes())
    (tmp_path / "a.png").write_bytes(encoded(0, "png"))
    found = find_images([str(tmp_path)])
    assert found.names == ["./a.png"]
    assert "left out: 1 .tar; to read them: name archives that lie beside images" in found.notes[0]
    assert len(find_images([str(tmp_path), str(tmp_path / "backup.tar")])) == 4


def test_unusable_members_are_listed_with_the_reason(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "good.png", encoded(0, "png"))
        add(archive, "./also.png", encoded(1, "png"))
        add(archive, "/etc/root.png", b"x")
        add(archive, "../up.png", b"x")
        add(archive, "hard.png", kind=tarfile.LNKTYPE, link="good.png")
        add(archive, "soft.png", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add(archive, "sparse.png", b"", kind=tarfile.CHRTYPE)
        add(archive, ".hidden.png", b"x")
    found = find_images([str(tmp_path / "a.tar")])
    assert found.names == ["./a.tar/also.png", "./a.tar/good.png"]
    assert found.bad == [
        ("./a.tar//etc/root.png", "the name leads out of the archive"),
        ("./a.tar/../up.png", "the name leads out of the archive"),
        ("./a.tar/hard.png", "a hard link in an archive, not an image"),
        ("./a.tar/soft.png", "a link in an archive, not an image"),
        ("./a.tar/sparse.png", "a device in an archive, not an image"),
    ]


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("hole.png")
    member.pax_headers = {"GNU.sparse.map": "0,1,1000000000,0", "GNU.sparse.size": "1000000000"}
    member.size = 1
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(b"x"))
        add(archive, "good.png", encoded(0, "png"))
    found = find_images([str(tmp_path)])
    assert found.names == ["./a.tar/good.png"]
    assert found.bad == [("./a.tar/hole.png", "a sparse member of an archive")]


@pytest.mark.parametrize("cut", [1500, 2100, -1024])
def test_truncated_archive_is_noted_and_keeps_complete_members(tmp_path: Path, cut: int) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(3):
            add(archive, f"{number}.pgm", encoded(number, "pgm"))  # 783 bytes: blocks of 512 + 1024
    content = (tmp_path / "a.tar").read_bytes()
    assert len(content) == tarfile.RECORDSIZE
    (tmp_path / "a.tar").write_bytes(content[: 3 * 1536 + (cut - 1536 if cut > 0 else -200)][: max(cut + 1000, 3000)])
    found = find_images([str(tmp_path)])
    assert 1 <= len(found) < 3
    ((name, reason),) = found.bad
    assert name == "./a.tar"
    assert "the archive is damaged after its first" in reason


def test_damaged_header_in_the_middle_is_reported(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(3):
            add(archive, f"{number}.pgm", encoded(number, "pgm"))
    with open(tmp_path / "a.tar", "r+b") as file:
        file.seek(1536)
        file.write(b"rubbish" * 20)
    found = find_images([str(tmp_path)])
    assert found.names == ["./a.tar/0.pgm"]
    assert found.bad[0][1] == "the archive is damaged after its first 1 images (no header where one should be)"


def test_compressed_archives_are_refused_with_the_reason(shards: Path, tmp_path: Path) -> None:
    for name in ("a.tar.gz", "b.tgz", "c.ZIP"):
        (tmp_path / name).write_bytes(b"\x1f\x8b")
        with pytest.raises(DataError, match=r"is compressed, so that .* decompress it once"):
            find_images([str(tmp_path / name)])
    with pytest.raises(
        DataError, match=r"left out: 1 \.tar\.gz, 1 \.tgz, 1 \.zip; to read them: decompress archives once"
    ):
        find_images([str(tmp_path)])
    with tarfile.open(tmp_path / "c.tar", "w:gz") as archive:
        add(archive, "a.png", encoded(0, "png"))
    with pytest.raises(DataError, match=r"compressed \(gzip\)"):
        find_images([str(tmp_path / "c.tar")])


@pytest.mark.parametrize("content", [b"", b"rubbish" * 500, b"\0" * 10240])
def test_file_that_is_not_an_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError):
        find_images([str(tmp_path)])


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo("long")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 5 << 30
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "0.png", encoded(0, "png"))
    content = (tmp_path / "a.tar").read_bytes().rstrip(b"\0")
    content += b"\0" * (-len(content) % 512) + member.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(content + b"\0" * 4096)
    found = find_images([str(tmp_path)])
    assert found.names == ["./a.tar/0.png"]
    assert "a header of 5,368,709,120 bytes" in found.bad[0][1]


def test_changed_archive_is_listed_again(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for number in (0, 1):
        with tarfile.open(path, "w") as archive:
            add(archive, "x" * (10 * number), b"")
            add(archive, "a.png", encoded(number, "png"))
        os.utime(path, (number, number))
        np.testing.assert_array_equal(
            read_native(f"{path}/a.png"), np.asarray(Image.open(io.BytesIO(encoded(number, "png"))))[..., None]
        )
    assert size_and_mtime(f"{path}/a.png")[0] == len(encoded(1, "png"))
    with pytest.raises(FileNotFoundError):
        size_and_mtime(f"{path}/b.png")
    with pytest.raises(DataError, match="no such image"):
        read_native(f"{path}/b.png")


def test_folder_with_a_tar_suffix_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.tar").mkdir()
    (tmp_path / "a.tar" / "b.png").write_bytes(encoded(0, "png"))
    assert split_member(str(tmp_path / "a.tar" / "b.png")) is None
    assert find_images([str(tmp_path)]).names == ["./a.tar/b.png"]


def test_listing_keeps_sorted_names_and_sizes(shards: Path) -> None:
    shard = open_shard(str(shards / "000.tar"))
    assert shard.names == ["4.npy", "cat/0.png", "dog/2.tif"]
    assert [shard.place(name)[1] for name in shard.names] == [*shard.sizes]
