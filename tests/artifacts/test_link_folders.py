import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.artifacts.link_folders import MARKER_FILE, check_tree, write_tree
from dinocli.errors import DataError, UsageError
from dinocli.files import replace_path


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2)).save(file, "png")
    return file.getvalue()


PNG = _png()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a/1.png", "b/1.png", "b/1~2.png", "c/1.PNG", "c/-r.png", "c/[x] $(y).png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + name.encode())
    return tmp_path / "images"


NAMES = ["./a/1.png", "./b/1.png", "./b/1~2.png", "./c/-r.png", "./c/1.PNG", "./c/[x] $(y).png"]


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.name != MARKER_FILE and not path.is_dir())
    return {str(path.relative_to(folder)): path.read_bytes()[len(PNG) :].decode() for path in files}


@pytest.mark.parametrize("copy", [False, True])
def test_every_image_is_in_the_folder_of_its_group(images: Path, tmp_path: Path, copy: bool) -> None:
    tree = tmp_path / "deep" / "tree"
    assert write_tree(tree, images, NAMES, np.array([0, 0, 0, 1, 0, -1]), copy=copy) == []
    assert contents(tree) == {
        "cluster-0/1.png": "a/1.png",
        "cluster-0/1~2.png": "b/1.png",
        "cluster-0/1~2~2.png": "b/1~2.png",
        "cluster-0/1~3.PNG": "c/1.PNG",
        "cluster-1/-r.png": "c/-r.png",
        "none/[x] $(y).png": "c/[x] $(y).png",
    }
    assert all(path.is_symlink() != copy for path in tree.rglob("*.png"))


def test_links_survive_a_move_of_everything_and_a_linked_folder(images: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "near").symlink_to(tmp_path / "far" / "away")
    write_tree(tmp_path / "near" / "tree", images, NAMES, np.zeros(6, int), copy=False)
    assert len(contents(tmp_path / "far" / "away" / "tree")) == 6
    assert not os.readlink(next((tmp_path / "near" / "tree").rglob("*.png"))).startswith("/")


def test_only_a_tree_of_ours_is_replaced(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was not made by"):
        check_tree(images, force=True)
    tree = tmp_path / "tree"
    check_tree(tree, force=False)
    write_tree(tree, images, NAMES, np.arange(6), copy=False)
    with pytest.raises(UsageError, match="--force replaces it"):
        check_tree(tree, force=False)
    check_tree(tree, force=True)
    write_tree(tmp_path / "next", images, NAMES, np.zeros(6, int), copy=False)
    replace_path(tmp_path / "next", tree)
    assert [path.name for path in tree.iterdir() if path.is_dir()] == ["cluster-0"]
    assert len(list(images.rglob("*.[pP]*"))) == 6  # the images themselves stay


def test_folders_sort_as_numbers_do(images: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "t", images, NAMES, np.array([0, 1, 2, 9, 10, 10]), copy=False)
    assert sorted(path.name for path in (tmp_path / "t").iterdir())[1:3] == ["cluster-00", "cluster-01"]


def test_missing_images_are_named(images: Path, tmp_path: Path) -> None:
    (images / "a/1.png").unlink()
    assert write_tree(tmp_path / "t", images, NAMES, np.zeros(6, int), copy=False)[0][0] == "./a/1.png"
    with pytest.raises(DataError, match=r"none of the 1 images can be put into --link-dir: \./a/1\.png"):
        write_tree(tmp_path / "u", images, NAMES[:1], np.zeros(1, int), copy=True)


def test_equal_names_of_255_bytes_stay_within_the_limit(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ("ü" * 125 + ".png")).write_bytes(PNG + folder.encode())
    names = [f"./{folder}/{'ü' * 125}.png" for folder in "ab"]
    assert write_tree(tmp_path / "t", tmp_path, names, np.zeros(2, int), copy=False) == []
    assert sorted(contents(tmp_path / "t").values()) == ["a", "b"]


@pytest.mark.parametrize("copy", [False, True])
def test_names_that_begin_with_two_dots_are_linked(tmp_path: Path, copy: bool) -> None:
    names = ["./..x.png", "./...", "./..d/a.png", "./a/../..y.png"]
    for name in names:
        path = Path(os.path.normpath(tmp_path / "in" / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + path.name.encode())
    (tmp_path / "in" / "a").mkdir()
    assert write_tree(tmp_path / "t", tmp_path / "in", names, np.zeros(4, int), copy=copy) == []
    assert sorted(contents(tmp_path / "t").values()) == ["...", "..x.png", "..y.png", "a.png"]


@pytest.mark.parametrize("copy", [False, True])
def test_names_that_lead_out_of_the_folder_are_not_linked(images: Path, tmp_path: Path, copy: bool) -> None:
    (tmp_path / "secret.png").write_bytes(PNG + b"secret")
    (images / "a" / "passwd").write_text("root:x:0:0")
    names = ["./a/1.png", "../secret.png", "./a/../../secret.png", str(tmp_path / "secret.png"), "./a/passwd"]
    failed = dict(write_tree(tmp_path / "t", images, names, np.zeros(5, int), copy=copy))
    assert set(failed) == set(names[1:] if copy else names[1:4])
    assert f"leads out of {images}" in failed["../secret.png"]
    assert list(contents(tmp_path / "t").values())[:1] == ["a/1.png"]


def test_links_are_followed_out_of_the_folder_only_when_asked(images: Path, tmp_path: Path) -> None:
    (tmp_path / "far.png").write_bytes(PNG + b"far")
    (images / "a" / "1.png").unlink()
    (images / "a" / "1.png").symlink_to(tmp_path / "far.png")
    ((name, reason),) = write_tree(tmp_path / "t", images, NAMES, np.zeros(6, int), copy=True)
    assert (name, "--follow-links copies" in reason) == ("./a/1.png", True)
    assert write_tree(tmp_path / "u", images, NAMES, np.zeros(6, int), copy=True, follow_links=True) == []
    assert "far" in contents(tmp_path / "u").values()
