"""File names with every possible character, every way to name images, and unreadable files."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import RANDOM, TINY, Result, dinocli, in_process, make_images, warm

ODD = [
    "[b].png",
    "[red]c[bold].png",
    "with space.png",
    'it\'s "quoted".png',
    "-dash.png",
    "=1+1.png",
    "größe 日本.png",
    "bell\x07.png",
    "semi;colon,comma.png",
    "$HOME `x`.png",
    "*.png",
    "plain.png",
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder called `[a]` with one good image of every odd name, and three that are named in images.bad.csv."""
    home = tmp_path_factory.mktemp("odd")
    folder = make_images(home / "[a]", names=ODD)
    (folder / "cut.png").write_bytes((folder / "plain.png").read_bytes()[:200])
    make_images(folder, names=["two\nlines.png"])
    with open(os.fsencode(folder) + b"/latin\xe9.png", "wb") as file:
        file.write((folder / "plain.png").read_bytes())
    return home


@pytest.fixture(scope="module")
def odd_run(odd: Path) -> Result:
    out = 'out [b] "it\'s"'
    return warm("pretrain", "[a]", *TINY, "--cache", "8M", "--steps", "1", "--max-bad", "50%", "--out", out, cwd=odd)


def test_paths_are_printed_as_they_are(odd_run: Result, odd: Path) -> None:
    assert odd_run.code == 0, odd_run.err
    assert odd_run.out == 'out [b] "it\'s"\n'
    assert f"{odd}/[a]\n" in odd_run.err
    assert 'look: out [b] "it\'s"/report.html\n' in odd_run.err
    assert (odd / odd_run.out[:-1] / "report.html").is_file()


def test_all_odd_names_are_read_and_the_others_named(odd_run: Result, odd: Path) -> None:
    run = odd / odd_run.out[:-1]
    assert json.loads((run / "run.json").read_text())["images"] == len(ODD)
    with (run / "images.bad.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["path", "reason"]
    bad = dict(rows)
    assert set(bad) == {"./cut.png", "./two\\nlines.png", "./latin\\xe9.png"}
    assert "line break" in bad["./two\\nlines.png"]
    assert "UTF-8" in bad["./latin\\xe9.png"]
    assert bad["./cut.png"]
    assert "3 images cannot be read" in odd_run.err


def counted(*inputs: str | Path, cwd: Path, stdin: bytes = b"") -> int:
    """Return the number of images that a command found."""
    done = in_process("embed", *RANDOM, "--size", "32", "--dry-run", "--json", *inputs, cwd=cwd, stdin=stdin)
    assert done.code == 0, done.err
    return int(json.loads(done.out)["images"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders: a with 3 images, a/b with 4, and -c with 5."""
    home = tmp_path_factory.mktemp("tree")
    for name, count in (("a", 3), ("a/b", 4), ("-c", 5)):
        make_images(home / name, count)
    (home / "list.txt").write_text("a/00.png\na/b/01.png\n\n-c/02.png\n")
    return home


@pytest.mark.parametrize(
    ("inputs", "stdin", "count"),
    [
        (("a",), b"", 7),
        (("a/b", "a"), b"", 7),
        (("a/*.png",), b"", 3),
        (("a/**/*.png",), b"", 7),
        (("a/00.png", "a/b"), b"", 5),
        (("./-c",), b"", 5),
        (("--", "-c", "a"), b"", 12),
        (("@list.txt",), b"", 3),
        (("-",), b"a/00.png\n./-c\n", 6),
        (("-", "-0"), b"a/00.png\0a/b/00.png\0a/b\0", 5),
        (("--null", "-", "a/b"), b"a/00.png\0", 5),
    ],
)
def test_every_way_to_name_images(inputs: tuple[str, ...], stdin: bytes, count: int, tree: Path) -> None:
    assert counted(*inputs, cwd=tree, stdin=stdin) == count


def test_names_with_line_breaks_come_through_nul_but_cannot_be_listed(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "x", names=[*(f"{n}.png" for n in range(8)), "two\nlines.png"])
    names = b"\0".join(os.fsencode(path) for path in folder.iterdir())
    done = warm("embed", "-", "-0", *RANDOM, "--size", "32", "--max-bad", "50%", cwd=tmp_path, stdin=names)
    assert done.code == 0, done.err
    assert (tmp_path / "feats.bad.csv").read_text().splitlines()[1:] == ["./two\\nlines.png,a line break in the name"]


def test_an_option_in_front_of_a_dash_folder_is_explained(tree: Path) -> None:
    done = dinocli("pretrain", "-c", cwd=tree)
    assert done.code == 2
    assert "-c" in done.err


def files(*folders: Path) -> Iterator[str]:
    for folder in folders:
        yield from (str(path) for path in sorted(folder.rglob("*")) if ".streams" not in path.parts)


def test_a_dry_run_writes_nothing_and_says_everything(images: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    before = list(files(tmp_path, images))
    done = warm(
        *("pretrain", images, *TINY, "--cache", "auto", "--dry-run", "--json"),
        cwd=tmp_path,
        env={"XDG_CACHE_HOME": str(cache)},
    )
    assert done.code == 0, done.err
    assert list(files(tmp_path, images)) == before
    data = json.loads(done.out)
    assert data["schema"] == 1
    assert (data["images"], data["dtypes"], data["median_size"], data["grey"]) == (12, {"uint8": 12}, [40, 48], True)
    assert data["canvas_bytes"] == 12 * 32 * 38
    assert data["batch_size"] == 4
    assert data["range"] == "full"
    for key in ("steps", "seconds_per_step", "seconds_per_probe", "minutes", "peak_memory_bytes"):
        assert data[key] > 0, key
    assert "auto" not in (data["recipe"]["run"]["steps"], data["recipe"]["head"]["out_dim"])
    plain = warm("pretrain", images, *TINY, "--dry-run", cwd=tmp_path)
    assert dict(line.split("\t") for line in plain.out.splitlines())["images"] == "12"
