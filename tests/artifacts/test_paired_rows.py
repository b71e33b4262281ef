import json
from pathlib import Path

import numpy as np
import pytest

from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.paired_rows import PairedRows, pair_rows
from dinocli.errors import DataError
from tests.tasks.cluster.sets import PLAIN


def write(path: Path, names: list[str] | int, root: Path | None = None, digest: str = "x") -> Path:
    count = names if isinstance(names, int) else len(names)
    np.save(path, np.arange(2.0 * count).reshape(count, 2))
    if not isinstance(names, int):
        path.with_suffix(".paths.txt").write_text("".join(f"{name}\n" for name in names))
    if root:
        about: dict[str, object] = {
            "kind": "features",
            "root": str(root),
            "request": {"images": digest},
            "n": count,
            "shape": [count, 2],
        }
        about |= {"weights": {"name": "test", "source": "none", "sha256": "0" * 64}, "preprocess": PLAIN.to_dict()}
        path.with_suffix(".json").write_text(json.dumps(about))
    return path


def paired(one: Path, other: Path) -> PairedRows:
    own, base = open_features(one), open_features(other)
    return pair_rows(own, np.arange(len(own)), base, np.arange(len(base)))


def images(root: Path, **contents: str) -> Path:
    root.mkdir(parents=True)
    for name, content in contents.items():
        (root / f"{name}.png").write_text(content)
    return root


def test_one_root_pairs_by_name_whatever_the_order(tmp_path: Path) -> None:
    root = images(tmp_path / "set", a="1", b="2")
    one = write(tmp_path / "one.npy", ["./a.png", "./b.png"], root)
    found = paired(one, write(tmp_path / "other.npy", ["./b.png", "./c.png", "./a.png"], root))
    assert (found.left_N.tolist(), found.right_N.tolist()) == ([0, 1], [2, 0])
    assert found.reason == f"by name, both in {root}"
    later = paired(one, write(tmp_path / "later.npy", ["./a.png", "./b.png"], root, digest="y"))
    assert later.reason.endswith("the images have changed between the two files")


def test_nested_roots_pair_by_path(tmp_path: Path) -> None:
    root = images(tmp_path / "set" / "a", a="1", b="2")
    one = write(tmp_path / "one.npy", ["./a/b.png", "./b.png"], tmp_path / "set")
    found = paired(one, write(tmp_path / "other.npy", ["./a.png", "./b.png"], root))
    assert (found.left_N.tolist(), found.right_N.tolist()) == ([0], [1]), "not the b.png above"


def test_other_images_of_the_same_names_are_refused_and_copies_are_paired(tmp_path: Path) -> None:
    names = ["./a.png", "./b.png"]
    one = write(tmp_path / "one.npy", names, images(tmp_path / "one", a="1", b="2"))
    other = write(tmp_path / "other.npy", names, images(tmp_path / "other", a="1", b="3"))
    with pytest.raises(DataError, match=r"one/b.png and .*other/b.png have the same name and are different images"):
        paired(one, other)
    found = paired(one, write(tmp_path / "copy.npy", names, images(tmp_path / "copy", a="1", b="2")))
    assert found.left_N.tolist() == [0, 1]
    assert found.reason.endswith("2 compared files are equal")
    gone = paired(one, write(tmp_path / "gone.npy", names, tmp_path / "gone"))
    assert gone.reason.endswith("no file could be compared")


def test_files_without_roots_or_names_say_so(tmp_path: Path) -> None:
    one = write(tmp_path / "one.npy", ["./a.png", "./b.png"], images(tmp_path / "set", a="1", b="2"))
    bare = write(tmp_path / "bare.npy", ["./b.png"])
    assert paired(one, bare).reason == f"by name alone: {bare} does not say where its images lie"
    two, three = write(tmp_path / "two.npy", 2), write(tmp_path / "three.npy", 3)
    assert paired(two, two).reason == "by row number: neither file has names"
    with pytest.raises(DataError, match=r"2 rows and .* 3, both without names"):
        paired(two, three)
