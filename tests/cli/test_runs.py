"""`dinocli runs` and `dinocli rerun`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dinocli.artifacts.run_folder import RunFolder
from dinocli.artifacts.run_record import differing_sources, project_folder
from dinocli.cli.rerun import command_of
from dinocli.errors import UsageError
from tests.cli.commands import Result, in_process, warm


@pytest.fixture(scope="module")
def run(finished: Result, home: Path) -> Path:
    assert finished.code == 0, finished.err
    return home / finished.out.rstrip("\n")


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def test_a_rerun_has_the_same_losses_to_the_last_bit(run: Path, home: Path, tmp_path: Path) -> None:
    latest = home / "runs" / "latest"
    before = latest.read_text()
    done = warm("rerun", run, "--out", tmp_path / "again", cwd=tmp_path)
    assert done.code == 0, done.err
    assert latest.read_text() == f"{tmp_path / 'again'}\n", "the working folder is that of the first run"
    latest.write_text(before)  # other tests share the folder
    assert done.out == f"{tmp_path / 'again'}\n"
    assert f"in {home.resolve()}: dinocli pretrain" in done.err
    assert "cannot be compared" not in done.err
    assert losses(tmp_path / "again") == losses(run)
    assert len(losses(run)) == 10


@pytest.mark.parametrize("gone", [True, False])
def test_a_run_of_a_moved_or_copied_project_is_repeated_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    here = new / "runs" / "mine"
    here.mkdir(parents=True)
    if not gone:
        old.mkdir()
    record = {"working_folder": str(old), "argv": ["dinocli", "pretrain", "images"]}
    monkeypatch.chdir(new)
    assert project_folder(record, here) == new
    assert project_folder({**record, "working_folder": str(new)}, here) == new
    monkeypatch.chdir(tmp_path)
    if gone:
        words = f"which is gone: cd {new}, and repeat it there; or train anew with `dinocli pretrain IMAGES --recipe "
        with pytest.raises(UsageError, match=f"{words}{here}/recipe.toml`"):
            project_folder(record, here)
    else:
        assert project_folder(record, here) == old
        monkeypatch.chdir(new)
        for out in (["--out", str(here)], ["-o", "../new/runs/mine"], [f"--out={here}"]):
            assert project_folder({**record, "argv": [*record["argv"], *out]}, here) == old, "it was put there"


def test_a_rerun_says_that_the_project_was_moved(run: Path, home: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "runs" / "mine")
    done = warm("rerun", "runs/mine", "--dry-run", cwd=tmp_path)
    assert f"the run was started in {home.resolve()} and moved or copied here with its project" in done.err
    assert f"in {tmp_path}: dinocli pretrain" in done.err


def test_a_rerun_warns_if_the_images_have_changed() -> None:
    one = {"inputs_hash": "a", "weights": {"sha256": "b"}}
    assert differing_sources(one, one) == []
    assert differing_sources(one, {"inputs_hash": "c", "weights": {"sha256": "d"}}) == ["images", "weights"]
    assert differing_sources({**one, "teacher": {"sha256": "e"}}, one) == ["weights of the teacher"]


def test_the_command_line_of_a_rerun() -> None:
    given = (
        "pretrain @list.txt -o old --minutes 9 --minutes=9 --steps 40 -s views.hflip=0 --json -q --resume --device cpu "
        "--batch-size max --recipe=gone.toml --labels folder"
    )
    kept = ["@list.txt", "--device", "cpu", "--labels", "folder"]
    last = ["--recipe", "/runs/a/recipe.toml", "--set", "guard.max_share=1", "--out", "/new"]
    words = command_of(["dinocli", *given.split()], Path("/runs/a/recipe.toml"), Path("/new"), minutes=True)
    assert words == ["pretrain", *last, *kept]
    given = "pretrain images --nodata -9 -qsrun.steps=5 -ruser.toml -oold -qs views.hflip=0 -- --out -q"
    words = command_of(["dinocli", *given.split()], Path("/r.toml"), Path("/new"), minutes=False)
    assert words[5:] == ["images", "--nodata", "-9", "--", "--out", "-q"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"argv": []}, "holds no command line"),
        ({"working_folder": "/no/such/folder"}, "which is gone: move it to runs/ of its project"),
        ({"inputs": ["-"]}, "from stdin"),
    ],
)
def test_runs_without_a_repeatable_command_line_are_refused(
    run: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = RunFolder(tmp_path / "old")
    folder.path.mkdir()
    folder.manifest.write_text(json.dumps({**RunFolder(run).read(), **changes}))
    done = warm("rerun", folder.path, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert len(done.err.splitlines()) == 1


def test_runs_are_listed_as_a_table_and_as_json(run: Path, tmp_path: Path) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text("{")
    plain = in_process("runs", run, tmp_path, cwd=tmp_path).out
    header, torn, whole = (line.split("\t") for line in plain.splitlines())
    assert header == ["run", "started", "status", "verdict", "keep", "images", "steps", "minutes", "MB"]
    assert torn[:3] == [str(tmp_path / "torn"), "", "damaged"]
    verdict = RunFolder(run).read()["outcome"]["verdict"]
    assert whole[0] == str(run)
    assert whole[2:7] == ["finished", verdict["outcome"], verdict["keep"], "12", "10"]
    (_, found) = json.loads(in_process("runs", run, tmp_path, "--json", cwd=tmp_path).out)["runs"]
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert (found["path"], found["bytes"], found["command"]) == (str(run), size, "pretrain")
    assert in_process("runs", "nowhere", cwd=tmp_path).code == 4
    (tmp_path / "none").mkdir()
    assert "no runs in none: `dinocli finetune-ssl IMAGES`" in in_process("runs", "none", cwd=tmp_path).err


def test_a_run_that_keeps_the_statistics_can_be_read(run: Path, tmp_path: Path) -> None:
    record = RunFolder(run).read()
    record["outcome"]["verdict"]["keep"] = "statistics"
    folder = RunFolder(tmp_path)
    folder.manifest.write_text(json.dumps(record))
    assert folder.read()["outcome"]["verdict"]["keep"] == "statistics"
