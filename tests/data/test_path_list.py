"""Path lists and tables in the formats of editors, shells and spreadsheets."""

import io
from pathlib import Path

import pytest

from dinocli.data.sources import find_images
from dinocli.errors import DataError

NAMES = ["./a b.png", "./c,d.png", "./é.png"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


LINES = "in/a b.png\nin/c,d.png\nin/é.png\n"
TABLE = 'in/a b.png,crack\n"in/c,d.png",none\nin/é.png,\n'


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode(),
        LINES.encode("utf-8-sig"),
        LINES.replace("\n", "\r\n").encode("utf-8-sig"),
        LINES.replace("\n", "\r").encode(),
        LINES.encode("utf-16"),
        LINES.replace("\n", "\r\n").encode("utf-16-be"),
        LINES.encode("cp1252"),
        LINES.replace("\n", "\0").encode(),
        ("path\n" + LINES).encode(),
        LINES.replace("/", "\\").encode(),
        'in/a b.png\n"in/c,d.png"\n  in/é.png  \n\n'.encode(),
        ("path,label\n" + TABLE).encode(),
        ("label\tFile\n" + "crack\tin/a b.png\nnone\tin/c,d.png\n\tin/é.png\n").encode("utf-16"),
    ],
    ids=[
        "lf",
        "mark",
        "crlf",
        "cr",
        "utf16",
        "utf16be",
        "windows",
        "null",
        "header",
        "backslash",
        "quotes",
        "t",
        "t16",
    ],
)
@pytest.mark.parametrize("name", ["list.txt", "list"])
def test_lists_of_all_encodings_and_line_ends_are_read(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    assert find_images([f"@{name}"]).names == NAMES


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n" + TABLE,
        "label;path\ncrack;in/a b.png\nnone;in/c,d.png\n;in/é.png\n;\n",
        "sep=;\nlabel;Path\ncrack;in/a b.png\nnone;in/c,d.png\n;in/é.png\n",
        'path\nin/a b.png\n"in/c,d.png"\nin/é.png\n',
        TABLE,
        "image\tlabel\nin\\a b.png\tcrack\nin\\c,d.png\t1\nin\\é.png\t2\n",
    ],
    ids=["comma", "semicolon", "sep", "one", "bare", "tab"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_path_column_of_a_table_is_read(folder: Path, text: str, encoding: str) -> None:
    (folder / "list.csv").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert find_images(["@list.csv"]).names == NAMES


def test_binary_list_is_refused(folder: Path) -> None:
    (folder / "list.txt").write_bytes(b"in/a b.png\nin/\0c.png\n")
    with pytest.raises(DataError, match=r"line 2 of the list 'list.txt' holds a NUL byte"):
        find_images(["@list.txt"])
    with pytest.raises(DataError, match="line 1 of the list '-' holds a NUL"):
        find_images(["-"], stdin=io.BytesIO(b"a\0b\n"))
    with pytest.raises(DataError, match="holds a NUL byte"):
        find_images(["a\0b"])


def test_paths_relative_to_the_list_are_refused_with_the_reason(folder: Path) -> None:
    (folder / "in" / "list.txt").write_text("a b.png\n")
    with pytest.raises(DataError, match="relative to 'in': run the command there"):
        find_images(["@in/list.txt"])


def test_device_is_refused_as_list() -> None:
    with pytest.raises(DataError, match="cannot read the list '/dev/zero': it is a device, not a file"):
        find_images(["@/dev/zero"])


@pytest.mark.parametrize("text", ["# mine\nin/a b.png\n# more\n#in/no.png\n", "# mine\npath\nin/a b.png\n"])
def test_comment_lines_are_skipped(folder: Path, text: str) -> None:
    (folder / "list.txt").write_text(text)
    assert find_images(["@list.txt"]).names == ["./a b.png"]
    (folder / "#1.png").touch()
    (folder / "list.txt").write_text("#1.png\n# more\n")
    assert find_images(["@list.txt"]).names == ["./#1.png"]


@pytest.mark.parametrize("header", ["nr,bild\n", "Nr,File Name\n", ""])
def test_first_column_of_existing_files_is_read(folder: Path, header: str) -> None:
    (folder / "list.csv").write_text(header + "1,in/a b.png\n2,in/é.png\n")
    assert find_images(["@list.csv"]).names == ["./a b.png", "./é.png"]


LONG = f"a.png,{'x' * 200_000}"  # a cell longer than the limit of the csv module


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("coco.json", f'{{"images": [{{"file_name": "{LONG}"}}]}}', "'coco.json' is JSON: "),
        ("coco.json", '{\n "images": [\n', "'coco.json' is JSON: "),
        ("list", LONG, "cannot read the list 'list': it is not a table (field larger than field limit (131072)); "),
        ("list.csv", f"path,label\n{LONG}\n", "cannot read the list 'list.csv': it is not a table (field larger"),
    ],
)
def test_files_that_are_no_list_are_refused(folder: Path, name: str, text: str, reason: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError) as caught:
        find_images([f"@{name}"])
    assert str(caught.value).startswith(reason)
    assert str(caught.value).endswith("@ takes a text file with one path a line, or a table with a column path")
