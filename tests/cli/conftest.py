"""Fixtures: runs and folders that several tests read."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

from tests.cli.commands import TINY, Result, make_images, warm
from tests.forks import ROOT

NO_NETWORK = """
import socket

def refuse(self, address, *rest):
    if self.family != socket.AF_UNIX:
        raise AssertionError(f"asked the network: {address}")

socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = lambda *address, **rest: refuse(socket.socket(), address)
"""


@pytest.fixture(scope="session", autouse=True)
def one_command_line() -> Iterator[None]:
    """Build the tree of commands once: every call in this process would take a tenth of a second for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve grey images of 48 x 40 pixels."""
    return make_images(tmp_path_factory.mktemp("twelve") / "images")


@pytest.fixture(scope="session")
def no_network(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which a fresh interpreter fails with the first connection."""
    folder = tmp_path_factory.mktemp("no-network")
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    return {"PYTHONPATH": f"{folder}:{ROOT}", "HF_HUB_OFFLINE": "0"}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the `finished` run."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def finished(images: Path, home: Path) -> Result:
    """A whole run, with all of its pictures."""
    return warm("pretrain", images, *TINY, "--steps", "10", cwd=home, replaced={})
