import pytest

from dinocli.segmentation.output_names import output_stems


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["./a/b.png", "./c.tif"], ["a/b", "c"]),
        (["./a.jpg", "./a.png"], ["a.jpg", "a.png"]),
        (["./A.jpg", "./a.png", "./b.png"], ["A.jpg", "a.png", "b"]),
        (["./x/a.jpg", "./y/a.png"], ["x/a", "y/a"]),
        (["./a.b.png", "./a.c.png"], ["a.b", "a.c"]),
        (["./a.jpg", "./a.jpg.png", "./a.png"], ["a.jpg", "a.jpg.png", "a.png"]),
        (["./.png", "./ .png"], [".png", " "]),
        (["./=1+1.png", "./[a]/<b>.png", "./--out.png"], ["=1+1", "[a]/<b>", "--out"]),
    ],
)
def test_output_stems_are_unique_whatever_the_case(names: list[str], stems: list[str]) -> None:
    assert output_stems(names) == stems
    assert len({stem.casefold() for stem in stems}) == len(names)


def test_a_long_list_is_quick() -> None:
    names = [f"./part{number // 100}/{number}.{'png' if number % 2 else 'jpg'}" for number in range(20_000)]
    assert output_stems(names)[-1] == "part199/19999"
