"""Several processes, as `torchrun` and `--gpus N` start them: one run, one output, one exit code."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

from tests.cli.commands import TINY, Result, Shot, start_warm, warm
from tests.forks import environment, reserved_port

FAKE_PYTHON = """#!/bin/sh
{first}
echo "$RANK of $WORLD_SIZE: $*" >> "$0.log"
while [ "$(wc -l < "$0.log")" -lt 2 ]; do sleep 0.01; done
"""
AGENT = "torch.distributed.elastic.agent.server.local_elastic_agent.LocalElasticAgent"
WATCH = LocalElasticAgent._monitor_workers


def two(*arguments: str | Path, cwd: Path, shot: Shot | None = None) -> list[Result]:
    """Run a command twice with the environment that `torchrun` gives to two processes, of which the second is shot."""
    with reserved_port() as port:
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
        main = start_warm(*arguments, cwd=cwd, env=ranks[0])
        other = start_warm(*arguments, cwd=cwd, env=ranks[1], shot=shot)
        return [main.wait(), other.wait()]


def test_two_processes_are_interrupted_together_and_go_on_together(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("pretrain", images, *TINY, "--steps", "12", "-s", "run.log_every=1", "--out", "run")
    shot = Shot(signal.SIGTERM, "run/metrics.jsonl", '"loss"')
    main, other = two(*command, cwd=tmp_path, shot=shot)  # one of them alone: both have to stop after the same step
    assert (main.code, other.code) == (143, 143), main.err + other.err
    assert main.err.count("run the same command with --resume to continue") == 1
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"

    main, other = two(*command, "--resume", cwd=tmp_path)
    assert (main.code, main.out) == (0, "run\n"), main.err
    assert (other.code, other.out) == (0, ""), other.err
    manifest = json.loads((run / "run.json").read_text())
    assert (manifest["status"], manifest["processes"]) == ("finished", 2)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 13))


@pytest.mark.slow
def test_gpus_starts_one_process_each(images: Path, tmp_path: Path) -> None:
    fresh = (*TINY, "--model", "test_vit")  # what a fresh interpreter knows
    done = warm("pretrain", images, *fresh, "--steps", "2", "--gpus", "2", "--out", "run", cwd=tmp_path)
    assert (done.code, done.out) == (0, "run\n"), done.err
    assert done.err.count("12 images in ") == 1, "the main process alone speaks"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_two_nodes_make_one_run_and_one_feature_file(images: Path, tmp_path: Path) -> None:
    """Each node is started by its own `torchrun`, and they meet at an address; here both are on one machine."""

    def both(*arguments: str | Path) -> list[str]:
        streams: Any = {"cwd": tmp_path, "env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        node = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        with reserved_port() as port:
            node += ["--rdzv-id", "one", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}"]
            command = [*node, "-m", "dinocli", *map(str, arguments)]
            nodes = [subprocess.Popen(command, text=True, **streams) for _ in range(2)]
            told = [one.communicate(timeout=600) for one in nodes]
        assert [one.returncode for one in nodes] == [0, 0], told
        return sorted(out for out, _ in told)

    assert both("pretrain", images, *TINY, "--model", "test_vit", "--steps", "4", "--out", "run") == ["", "run\n"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2
    embed = ("embed", images, "--weights", "run", "--device", "cpu", "--workers", "0", "--out")
    assert both(*embed, "two.npy") == ["", "two.npy\n"]
    assert warm(*embed, "one.npy", cwd=tmp_path).code == 0
    one, two = (np.load(tmp_path / f"{name}.npy") for name in ("one", "two"))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_of_two_processes_rank_0_prints_the_plan(images: Path, tmp_path: Path) -> None:
    main, other = two("pretrain", images, *TINY, "--dry-run", "--json", cwd=tmp_path)
    assert (main.code, json.loads(main.out)["images"]) == (0, 12), main.err
    assert (other.code, other.out, other.err) == (0, "", ""), other.err
    assert list(tmp_path.rglob("*.pt")) == []


def fake_python(folder: Path, then: str, first: str = "") -> dict[str, str]:
    """Make something that `--gpus` starts in place of Python: it writes down its arguments, then does as told."""
    path = folder / "python"
    path.write_text(FAKE_PYTHON.format(first=first) + then)
    path.chmod(0o755)
    return {"PYTHON": str(path)}


def test_gpus_passes_the_command_on_and_the_first_ones_exit_code_back(images: Path, tmp_path: Path) -> None:
    env = fake_python(tmp_path, "[ $RANK = 0 ] && exit 5\nsleep 60\n")
    done = warm("pretrain", images, "--device", "cpu", "--gpus", "2", "--steps", "3", cwd=tmp_path, env=env)
    assert (done.code, done.out) == (5, ""), done.err
    lines = sorted((tmp_path / "python.log").read_text().splitlines())
    assert lines == [f"{rank} of 2: -m dinocli pretrain {images} --device cpu --steps 3" for rank in range(2)]


def watch_and_stop(agent: LocalElasticAgent, workers: Any) -> Any:
    """Look after the processes, and send the launcher a signal once both have written down their arguments.

    One that comes while it starts them would be lost on them: it does not know them yet.
    """
    log = Path(f"{os.environ['PYTHON']}.log")
    if log.is_file() and len(log.read_text().splitlines()) == 2:
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))
    return WATCH(agent, workers)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_gpus_passes_a_signal_on(number: int, code: int, images: Path, tmp_path: Path) -> None:
    trap = "trap 'echo saved >> $0.log; exit 1' INT TERM"
    env = {**fake_python(tmp_path, "while :; do sleep 0.05; done\n", trap), "SIGNAL": str(int(number))}
    asked = ("pretrain", images, "--device", "cpu", "--gpus", "2")
    done = warm(*asked, cwd=tmp_path, env=env, replaced={f"{AGENT}._monitor_workers": watch_and_stop})
    assert done.code == code
    assert (tmp_path / "python.log").read_text().count("saved") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--out", "taken"), 2, "taken is not empty"),
        pytest.param(("--weights", "nowhere.pth"), 4, "nowhere.pth", marks=pytest.mark.slow),
        (("--batch-size", "3"), 2, "a batch of 3 cannot be cut into 2 processes"),
        pytest.param(("--out", "taken/notes.txt/run"), 6, "Not a directory", marks=pytest.mark.slow),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_all_end_with_the_same_code_and_one_speaks(
    arguments: tuple[str, ...], code: int, words: str, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    main, other = two("pretrain", images, *TINY, "--steps", "1", *arguments, cwd=tmp_path)
    assert (main.code, other.code) == (code, code), main.err + other.err
    assert words in main.err.splitlines()[-1]
    assert (main.out, other.out) == ("", "")
    assert "dinocli: " not in other.err
