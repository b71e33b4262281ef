"""Labels from folder names and CSV tables."""

from pathlib import Path

import pytest

from dinocli.data.labels import Labels, folder_labels, read_labels
from dinocli.errors import DataError

NAMES = ["./a/1.png", "./a/2.png", "./b.v1/3.png", "./4.png"]


def test_folder_names_are_labels_and_root_images_have_none() -> None:
    assert read_labels("folder", NAMES) == {"folder": ["a", "a", "b.v1", ""]}


def write(folder: Path, text: str) -> str:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_csv_columns_follow_the_order_of_the_images(tmp_path: Path) -> None:
    spec = write(
        tmp_path, "\ufeffpath,defect,line\n4.png,crack,2\n./a/1.png,none,1\nnot/here.png,crack,9\na//2.png, ok,\n"
    )
    assert read_labels(spec, NAMES) == {"defect": ["none", "ok", "", "crack"], "line": ["1", "", "", "2"]}


def read(tmp_path: Path, text: str, names: list[str] = NAMES, encoding: str = "utf-8") -> tuple[Labels, list[str]]:
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    notes: list[str] = []
    return read_labels(str(tmp_path / "labels.csv"), names, notes.append), notes


def test_outer_spaces_are_stripped_from_labels(tmp_path: Path) -> None:
    labels, notes = read(
        tmp_path, "path , defect\n a/1.png,crack\na/2.png , crack \n4.png,\xa0crack\nb.v1/3.png,crack\n"
    )
    assert labels == {"defect": ["crack"] * 4}
    assert notes == []


def test_a_table_of_boxes_gives_each_image_the_class_that_covers_most(tmp_path: Path) -> None:
    rows = (
        "1.png,80,dog,0,0,20,30\n1.png,80,cat,5,5,25,24\n1.png,80,cat,0,0,25,19\n2.png,80,dog,1,1,2,2\n4.png,80,,,,,\n"
    )
    labels, notes = read(tmp_path, f"filename,width,Class,xmin,ymin,xmax,ymax\n{rows}")
    assert labels == {"Class": ["cat", "dog", "", ""]}
    assert f"{tmp_path / 'labels.csv'} is a table of boxes: 4 objects in 3 images" in notes
    assert "1 images have objects of several classes; the label is the one that covers most" in notes
    assert notes[-2:] == [
        f"2 of 2 images of {tmp_path / 'labels.csv'} match by part of their path: '1.png', means ./a/1.png",
        f"2 of 4 images have no class in {tmp_path / 'labels.csv'}",
    ]
    with pytest.raises(DataError, match="line 2: xmin, ymin, xmax and ymax of a table of boxes have to be numbers"):
        read(tmp_path, "filename,class,xmin,ymin,xmax,ymax\n1.png,dog,a,0,1,1\n")


@pytest.mark.parametrize("other", ["a/1.png", "./a//1.png", "a\\1.png", "C:\\set\\a\\1.png"])
def test_contradicting_rows_are_refused_with_line_numbers(tmp_path: Path, other: str) -> None:
    with pytest.raises(DataError, match=r"./a/1.png is 'crack' in line 2 and 'none' in line 4 \(defect\); keep one"):
        read(tmp_path, f"path,defect\na/1.png,crack\na/2.png,x\n{other},none\n")
    labels, _ = read(tmp_path, f"path,defect,line\na/1.png,crack,\n{other},crack,1\n")
    assert labels == {"defect": ["crack", "", "", ""], "line": ["1", "", "", ""]}, "rows that agree are joined"


def test_unmatched_rows_and_images_are_counted(tmp_path: Path) -> None:
    _, notes = read(tmp_path, "path,defect\na/1.png,crack\nc/7.png,none\nc/8.png,none\n")
    assert notes == [
        f"2 of 3 rows of {tmp_path}/labels.csv match no image: the first is line 3, 'c/7.png'",
        f"3 of 4 images have no row in {tmp_path}/labels.csv",
    ]


@pytest.mark.parametrize(
    "paths",
    [
        ("a\\1.png", "a\\2.png", "b.v1\\3.png", "4.png"),
        ("1.png", "2.png", "3.png", "4.png"),
        ("1", "2", "3", "4"),
        ("a/1", "a/2", "b.v1/3", "4"),
        ("D:\\in\\a\\1.png", "D:\\in\\a\\2.png", "D:\\in\\b.v1\\3.png", "D:\\in\\4.png"),
        ("/in/a/1.png", "/in/a/2.png", "/in/b.v1/3.png", "/in/4.png"),
        ("A/1.PNG", "A/2.PNG", "B.V1/3.PNG", "4.PNG"),
        ("a/1.tif", "a/2.tif", "b.v1/3.tif", "4.tif"),
    ],
)
def test_paths_of_other_machines_match_by_their_end(tmp_path: Path, paths: tuple[str, ...]) -> None:
    rows = "".join(f"{path},{label}\n" for path, label in zip(paths, "wxyz", strict=True))
    labels, notes = read(tmp_path, "path,defect\n" + rows)
    assert labels == {"defect": ["w", "x", "y", "z"]}
    assert "match by part of their path: line 2" in notes[0]


def test_file_name_of_several_images_is_ambiguous(tmp_path: Path) -> None:
    names = ["./a/1.png", "./b/1.png", "./b/2.png"]
    labels, notes = read(tmp_path, "path,defect\n1.png,crack\n2.png,none\n", names)
    assert labels == {"defect": ["", "", "none"]}
    assert any("1 of 2 rows" in note and "could mean several images: the first is line 2" in note for note in notes)
    labels, notes = read(tmp_path, "path,defect\na/1.png,crack\nb/1.png,none\nb/2.png,none\n", ["./1.png", "./2.png"])
    assert labels == {"defect": ["", "none"]}, "two rows end with the name of the first image"
    assert any("2 of 3 rows" in note and "could mean several" in note for note in notes)


def test_decomposed_unicode_names_match(tmp_path: Path) -> None:
    labels, _ = read(tmp_path, "path,defect\nü.png,crack\n", ["./u\u0308.png"])
    assert labels == {"defect": ["crack"]}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_spreadsheet_csv_variants_are_read(tmp_path: Path, separator: str, encoding: str) -> None:
    lines = ["Path,défaut,note", '"a/1.png",rayé,"say ""x"", y"', "a/2.png,bon,", ",,", "b.v1/3.png,bon,", "4.png,bon,"]
    plain = lines[1] if separator == "," else lines[1].replace('"say ""x"", y"', '"say ""x"" y"')
    text = "\r\n".join([lines[0], plain, *lines[2:]]).replace(",", separator)
    if separator == ",":
        text = "\r\n".join(lines)
    labels, _ = read(tmp_path, text, encoding=encoding)
    assert labels["défaut"] == ["rayé", "bon", "bon", "bon"]
    assert labels["note"][0].startswith('say "x"')


def test_non_utf8_table_is_noted(tmp_path: Path) -> None:
    _, notes = read(tmp_path, "path,defect\na/1.png,rayé\n", encoding="cp1252")
    assert "is not UTF-8 and was read as Windows-1252" in notes[0]


def test_labels_that_differ_in_case_are_noted(tmp_path: Path) -> None:
    _, notes = read(tmp_path, "path,defect\na/1.png,Crack\na/2.png,crack\nb.v1/3.png,ok\n4.png,ok\n")
    assert notes == ["defect holds 'Crack' and 'crack', which count as different labels"]


NESTED = ["./good/p1/1.png", "./good/p2/1.png", "./bad/p1/1.png", "./bad/2.png", "./3.png"]


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        ("folder", ["p1", "p2", "p1", "bad", ""]),
        ("folder:-1", ["p1", "p2", "p1", "bad", ""]),
        ("folder:0", ["good", "good", "bad", "bad", ""]),
        ("folder:1", ["p1", "p2", "p1", "", ""]),
        ("folder:-2", ["good", "good", "bad", "", ""]),
    ],
)
def test_folder_level_is_selected_by_number(spec: str, labels: list[str]) -> None:
    assert read_labels(spec, NESTED) == {"folder": labels}


def test_nested_folders_are_noted() -> None:
    notes: list[str] = []
    read_labels("folder", NESTED, notes.append)
    assert notes == [
        "images lie up to 2 folders deep: the label is the innermost one (4 names); "
        "--labels folder:0 takes the outermost (2 names: bad, good)"
    ]
    read_labels("folder", NAMES, notes.append)
    read_labels("folder:0", NESTED, notes.append)
    assert len(notes) == 1
    with pytest.raises(DataError, match="deep enough for folder:2"):
        read_labels("folder:2", NESTED)


def test_duplicate_columns_and_feature_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'defect' twice"):
        read(tmp_path, "path,defect,defect\na/1.png,x,y\n")
    wide = ",".join(f"c{number}" for number in range(1001))
    with pytest.raises(DataError, match="1,002 columns"):
        read(tmp_path, f"path,{wide}\na/1.png{',1' * 1000}\n")


def test_short_rows_are_accepted_and_long_ones_noted(tmp_path: Path) -> None:
    spec = write(tmp_path, "path,defect,line\na/1.png,crack,1,more,and more\na/2.png\nb/1.png,dent,2,,\n")
    notes: list[str] = []
    assert read_labels(spec, NAMES, notes.append)["defect"][0] == "crack"
    assert notes[0].startswith(f"1 of 3 rows of {spec} have more cells than the header, which are ignored")
    assert "line 2; quote a cell" in notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a header"),
        ("path,defect\n", "has a header and no rows"),
        ("shot;defect\na/1.png;crack\n", "needs a header with `path` .*; its first line is 'shot,defect'"),
        ("path\na/1.png\n", "at least one label column"),
        (
            "path,defect\nelsewhere.png,crack\n",
            "no path in .* is the name of an image here; the first image is ./a/1.png",
        ),
    ],
)
def test_unusable_table_raises_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_labels(write(tmp_path, text), NAMES)
    assert "\n" not in str(caught.value)


def test_missing_or_binary_label_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long.csv").write_text("path,label\na.png," + "x" * 200_000)
    for name in ("missing.csv", "binary.csv", "long.csv"):
        with pytest.raises(DataError, match=f"cannot read the labels .*{name}"):
            read_labels(str(tmp_path / name), NAMES)


@pytest.mark.parametrize("names", [["./a.png", "./b.png"], ["a.png"]])
def test_flat_folder_has_no_labels(names: list[str]) -> None:
    with pytest.raises(DataError, match="no image lies in a folder of its class"):
        read_labels("folder", names)


def test_empty_labels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,kind\na.png,\nb.png,\n")
    with pytest.raises(DataError, match="an empty label for every image"):
        read_labels(str(tmp_path / "labels.csv"), ["./a.png", "./b.png"])


def test_unicode_variants_of_a_label_are_equal(tmp_path: Path) -> None:
    names = [f"./{number}.png" for number in range(4)]
    cells = ["gro\u0308\u00dfe", "gr\u00f6\u00dfe", "gr\u00f6\u00dfe\u200b", "\ufeffgr\u00f6\u00dfe\u00a0"]
    text = "path,label\n" + "".join(f"{name},{cell}\n" for name, cell in zip(names, cells, strict=True))
    labels, _ = read(tmp_path, text, names)
    assert set(labels["label"]) == {"gr\u00f6\u00dfe"}
    assert folder_labels("folder", ["./gro\u0308/1.png", "./gr\u00f6/2.png"]) == ["gr\u00f6"] * 2


def test_number_variants_and_placeholders_are_noted(tmp_path: Path) -> None:
    names = [f"./{number}.png" for number in range(4)]
    labels, notes = read(tmp_path, "path;label\n0.png;1\n1.png;1.0\n2.png;NaN\n3.png;2,5\n", names)
    assert labels["label"] == ["1", "1.0", "NaN", "2,5"]
    assert "label holds '1' and '1.0', which count as different labels" in notes
    assert any(note.startswith("'NaN' of 1 images in label counts as a label") for note in notes)


def test_header_spaces_spreadsheets_and_open_quotes(tmp_path: Path) -> None:
    names = [f"./{number}.png" for number in range(9)]
    assert read(tmp_path, "File Name,Class\n0.png,a\n", names)[0]["Class"][0] == "a"
    (tmp_path / "l.xlsx").write_bytes(b"PK\3\4" + bytes(50))
    with pytest.raises(DataError, match="it is a spreadsheet or an archive; give `folder` or a CSV"):
        read_labels(str(tmp_path / "l.xlsx"), names)
    rows = "".join(f"{name},{'x' * 30}\n" for name in names[1:])
    _, notes = read(tmp_path, 'path,label\n./0.png,a\n"' + rows, names)
    assert max(map(len, notes)) < 400
    assert any("is a quote open?" in note for note in notes)


def test_only_ambiguous_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could mean several images; give more of their folders"):
        read(tmp_path, "path,label\n0.png,a\n", ["./a/0.png", "./b/0.png"])
