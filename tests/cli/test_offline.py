"""No network access: no telemetry, no update check, no weights unless requested."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dinocli import __version__
from tests.cli.commands import TINY, Result
from tests.forks import environment

IN_TURN = """
import contextlib, json, os, sys, tempfile
from dinocli.cli.app import main

def run(words):
    code, sys.argv = 0, ["dinocli", *words]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = end.code
            sys.stdout.flush()
            sys.stderr.flush()
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read(), os.listdir(), "torch._dynamo" in sys.modules

ended = [run(words) for words in json.loads(sys.argv[1])]

import timm.layers, torch
from torchvision.ops import roi_align
box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
means = roi_align(torch.arange(16.0).reshape(1, 1, 4, 4), [box], 2, aligned=True).flatten().tolist()
late = timm.layers.disable_compiler is torch._disable_dynamo
late = late and "deferred" in sys.modules["torchvision.ops.roi_align"].is_compile_supported.__module__

print(json.dumps([ended, means, late]))
"""
"""One fresh interpreter for all commands: loading torch takes longer than they do."""


class Ended(NamedTuple):
    """How a command ended, the files that were there then, and whether PyTorch's compiler was loaded."""

    done: Result
    files: list[str]
    compiler: bool


@pytest.fixture(scope="module")
def answer(images: Path, no_network: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What a fresh interpreter without network found: `doctor`, `embed` and a whole run."""
    run = ["pretrain", str(images), *TINY, "--model", "test_vit", "--steps", "1"]
    embed = ["embed", str(images), "--weights", "none", "--model", "test_vit", "--size", "32", "--device", "cpu"]
    words = [sys.executable, "-c", IN_TURN, json.dumps([["doctor", "--json"], embed, run])]
    folder = tmp_path_factory.mktemp("offline")
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment(no_network), timeout=300)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def ended(answer: list[Any]) -> list[Ended]:
    return [Ended(Result(*result), files, compiler) for *result, files, compiler in answer[0]]


def test_the_network_ban_works(no_network: dict[str, str]) -> None:
    for call in ("socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo('example.invalid', 80)"):
        command = [sys.executable, "-c", f"import socket; {call}"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(no_network), timeout=300)
        assert "AssertionError: asked the network" in done.stderr


def test_a_run_sends_no_request(ended: list[Ended]) -> None:
    """With libraries as a user's command finds them, in a fresh interpreter."""
    done, files, compiler = ended[2]
    assert compiler, "optimizers load it"
    assert done.code == 0, done.err
    assert "network" not in done.err
    assert "runs" in files


def test_embed_sends_no_request_and_loads_no_compiler(ended: list[Ended]) -> None:
    done, files, compiler = ended[1]
    assert done.code == 0, done.err
    assert "feats.npy" in files
    assert not compiler, "a quarter of the start-up"


def test_what_loads_the_compiler_late_works(answer: list[Any]) -> None:
    assert answer[1:] == [[2.5, 4.5, 10.5, 12.5], True], "means of 2 x 2 pixels"


def test_doctor_sends_no_request(ended: list[Ended]) -> None:
    done, files, _ = ended[0]
    said = [line for line in done.err.splitlines() if not line.startswith("loading libraries")]  # of slow machines
    assert (done.code, said) == (0, [])
    found = json.loads(done.out)
    assert found["schema"] == 1
    assert found["dinocli"] == __version__
    assert found["cpu_threads"] == 1
    assert {"torch", "timm", "kornia", "gpus", "formats", "extras", "canvas_cache", "offline"} <= set(found)
    assert found["torch"] != "missing"
    assert found["torch_and_torchvision"] == "fit"
    assert found["extras"]["parquet"] == "installed"
    assert files == []
