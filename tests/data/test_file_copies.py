from pathlib import Path

from dinocli.data.file_copies import equal_files, same_files


def write(folder: Path, **content: bytes) -> list[str]:
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in content]


def test_copies_are_grouped_by_content_not_by_size(tmp_path: Path) -> None:
    paths = write(tmp_path, a=b"one", b=b"two", c=b"one", d=b"other", e=b"two", f=b"one", g=b"six")
    assert same_files([*paths, str(tmp_path / "gone")]) == [[0, 2, 5], [1, 4]]
    assert same_files([]) == []


def test_files_are_found_among_others_by_content(tmp_path: Path) -> None:
    paths = write(tmp_path, a=b"one", b=b"two", c=b"three")
    others = write(tmp_path, p=b"ten", q=b"three", r=b"one", s=b"one")
    gone = str(tmp_path / "gone")
    assert equal_files([*paths, gone], [gone, *others]) == {0: 4, 2: 2}
    assert equal_files(paths, paths) == {0: 0, 1: 1, 2: 2}
