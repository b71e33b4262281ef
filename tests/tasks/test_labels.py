from pathlib import Path

import pytest

from dinocli.errors import DataError
from dinocli.tasks.labels import read_labels

NAMES = ["./a/1.png", "./a/2.png", "./b.v1/3.png", "./4.png"]


def test_folder_names_are_labels_and_the_top_has_none() -> None:
    assert read_labels("folder", NAMES) == {"folder": ["a", "a", "b.v1", ""]}


def write(folder: Path, text: str) -> str:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_csv_gives_its_columns_in_the_order_of_the_images(tmp_path: Path) -> None:
    spec = write(
        tmp_path, "\ufeffpath,defect,line\n4.png,crack,2\n./a/1.png,none,1\nnot/here.png,crack,9\na//2.png, ok,\n"
    )
    assert read_labels(spec, NAMES) == {"defect": ["none", " ok", "", "crack"], "line": ["1", "", "", "2"]}


def test_short_and_long_rows_do_no_harm(tmp_path: Path) -> None:
    spec = write(tmp_path, "path,defect,line\na/1.png,crack,1,more,and more\na/2.png\n")
    assert read_labels(spec, NAMES) == {"defect": ["crack", "", "", ""], "line": ["1", "", "", ""]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a header"),
        ("path,defect\n", "needs a header"),
        ("file,defect\na/1.png,crack\n", "needs a header with `path`"),
        ("path\na/1.png\n", "at least one label column"),
        (
            "path,defect\nelsewhere.png,crack\n",
            "no path in .* is the name of an image here; the first image is ./a/1.png",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_explained(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_labels(write(tmp_path, text), NAMES)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_a_binary_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.csv", "binary.csv"):
        with pytest.raises(DataError, match=f"cannot read the labels .*{name}"):
            read_labels(str(tmp_path / name), NAMES)


@pytest.mark.parametrize("names", [["./a.png", "./b.png"], ["a.png"]])
def test_a_flat_folder_has_no_labels(names: list[str]) -> None:
    with pytest.raises(DataError, match="no image lies in a folder of its class"):
        read_labels("folder", names)


def test_labels_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,kind\na.png,\nb.png,\n")
    with pytest.raises(DataError, match="an empty label for every image"):
        read_labels(str(tmp_path / "labels.csv"), ["./a.png", "./b.png"])
