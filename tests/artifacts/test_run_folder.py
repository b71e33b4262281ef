import shutil
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from dinocli import file_locks
from dinocli.artifacts.run_folder import RUNS, RunFolder, check_new_run, latest_run, mark_latest, open_run
from dinocli.artifacts.run_list import list_runs
from dinocli.errors import UsageError, WeightsError
from dinocli.file_set import LOCK_NAME, claimed
from dinocli.quality.verdict import Verdict


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(first_input: str = "./my images", out: str = "", *, resume: bool = False, force: bool = False) -> RunFolder:
    with open_run("pretrain", first_input, out, resume=resume, force=force) as folder:
        assert folder.path.is_dir()
    return folder


def start(folder: RunFolder, status: str = "running") -> RunFolder:
    folder.clear()
    folder.recipe.write_text("")
    folder.write({"status": status})
    return folder


@pytest.mark.parametrize(
    ("first_input", "stem"),
    [
        ("./my images", "my_images"),
        ("data/steel/", "steel"),
        ("scans/*.png", "png"),
        ("@list.txt", "list.txt"),
        ("-", "stdin"),
        ("x" * 99, "x" * 40),
    ],
)
def test_the_name_is_command_folder_date(first_input: str, stem: str) -> None:
    folder = opened(first_input)
    assert folder.path.parent == RUNS
    assert folder.path.name.startswith(f"pretrain-{stem}-2")
    assert not RUNS.exists(), "a run that writes nothing leaves nothing"


def test_two_runs_of_one_second_get_two_folders() -> None:
    with ExitStack() as held:
        names = {held.enter_context(open_run("pretrain", "x", "", resume=False, force=False)).path for _ in range(3)}
    assert len(names) == 3


def test_a_run_folder_is_locked_for_one_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire = file_locks._acquire  # waits for two seconds
    monkeypatch.setattr(file_locks, "_acquire", lambda path, what, until: acquire(path, what, 0.0))
    with open_run("pretrain", "x", "out", resume=False, force=False) as folder:
        with pytest.raises(UsageError, match=r"out is being written by another dinocli \(process \d+ on .*\); wait"):
            opened(out="out", force=True)
        start(folder)
    assert opened(out="out", resume=True).path == Path("out")


def test_a_forced_run_keeps_the_earlier_one_until_it_has_ended(home: Path) -> None:
    folder = start(RunFolder(home / "out"), "finished")
    (folder.backbone).mkdir()
    (folder.backbone / "model.safetensors").write_text("hours of work")
    for _ in range(2):  # a second try after a full disk
        start(folder, "running")
        assert not folder.backbone.exists()
        assert (folder.previous / "backbone" / "model.safetensors").read_text() == "hours of work"
    folder.write({"status": "finished"})
    assert not folder.previous.exists()


def test_a_taken_folder_is_refused_unless_forced(home: Path) -> None:
    (home / "out").mkdir()
    assert opened(out="out").path == Path("out"), "empty is free"
    (home / "out" / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="out is not empty; add --resume to continue, --force to replace it"):
        opened(out="out")
    assert opened(out="out", force=True).path == Path("out")


@pytest.mark.parametrize("more", [{"force": True}, {"resume": True}])
def test_a_folder_of_others_keeps_what_a_run_would_replace(home: Path, more: dict[str, Any]) -> None:
    (home / "out" / "checkpoints").mkdir(parents=True)
    assert opened(out="out", **more).path == Path("out"), "as a run leaves it that was killed at its start"
    (home / "out" / "checkpoints" / "mine.pt").write_text("")
    with pytest.raises(UsageError, match="out is not a run, and a run would replace its checkpoints"):
        opened(out="out", **more)
    (home / "file").write_text("")
    with pytest.raises(UsageError, match="file is a file"):
        check_new_run(home / "file", resume=False, force=True)
    (home / "out" / "run.json").write_text("{}")
    assert opened(out="out", **more).path == Path("out")


def test_clear_removes_files_of_a_run_and_no_others(home: Path) -> None:
    folder = start(RunFolder(home / "out"))
    for own in (folder.metrics, folder.views, folder.report, folder.profile, folder.bad, folder.path / "mine.txt"):
        own.write_text("")
    for own in (folder.checkpoints, folder.backbone):
        own.mkdir()
        (own / "file").write_text("")
    folder.clear()
    assert [path.name for path in folder.path.iterdir()] == ["mine.txt"]


def test_resume_takes_the_newest_unfinished_run_of_this_input(home: Path) -> None:
    for name, status in (("1", "interrupted"), ("2", "running"), ("3", "finished")):
        start(RunFolder(RUNS / f"pretrain-steel-2026010{name}-000000"), status)
    start(RunFolder(RUNS / "pretrain-wood-20260109-000000"))
    assert opened("steel", resume=True).path.name == "pretrain-steel-20260102-000000"
    with pytest.raises(UsageError, match=r"no unfinished run runs/pretrain-glass-\*; say which one with --out"):
        opened("glass", resume=True)
    assert opened("steel", "some/out", resume=True).path == Path("some/out")


def test_a_run_has_started_once_its_manifest_and_recipe_are_there(home: Path) -> None:
    folder = RunFolder(home / "out")
    assert not folder.has_started
    assert start(folder).has_started
    assert {"schema": 1, "status": "interrupted"}.items() <= folder.read().items(), "nobody holds its lock"
    folder.recipe.unlink()
    assert not folder.has_started


def test_latest_is_a_text_file_with_the_path(home: Path) -> None:
    latest = home / "runs" / "latest"
    mark_latest(RunFolder(Path("elsewhere")))
    assert latest.read_text() == f"{home / 'elsewhere'}\n", "outside runs/ the path is absolute"
    mark_latest(RunFolder(Path("runs/steel")))
    assert latest.read_text() == "steel\n"


def test_latest_of_a_copied_project_is_its_own_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = start(RunFolder(Path("runs/steel")))
    mark_latest(folder)
    assert latest_run().path == home / "runs" / "steel"
    shutil.copytree(home / "runs", home / "copy" / "runs")
    monkeypatch.chdir(home / "copy")
    assert latest_run().path == home / "copy" / "runs" / "steel"


def test_a_killed_run_is_interrupted(home: Path) -> None:
    folder = start(RunFolder(home / "runs" / "steel"))
    folder.metrics.write_text('{"step": 0, "probe": {}}\n{"step": 7, "loss": 1.0}\n{"step": 8, "lo')
    with claimed(folder=folder.path):
        assert folder.read()["status"] == "running"
    (folder.path / LOCK_NAME).write_text("process 1 on a machine")  # a lock file outlives a killed process
    assert folder.read()["status"] == "interrupted"
    (run,) = list_runs()
    assert (run.status, run.steps) == ("interrupted", 7)


KEPT = get_args(get_type_hints(Verdict)["keep"])


@pytest.mark.parametrize("keep", KEPT)
def test_a_run_that_ended_can_be_read_whatever_it_kept(keep: str) -> None:
    assert len(KEPT) == 3
    folder = start(opened())
    verdict = asdict(Verdict("no different", keep, "."))  # type: ignore[arg-type]
    folder.write({"status": "finished", "outcome": {"verdict": verdict, "scores": [], "labelled": []}})
    assert folder.read()["outcome"]["verdict"]["keep"] == keep


def test_a_folder_without_a_run_is_named_with_advice(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none is not a run, it has no run\.json; name another"):
        RunFolder(tmp_path / "none").read("name another")
