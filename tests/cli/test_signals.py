"""Ctrl-C and SIGTERM end a run after a checkpoint, and `--resume` continues it."""

import json
import signal
import tomllib
from pathlib import Path

from tests.cli.commands import TINY, Shot, warm

STEPS = 24


def test_a_run_interrupted_twice_and_resumed_is_complete(images: Path, tmp_path: Path) -> None:
    command = ("pretrain", images, *TINY, "--steps", str(STEPS), "-s", "run.log_every=1", "--out", "run")
    run = tmp_path / "run"
    resumed: tuple[str, ...] = ()
    done_before = 0
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        shot = Shot(number, "run/metrics.jsonl", f'"step": {done_before + 3}, "loss"')
        stopped = warm(*command, *resumed, cwd=tmp_path, shot=shot)
        assert stopped.code == code, stopped.err
        assert stopped.out == ""
        line = stopped.err.splitlines()[-1]
        assert line.startswith("dinocli: stopped by a signal after step ")
        assert line.endswith(f"of {STEPS}; saved in run; run the same command with --resume to continue")
        assert "Traceback" not in stopped.err
        assert (run / "checkpoints" / "last.pt").is_file()
        assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
        done_before = int(line.split("after step ")[1].split()[0])
        resumed = ("--resume",)
    assert 6 <= done_before < STEPS
    finished = warm(*command, "--resume", cwd=tmp_path)
    assert (finished.code, finished.out) == (0, "run\n"), finished.err
    assert f"continuing after step {done_before} of {STEPS}" in finished.err
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, STEPS + 1))
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["outcome"]["steps"] == STEPS
    assert tomllib.loads((run / "recipe.toml").read_text())["run"]["steps"] == STEPS


def test_resume_without_an_unfinished_run_is_refused(images: Path, tmp_path: Path) -> None:
    done = warm("pretrain", images, *TINY, "--resume", cwd=tmp_path)
    assert done.code == 2
    assert "no unfinished run runs/pretrain-images-*" in done.err
