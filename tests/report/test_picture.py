import os
from pathlib import Path

import pytest

from dinocli.report.picture import Picture, is_near, link, source


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("out/a b.png", "./a%20b.png"),
        ("images/ü#1?.png", "../images/%C3%BC%231%3F.png"),
        ("out/javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("out/..a.png", "./..a.png"),
        (os.fsdecode(b"out/\xff%41.png"), "./%FF%2541.png"),
        ('out/"><script>.png', "./%22%3E%3Cscript%3E.png"),
    ],
)
def test_a_link_is_relative_and_says_nothing_but_the_name(target: str, address: str) -> None:
    assert link(Path(target), Path("out/report.html")) == address
    assert link(Path(target).absolute(), Path("out/report.html")) == address


def test_bytes_travel_inside_and_only_as_pictures() -> None:
    assert source(Picture(b"abc", "image/png"), Path("report.html")) == "data:image/png;base64,YWJj"
    assert source(Path("thumbs/1.jpg"), Path("report.html")) == "./thumbs/1.jpg"
    for mime in ("image/svg+xml", "text/html", 'image/png" onload="'):
        with pytest.raises(ValueError, match="a page shows"):
            Picture(b"abc", mime)


def test_only_files_that_move_with_the_page_are_near() -> None:
    page = Path("/", "home", "me", "work", "out", "report.html")
    assert is_near(Path("/", "home", "me", "work", "images"), page)
    assert is_near(Path("/", "home", "you", "images"), page)
    assert not is_near(Path("/", "mnt", "images"), page)
