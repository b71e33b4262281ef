"""Tables of a terminal: no name is so long that the numbers beside it are lost."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from dinocli.cli.render import text_table

LONG = "./line3/" + "x" * 190 + "_0815.png"


def printed(rows: list[list[str]], width: int) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False)
    console.print(text_table("Groups", ["cluster", "images", "medoid"], rows, console.width))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", [LONG, "温" * 120, "a.png"])
def test_a_name_of_200_characters_takes_one_line(width: int, name: str) -> None:
    lines = printed([["0", "1,234", name], ["1", "5", "./b.png"]], width)
    assert len(lines) == 4, "title, header and two rows"
    assert all(cell_len(line) <= width for line in lines)
    assert "1,234" in lines[2]
    assert "./b.png" in lines[3]
    if name == LONG and width < 200:
        assert "…" in lines[2]
        assert lines[2].rstrip().endswith("_0815.png")


def test_what_a_terminal_would_obey_is_spelt_out() -> None:
    assert "\\x1b[31m" in printed([["0", "1", "\x1b[31mred"]], 80)[2]
