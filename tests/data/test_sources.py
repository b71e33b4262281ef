"""Inputs of all forms, and file names that break scripts."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dinocli.data import image_formats
from dinocli.data.sources import find_images
from dinocli.errors import DataError, UsageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_folder_listing_is_recursive_sorted_and_relative(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPEG", "a/10.tif", "a/b/c d.webp", "é.bmp", "notes.txt", ".hidden.png", ".git/x.png")
    found = find_images([str(tmp_path)])
    assert found.names == ["./a/10.tif", "./a/b/c d.webp", "./a/z.JPEG", "./b.png", "./é.bmp"]
    assert found.root == tmp_path
    assert len(found) == 5
    assert all(Path(found.path(i)).is_file() for i in range(5))


def test_folder_with_an_image_suffix_is_listed(tmp_path: Path) -> None:
    touch(tmp_path, "set.png/a.png")
    assert find_images([str(tmp_path / "set.png")]).names == ["./a.png"]
    assert find_images([str(tmp_path)]).names == ["./set.png/a.png"]


def test_several_inputs_share_a_root_without_duplicates(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "x/b.png", "y/c.dat")
    one = [str(tmp_path / "x"), str(tmp_path / "x" / "a.png"), str(tmp_path / "y" / "c.dat")]
    found = find_images(one)
    assert found.root == tmp_path
    assert found.names == ["./x/a.png", "./x/b.png", "./y/c.dat"]
    assert find_images(one[::-1]) == found


def test_globs_are_expanded_unless_the_file_exists(tmp_path: Path) -> None:
    touch(tmp_path, "[a]/[b].png", "a/b.png", "a/c.png", "a/deep/d.png")
    assert find_images([str(tmp_path / "[a]" / "[b].png")]).names == ["./[b].png"]
    assert find_images([str(tmp_path / "a" / "?.png")]).names == ["./b.png", "./c.png"]
    assert find_images([str(tmp_path / "a" / "**" / "*.png")]).names == ["./b.png", "./c.png", "./deep/d.png"]


def test_lists_and_standard_input_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "in/a b.png", "in/é.png", "in/c.xyz", "more/d.png")
    (tmp_path / "list.txt").write_text("in/a b.png\r\nin/é.png\n\nin/c.xyz\nmore\n", encoding="utf-8")
    expected = ["./in/a b.png", "./in/c.xyz", "./in/é.png", "./more/d.png"]
    assert find_images(["@list.txt"]).names == expected
    lines = io.BytesIO((tmp_path / "list.txt").read_bytes())
    assert find_images(["-"], stdin=lines).names == expected
    touch(tmp_path, "in/two\nlines.png")
    found = find_images(["-"], stdin=io.BytesIO(b"in/two\nlines.png\0in/a b.png\0"), null=True)
    assert found.names == ["./a b.png"]
    assert found.bad == [(r"./two\nlines.png", "a line break in the name")]


def test_non_utf8_name_is_listed_as_bad(tmp_path: Path) -> None:
    (Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png"))).write_bytes(b"x")
    touch(tmp_path, "a.png")
    found = find_images([str(tmp_path)])
    assert found.names == ["./a.png"]
    assert found.bad == [(r"./\xff.png", "the name is not UTF-8")]


def test_symbolic_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "set/z/a.png", "elsewhere/b.png", "elsewhere/sub/c.png", "single.png")
    root = tmp_path / "set"
    (root / "a_loop").symlink_to(root)
    (root / "a_twin").symlink_to(root / "z")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    (root / "link.png").symlink_to(tmp_path / "single.png")
    assert find_images([str(root)]).names == ["./link.png", "./out/b.png", "./out/sub/c.png", "./z/a.png"]


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert find_images([str(tmp_path)]).names == ["./a.png"]


def test_listing_makes_no_stat_call_per_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{i}.png" for i in range(50)))
    asked: list[object] = []
    real = os.stat

    def counted(path: str) -> os.stat_result:
        asked.append(path)
        return real(path)

    monkeypatch.setattr(os, "stat", counted)
    assert len(find_images([str(tmp_path)])) == 50
    assert 0 < len(asked) < 5


def test_system_folders_are_left_out_and_noted(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.png",
        "@eaDir/a.png/SYNO_THUMB.jpg",
        "__MACOSX/._a.png",
        "x/Thumbs.db/t.jpg",
        "x/$RECYCLE.BIN/b.png",
    )
    touch(tmp_path, "n.txt", "m.TXT", "README", "x/d.csv", ".hidden.png", ".DS_Store", "._a.png")
    found = find_images([str(tmp_path)])
    assert found.names == ["./a.png"]
    assert found.notes == (
        "left out: 2 .txt, 1 without suffix, 1 .csv, 1 hidden images, "
        "4 system folders ($RECYCLE.BIN, @eaDir, Thumbs.db, __MACOSX)",
    )
    assert find_images([str(tmp_path / "**" / "*")]).names == ["./a.png"]
    assert find_images([str(tmp_path / "@eaDir")]).names == ["./a.png/SYNO_THUMB.jpg"], "what is named is taken"


def test_zarr_stores_are_left_out_with_the_way_round(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.zarr/.zgroup", "b.zarr/0/0.0.png", "c/zarr.json", "d.zarr/e.png")
    found = find_images([str(tmp_path)])
    assert found.names == ["./a.png", "./d.zarr/e.png"]
    assert found.notes == ("left out: 2 .zarr; to read them: save Zarr as OME-TIFF, GeoTIFF or .npy",)


def test_glob_lists_other_suffixes_only_if_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.txt", "c.dat")
    found = find_images([str(tmp_path / "*")])
    assert found.names == ["./a.png"]
    assert found.notes == ("left out: 1 .dat, 1 .txt",)
    assert find_images([str(tmp_path / "*.dat")]).names == ["./c.dat"]


def test_previews_in_a_list_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", ".thumbnails/a.png", "b/thumbs/a.png")
    lines = "".join(f"{tmp_path}/{name}\n" for name in ("a.png", ".thumbnails/a.png", "b/thumbs/a.png")).encode()
    found = find_images(["-"], stdin=io.BytesIO(lines))
    assert len(found) == 3
    assert "2 images lie in folders of previews, such as ./.thumbnails/a.png" in found.notes[0]


def test_all_readable_suffixes_are_listed(tmp_path: Path) -> None:
    names = [f"{suffix[1:]}{suffix.upper()}" for suffix in (".jfif", ".jpe", ".jp2", ".avif", ".pbm")]
    touch(tmp_path, *names)
    assert find_images([str(tmp_path)]).names == sorted(f"./{name}" for name in names)


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Simulate an installation without the extra `heic`."""
    monkeypatch.setattr(image_formats, "find_spec", lambda _: None)
    caches = (image_formats.decoders, image_formats.image_suffixes)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("without_heif")
def test_suffix_with_a_missing_decoder_is_noted_with_the_extra(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "h.heic")
    assert find_images([str(tmp_path)]).notes == ("left out: 1 .heic; to read them: pip install 'dinocli[heic]'",)


def test_include_and_exclude_select_names(tmp_path: Path) -> None:
    touch(tmp_path, "set/a.png", "set/a_mask.png", "set/x/masks/b.png", "set/x/b.jpg", "set/masks/c.png")

    def names(**more: list[str]) -> list[str]:
        return find_images([str(tmp_path / "set")], **more).names  # type: ignore[arg-type]

    assert names(exclude=["*_mask.*", "masks"]) == ["./a.png", "./x/b.jpg"]
    assert names(exclude=["x/masks"]) == names(exclude=["./x/masks/*"]) == names(exclude=["set/x/masks"])
    assert names(exclude=[f"{tmp_path}/set/x"]) == ["./a.png", "./a_mask.png", "./masks/c.png"]
    assert names(include=["*.jpg", "a*"]) == ["./a.png", "./a_mask.png", "./x/b.jpg"]
    assert names(include=["*.png"], exclude=["masks"]) == ["./a.png", "./a_mask.png"]
    found = find_images([str(tmp_path / "set")], exclude=["*.bmp", "masks", "*_mask.png"])
    assert found.notes == ("--exclude '*.bmp' matches no image", "--exclude leaves 2 of 5 images")
    with pytest.raises(DataError, match=r"no usable image in '.*set': --include '\*.bmp' matches no image"):
        names(include=["*.bmp"])


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("img_0_mask.png", "img_0.png"),
        ("img_0_masks.tif", "img_0.png"),
        ("img_0_cp_masks.png", "img_0.tif"),
        ("img_0-label.png", "img_0.jpg"),
        ("img_0_instances.png", "img_0.jpg"),
        ("img_0.mask.0.png", "img_0.jpg"),
        ("mask_img_0.png", "img_0.png"),
        ("img_0.jpg_seg.png", "img_0.jpg"),
        ("masks/img_0.png", "images/img_0.jpg"),
        ("ground_truth/crack/000_mask.png", "test/crack/000.png"),
        ("SegmentationClass/7.png", "JPEGImages/7.jpg"),
    ],
)
def test_masks_beside_their_images_are_noted(tmp_path: Path, mask: str, image: str) -> None:
    touch(tmp_path, mask, image, "other.png")
    (note,) = find_images([str(tmp_path)]).notes
    assert f"1 of 3 images are named like masks of others (./{mask} of ./{image}); --exclude" in note


@pytest.mark.parametrize(
    "name", ["thumb_{}.jpg", "test_eval_{}.png", "{}_1stHO.png", "{} copy.png", "{}.jpg.small.png"]
)
def test_three_versions_with_the_same_addition_are_noted(tmp_path: Path, name: str) -> None:
    stems = ["6_0", "6_1", "7"]
    touch(tmp_path, *(f"{stem}.jpg" for stem in stems), *(name.format(stem) for stem in stems), "other.png")
    (note,) = find_images([str(tmp_path)]).notes
    first = min(name.format(stem) for stem in stems)
    assert f"3 of 7 images are named like versions of others (./{first} of ./6_0.jpg); --exclude" in note


def test_numbered_and_few_additions_are_no_versions(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a_1.png", "a_2.png", "b.png", "b_1.png", "b_2.png", "b_x.png", "1_a.png", "a_x.png")
    assert find_images([str(tmp_path)]).notes == ()


def test_mask_like_names_without_an_image_are_images(tmp_path: Path) -> None:
    touch(tmp_path, "face_mask.png", "label.png", "mask/a.png", "unmasked/b.png", "seg_7.png")
    assert find_images([str(tmp_path)]).notes == ()


def test_same_names_with_other_suffixes_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "b.jpg")
    assert find_images([str(tmp_path)]).notes == (
        "1 images have the name of another one with another suffix; --exclude GLOB leaves one kind out",
    )


def test_root_option_keeps_names_for_any_subset(tmp_path: Path) -> None:
    touch(tmp_path, "set/a/1.png", "set/b/1.png")
    whole = find_images([str(tmp_path / "set")], root=str(tmp_path / "set"))
    part = find_images([str(tmp_path / "set" / "b")], root=str(tmp_path / "set"))
    assert part.root == whole.root == tmp_path / "set"
    assert part.names == whole.names[1:] == ["./b/1.png"]
    with pytest.raises(UsageError, match=r"--root .*b is not above .*/a/1\.png"):
        find_images([str(tmp_path / "set")], root=str(tmp_path / "set" / "b"))
    with pytest.raises(UsageError, match="no such folder"):
        find_images([str(tmp_path / "set")], root=str(tmp_path / "none"))


def test_circular_links_and_pipes_do_not_stop_the_listing(tmp_path: Path) -> None:
    touch(tmp_path, "set/a.png")
    root = tmp_path / "set"
    (root / "self").symlink_to(root / "self")
    (root / "self.png").symlink_to(root / "self.png")
    os.mkfifo(tmp_path / "pipe")
    (root / "pipe.png").symlink_to(tmp_path / "pipe")
    (root / "broken.png").symlink_to(root / "gone.png")
    found = find_images([str(root)])
    assert found.names == ["./a.png", "./broken.png", "./self.png"], "the reader reports broken links"
    assert "1 special file" in found.notes[0]
    with pytest.raises(DataError, match="pipe' is neither a file nor a folder"):
        find_images([str(tmp_path / "pipe")])
    assert find_images([str(root / "p*"), str(root)]).names == found.names


def test_folder_of_non_utf8_names_raises_with_the_reason(tmp_path: Path) -> None:
    (Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png"))).write_bytes(b"x")
    with pytest.raises(DataError, match=r"all 1 are left out, such as ./\\xff.png: the name is not UTF-8"):
        find_images([str(tmp_path)])
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/\xfe"))
    touch(folder, "a.png")
    with pytest.raises(DataError, match=r"name of the folder .*\\xfe is not UTF-8"):
        find_images([str(folder)])


def test_errors_name_the_input_and_the_fix(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.txt", "images/.b.png")
    with pytest.raises(DataError, match=r"no such file or folder: '.*imagse'; did you mean '.*images'\?"):
        find_images([str(tmp_path / "imagse")])
    with pytest.raises(DataError, match=r"no image in '.*images' \(looked for \.jpg"):
        find_images([str(tmp_path / "images")])
    with pytest.raises(DataError, match=r"nothing matches '.*\*\.png'"):
        find_images([str(tmp_path / "*.png")])
    with pytest.raises(DataError, match=r"cannot read the list '.*none\.txt': no such file"):
        find_images([f"@{tmp_path}/none.txt"])
    with pytest.raises(DataError, match="no image in '-'"):
        find_images(["-"], stdin=io.BytesIO(b"\n"))


def test_digest_depends_on_names_sizes_and_times_not_on_the_root(tmp_path: Path) -> None:
    digests = []
    for place in ("x", "y"):
        touch(tmp_path / place, "a.png", "b.png")
        for name in ("a.png", "b.png"):
            os.utime(tmp_path / place / name, ns=(1, 1))
        digests.append(find_images([str(tmp_path / place)]).digest())
    assert digests[0] == digests[1]
    os.utime(tmp_path / "y" / "a.png", ns=(1, 2))
    digests.append(find_images([str(tmp_path / "y")]).digest())
    (tmp_path / "y" / "a.png").write_bytes(b"xx")
    os.utime(tmp_path / "y" / "a.png", ns=(1, 2))
    digests.append(find_images([str(tmp_path / "y")]).digest())
    (tmp_path / "y" / "a.png").rename(tmp_path / "y" / "c.png")
    digests.append(find_images([str(tmp_path / "y")]).digest())
    gone = find_images([str(tmp_path / "y")])
    (tmp_path / "y" / "c.png").unlink()
    digests.append(gone.digest())
    assert len(set(digests)) == 5


def test_glob_lists_a_file_once_despite_circular_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "s/a.png", "s/b/c.png")
    (tmp_path / "s" / "loop").symlink_to(".")
    (tmp_path / "s" / "alias.png").symlink_to("a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images(["s/**/*.png"]).names == ["./a.png", "./alias.png", "./b/c.png"]


def test_output_folders_of_dinocli_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "runs/x/views.png", "runs/x/run.json", "runs/x/recipe.toml", "g/.dinocli-cluster")
    touch(
        tmp_path,
        "g/cluster-0/a.png",
        "o/segment.json",
        "o/segments.csv",
        "o/masks/a.png",
        "mine/run.json",
        "mine/b.png",
    )
    images = find_images([str(tmp_path)])
    assert images.names == ["./a.png", "./mine/b.png"]
    assert any("3 output folders of dinocli, such as g" in note for note in images.notes)
    assert find_images([str(tmp_path / "g")]).names == ["./cluster-0/a.png"], "named, it is what is wanted"
