"""Nothing asks the network: no telemetry, no look for news, no weights where none are wanted."""

import json
import subprocess
import sys
from pathlib import Path

from dinocli import __version__
from tests.cli.commands import TINY, dinocli
from tests.forks import environment


def test_the_ban_bans(no_network: dict[str, str]) -> None:
    for call in ("socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo('example.invalid', 80)"):
        command = [sys.executable, "-c", f"import socket; {call}"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(no_network), timeout=60)
        assert "AssertionError: asked the network" in done.stderr


def test_a_whole_run_asks_nobody(images: Path, tmp_path: Path, no_network: dict[str, str]) -> None:
    """Just as a user starts it, in a fresh interpreter."""
    done = dinocli("pretrain", images, *TINY, "--steps", "1", cwd=tmp_path, env=no_network)
    assert done.code == 0, done.err
    assert "network" not in done.err


def test_doctor_asks_nobody(no_network: dict[str, str], tmp_path: Path) -> None:
    done = dinocli("doctor", "--json", cwd=tmp_path, env=no_network)
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
    assert not list(tmp_path.iterdir())
