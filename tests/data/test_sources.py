"""Inputs of every form, and names that break scripts."""

import io
import os
from pathlib import Path

import pytest

from dinocli.data.sources import find_images
from dinocli.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_is_searched_sorted_and_relative(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPEG", "a/10.tif", "a/b/c d.webp", "é.bmp", "notes.txt", ".hidden.png", ".git/x.png")
    found = find_images([str(tmp_path)])
    assert found.names == ["./a/10.tif", "./a/b/c d.webp", "./a/z.JPEG", "./b.png", "./é.bmp"]
    assert found.root == tmp_path
    assert len(found) == 5
    assert all(Path(found.path(i)).is_file() for i in range(5))


def test_a_folder_may_have_an_image_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "set.png/a.png")
    assert find_images([str(tmp_path / "set.png")]).names == ["./a.png"]
    assert find_images([str(tmp_path)]).names == ["./set.png/a.png"]


def test_several_inputs_share_a_root_and_count_once(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "x/b.png", "y/c.dat")
    one = [str(tmp_path / "x"), str(tmp_path / "x" / "a.png"), str(tmp_path / "y" / "c.dat")]
    found = find_images(one)
    assert found.root == tmp_path
    assert found.names == ["./x/a.png", "./x/b.png", "./y/c.dat"]
    assert find_images(one[::-1]) == found


def test_globs_and_files_that_look_like_globs(tmp_path: Path) -> None:
    touch(tmp_path, "[a]/[b].png", "a/b.png", "a/c.png", "a/deep/d.png")
    assert find_images([str(tmp_path / "[a]" / "[b].png")]).names == ["./[b].png"]
    assert find_images([str(tmp_path / "a" / "?.png")]).names == ["./b.png", "./c.png"]
    assert find_images([str(tmp_path / "a" / "**" / "*.png")]).names == ["./b.png", "./c.png", "./deep/d.png"]


def test_lists_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_name_that_is_not_utf8_is_set_aside(tmp_path: Path) -> None:
    (Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png"))).write_bytes(b"x")
    touch(tmp_path, "a.png")
    found = find_images([str(tmp_path)])
    assert found.names == ["./a.png"]
    assert found.bad == [(r"./\xff.png", "the name is not UTF-8")]


def test_links_are_followed_once(tmp_path: Path) -> None:
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


def test_listing_asks_nothing_about_single_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{i}.png" for i in range(50)))
    asked: list[object] = []
    real = os.stat

    def counted(path: str) -> os.stat_result:
        asked.append(path)
        return real(path)

    monkeypatch.setattr(os, "stat", counted)
    assert len(find_images([str(tmp_path)])) == 50
    assert 0 < len(asked) < 5


def test_errors_name_the_input_and_a_way_out(tmp_path: Path) -> None:
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


def test_digest_follows_names_sizes_and_times_but_not_the_place(tmp_path: Path) -> None:
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
