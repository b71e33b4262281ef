from pathlib import Path

from dinocli.data.sources import find_images
from dinocli.tasks.doctor import examine


def test_the_formats_are_what_a_folder_takes(tmp_path: Path) -> None:
    formats = examine()["formats"]
    assert {"jpg", "jfif", "tif", "jp2", "avif"} <= set(formats)
    for ending in (*formats, "txt", "pdf"):
        (tmp_path / f"a.{ending}").write_bytes(b"x")
    assert find_images([str(tmp_path)]).names == sorted(f"./a.{ending}" for ending in formats)
