import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from dinocli import journal
from dinocli.artifacts.partial_features import PartialFeatures
from dinocli.errors import UsageError
from dinocli.progress import ProgressReporter
from dinocli.tasks.embed.embed import embed
from tests.forks import FORKS
from tests.tasks.embed.drive import job, write_images


class Killer(ProgressReporter):
    """Kills its own process, as the kernel does when memory is short: nothing is tidied up."""

    def __init__(self, after: int) -> None:
        self.after = after

    def progress(self, work: str, done: int, total: int, detail: str = "") -> None:
        if work == "embedding" and done >= self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def _embed_and_die(folder: Path, out: Path, after: int, commit_seconds: float, tile: str) -> None:
    journal.COMMIT_SECONDS = commit_seconds
    embed(job(folder, out, resume=True, max_bad="50%", tile=tile), Killer(after))


@pytest.mark.parametrize(
    ("commit_seconds", "tile"), [pytest.param(0.0, "", marks=pytest.mark.slow), (0.0, "30"), (1000.0, "")]
)
def test_a_file_killed_twice_and_resumed_equals_an_uninterrupted_one(
    tmp_path: Path, commit_seconds: float, tile: str
) -> None:
    folder = write_images(tmp_path / "images", 30, mixed=True)
    (folder / "009.png").write_bytes(b"no image")
    (folder / "014.png").write_bytes((folder / "015.png").read_bytes()[:200])  # a good header
    whole, out = tmp_path / "whole.npy", tmp_path / "feats.npy"
    embed(job(folder, whole, max_bad="50%", tile=tile))
    for after in (10, 19):
        victim = FORKS.Process(target=_embed_and_die, args=(folder, out, after, commit_seconds, tile))
        victim.start()
        victim.join(300)
        assert victim.exitcode == -signal.SIGKILL
        assert not out.exists()
        with (tmp_path / ".feats.npy.journal").open("ab") as journal:
            journal.write(b'{"pieces": 4, "ro')  # torn by a power cut
    journal_lines = (tmp_path / ".feats.npy.journal").read_bytes().splitlines()
    assert (len(journal_lines) > 2) == (commit_seconds == 0)  # else it starts again
    embed(job(folder, out, resume=True, max_bad="50%", tile=tile))
    for suffix in (".npy", ".paths.txt", ".bad.csv", *([".tiles.csv"] if tile else [])):
        assert out.with_suffix(suffix).read_bytes() == whole.with_suffix(suffix).read_bytes(), suffix
    metas = [json.loads(path.with_suffix(".json").read_text()) for path in (whole, out)]
    assert metas[0]["request"] == metas[1]["request"]
    assert not list(tmp_path.glob(".feats*"))


def test_rows_that_the_journal_does_not_count_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "COMMIT_SECONDS", math.inf)
    target, rows = tmp_path / "feats.npy", np.arange(12, dtype=np.float32).reshape(6, 2)
    first = PartialFeatures(target, {"a": 1}, (2,), "float32", resume=True)
    first.add(rows[:3], [(0, 0, 0, 0)] * 3, 4, [("./x", "broken")])
    first.commit()
    first.add(rows[4:], [(0, 0, 0, 0)] * 2, 2, [])
    first.close()
    again = PartialFeatures(target, {"a": 1}, (2,), "float32", resume=True)
    assert (again.pieces, again.rows, again.bad) == (4, 3, [("./x", "broken")])
    again.add(rows[3:], [(0, 0, 0, 0)] * 3, 3, [])
    np.testing.assert_array_equal(again.array(), rows)
    np.testing.assert_array_equal(np.load(again.finalize(), mmap_mode="r"), rows)
    again.close()


def test_another_request_cannot_resume(tmp_path: Path) -> None:
    target = tmp_path / "feats.npy"
    PartialFeatures(target, {"tokens": "cls", "size": 32}, (2,), "float32", resume=False).close()
    with pytest.raises(UsageError, match=r"changed: tokens: cls -> mean; or use --force"):
        PartialFeatures(target, {"tokens": "mean", "size": 32}, (2,), "float32", resume=True)
    fresh = PartialFeatures(target, {"tokens": "mean", "size": 32}, (2,), "float32", resume=False)
    assert fresh.pieces == 0
    fresh.close()
