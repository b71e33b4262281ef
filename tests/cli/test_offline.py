"""No network access: no telemetry, no update check, no weights unless requested."""

import json
import subprocess
import sys
from pathlib import Path

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
        return code, out.read(), err.read(), os.listdir()

print(json.dumps([run(words) for words in json.loads(sys.argv[1])]))
"""
"""One fresh interpreter for both commands: loading torch takes longer than they do."""


@pytest.fixture(scope="module")
def ended(
    images: Path, no_network: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Result, list[str]]]:
    """How `doctor` and a whole run ended in a fresh interpreter without network, and the files that were there then."""
    run = ["pretrain", str(images), *TINY, "--model", "test_vit", "--steps", "1"]
    words = [sys.executable, "-c", IN_TURN, json.dumps([["doctor", "--json"], run])]
    folder = tmp_path_factory.mktemp("offline")
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment(no_network), timeout=300)
    assert done.returncode == 0, done.stderr
    return [(Result(*result), files) for *result, files in json.loads(done.stdout)]


def test_the_network_ban_works(no_network: dict[str, str]) -> None:
    for call in ("socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo('example.invalid', 80)"):
        command = [sys.executable, "-c", f"import socket; {call}"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(no_network), timeout=60)
        assert "AssertionError: asked the network" in done.stderr


def test_a_run_sends_no_request(ended: list[tuple[Result, list[str]]]) -> None:
    """With libraries as a user's command finds them, in a fresh interpreter."""
    done, files = ended[1]
    assert done.code == 0, done.err
    assert "network" not in done.err
    assert "runs" in files


def test_doctor_sends_no_request(ended: list[tuple[Result, list[str]]]) -> None:
    done, files = ended[0]
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
