"""Several processes, as `torchrun` and `--gpus N` start them: one run, one output, one exit code."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.commands import TINY, Result, Running, start_warm, warm
from tests.forks import environment

FAKE_PYTHON = """#!/bin/sh
echo "$RANK of $WORLD_SIZE: $*" >> "$0.log"
while [ "$(wc -l < "$0.log")" -lt 2 ]; do sleep 0.01; done
"""


def start_two(*arguments: str | Path, cwd: Path) -> list[Running]:
    """Start a command twice with the environment that `torchrun` gives to two processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [
        start_warm(*arguments, cwd=cwd, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)
    ]


def two(*arguments: str | Path, cwd: Path) -> list[Result]:
    return [running.wait() for running in start_two(*arguments, cwd=cwd)]


def test_two_processes_are_interrupted_together_and_go_on_together(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("pretrain", images, *TINY, "--steps", "12", "-s", "run.log_every=1", "--out", "run")
    both = start_two(*command, cwd=tmp_path)
    both[0].wait_for(run / "metrics.jsonl")
    while '"loss"' not in (run / "metrics.jsonl").read_text():
        assert both[0].process.is_alive(), both[0].err.read_text()
        time.sleep(0.01)
    both[1].signal(signal.SIGTERM)  # one of them alone: the others have to stop after the same step
    main, other = (running.wait() for running in both)
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
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    node = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-id", "one"]
    node += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "-m", "dinocli"]

    def both(*arguments: str | Path) -> list[str]:
        streams: Any = {"cwd": tmp_path, "env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        nodes = [subprocess.Popen([*node, *map(str, arguments)], text=True, **streams) for _ in range(2)]
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


def fake_python(folder: Path, then: str) -> dict[str, str]:
    """Make something that `--gpus` starts in place of Python: it writes down its arguments, then does as told."""
    path = folder / "python"
    path.write_text(FAKE_PYTHON + then)
    path.chmod(0o755)
    return {"PYTHON": str(path)}


def test_gpus_passes_the_command_on_and_the_first_ones_exit_code_back(images: Path, tmp_path: Path) -> None:
    env = fake_python(tmp_path, "[ $RANK = 0 ] && exit 5\nsleep 60\n")
    done = warm("pretrain", images, "--device", "cpu", "--gpus", "2", "--steps", "3", cwd=tmp_path, env=env)
    assert (done.code, done.out) == (5, ""), done.err
    lines = sorted((tmp_path / "python.log").read_text().splitlines())
    assert lines == [f"{rank} of 2: -m dinocli pretrain {images} --device cpu --steps 3" for rank in range(2)]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_gpus_passes_a_signal_on(number: int, code: int, images: Path, tmp_path: Path) -> None:
    env = fake_python(tmp_path, "trap 'echo saved >> $0.log; exit 1' INT TERM\nwhile :; do sleep 0.05; done\n")
    running = start_warm("pretrain", images, "--device", "cpu", "--gpus", "2", cwd=tmp_path, env=env)
    log = tmp_path / "python.log"
    running.wait_for(log)
    while len(log.read_text().splitlines()) < 2:
        time.sleep(0.01)
    time.sleep(0.2)  # until both have set their traps
    running.signal(number)
    assert running.wait().code == code
    assert log.read_text().count("saved") == 2


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
