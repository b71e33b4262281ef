"""The README's shell blocks run when they are pasted in order.

The fast test follows the files from line to line; the slow one pastes them, with images of two kinds and tiny weights.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import TINY, make_images, warm

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
if not README.is_file():
    pytest.skip("the README is in the repository alone", allow_module_level=True)

GIVEN = {"./images", "./good", "./parts", "./photos", "./query.png", "./few.csv"}
"""What the README assumes that the user has."""

OUTPUTS = ("--out", "-o", "--coco", "--sheet", "--report")
DEFAULT_OUTPUTS = {"embed": ["feats.npy"], "cluster": ["clusters.csv", "report.html"]}
PATHS = ("--weights", "--in", "--reference")


def lines() -> Iterator[str]:
    """Yield the lines of all shell blocks that are not about installing."""
    for block in re.findall(r"^```sh\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.strip() and not line.startswith(("make ", "pip ")):
                yield line


def files(words: list[str]) -> tuple[set[str], set[str]]:
    """Return what a command line reads and what it writes; the default output counts where none is named."""
    reads = {word for word in words[2:] if word.startswith(("./", "runs/")) or re.fullmatch(r"[\w-]+\.npy", word)}
    writes = {words[place + 1] for place, word in enumerate(words) if word in OUTPUTS}
    named = {word for word in words if word in OUTPUTS}
    writes |= {path for path in DEFAULT_OUTPUTS.get(words[1], []) if not writes or path == "report.html"}
    if "--report" in named:
        writes -= {"report.html"}
    return reads - writes, writes


def test_every_line_finds_what_it_reads_and_a_free_place_for_what_it_writes() -> None:
    there, seen = set(GIVEN), 0
    for line in lines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["dinocli"]:
            continue
        seen += 1
        reads, writes = files(words)
        assert reads <= there, f"{line}: no {reads - there} yet"
        if "--dry-run" not in words:
            assert not writes & there, f"{line}: {writes & there} exists by then"
            there |= writes
    assert seen >= 12


def test_the_walk_follows_files() -> None:
    assert files(shlex.split("dinocli cluster mine.npy --report map.html")) == ({"mine.npy"}, {"map.html"})
    assert files(shlex.split("dinocli embed --weights runs/a")) == ({"runs/a"}, {"feats.npy"})


@pytest.mark.slow
def test_the_blocks_run_when_pasted_in_order(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images" / "good", 16)
    make_images(tmp_path / "images" / "scratched", 16)
    for name in ("good", "parts", "photos"):
        make_images(tmp_path / name, 6)
    (tmp_path / "query.png").write_bytes((images / "00.png").read_bytes())
    few = [f"./{kind}/{number:02}.png,{kind}\n" for kind in ("good", "scratched") for number in range(4)]
    (tmp_path / "few.csv").write_text("path,label\n" + "".join(few))
    for line in lines():
        words = shlex.split(line, comments=True)
        assert words[0] == "dinocli", f"{line}: another program"
        tiny = [*TINY, "--steps", "4"] if words[1] in ("finetune-ssl", "pretrain") else []
        done = warm(*words[1:], *tiny, cwd=tmp_path)
        assert done.code == 0, f"{line}: {done.err[-2000:]}"
    made = {path.name for path in tmp_path.iterdir()}
    assert {"feats.npy", "mine.npy", "clusters.csv", "found.png", "defects", "objects", "objects.json"} <= made
