"""Documented command lines pass all checks before the work: the library call at the end of each command is reached."""

import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from dinocli.artifacts.run_folder import RunFolder
from dinocli.cli import paths
from dinocli.cli.app import app
from tests.test_docs import GROUP, IN_DOCUMENTS, IN_HELP, IN_RECIPES

CALLS = {
    "train.train": "train",
    "train.dry_run": "dry_run",
    "embed.distributed_embed": "embed_together",
    "embed.embed_dry_run": "dry_run",
    "embed.merge_shards": "merge",
    "search.search": "search",
    "cluster.cluster": "cluster",
    "cluster.cluster_dry_run": "dry_run",
    "classify.classify": "classify",
    "classify.classify_dry_run": "dry_run",
    "segment.segment": "segment dry_run",
    "segment.inspection": "inspect_images",
    "evaluate.evaluate": "evaluate",
    "export.export": "export",
}
"""Module below `dinocli.tasks` -> its functions that a command calls."""
COMMANDS = {call.split(".")[0] for call in CALLS} - {"train"} | {"pretrain", "finetune-ssl"}
LINES = [line for _, line in (*IN_DOCUMENTS, *IN_HELP, *IN_RECIPES) if line.split()[1] in COMMANDS]


class ReachedError(BaseException):
    """No `Exception`: a command would turn it into an error of its own."""


def reached(*_: object, **__: object) -> NoReturn:
    raise ReachedError


@pytest.fixture(scope="module")
def unchecked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty folder in which every input, run and GPU seems to be there, and every library call ends the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("typed"))
        Path("mine.toml").touch()  # that of `recipe copy`
        patch.setattr("typer.testing._get_command", lambda _: GROUP)  # one tree for all lines
        patch.setattr(paths, "_missing", lambda _: False)
        for command in ("training", "embed"):
            patch.setattr(f"dinocli.cli.{command}.run_on_gpus", lambda *_: None)
        patch.setattr("dinocli.data.sources.check_not_empty", lambda _: None)
        patch.setattr("dinocli.engine.trackers.check_trackers", lambda _: None)
        patch.setattr("dinocli.tasks.inputs.latest_run", lambda *_: RunFolder(Path("runs/mine")))
        patch.setattr(RunFolder, "read", lambda *_: {"inputs": ["images"]})
        patch.setattr("dinocli.tasks.feature_inputs.newest_features", lambda *_: None)
        for module, functions in CALLS.items():
            name = f"dinocli.tasks.{module}"
            patch.setitem(sys.modules, name, types.ModuleType(name))
            for function in functions.split():
                patch.setattr(sys.modules[name], function, reached, raising=False)
        yield


def ends(line: str) -> str:
    """Return what a command line prints instead of reaching the library; empty if it does."""
    try:
        done = CliRunner().invoke(app, shlex.split(re.sub(r"\$\w+", "0", line))[1:])
    except ReachedError:
        return ""
    return done.output or repr(done.exception)


@pytest.mark.usefixtures("unchecked")
def test_every_documented_command_passes_its_checks() -> None:
    assert {line.split()[1] for line in LINES} == COMMANDS
    refused = [(line, said) for line in dict.fromkeys(LINES) if (said := ends(line))]
    assert not refused
    assert len(LINES) > 150


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "line",
    [
        "dinocli embed ./images --tokens patch --out f.csv",
        "dinocli classify feats.npy --labels a.csv --classifier c.safetensors",
        "dinocli segment ./parts --method kmeans --groups folder --out masks",
        "dinocli evaluate feats.npy --train 'old/*'",
    ],
)
def test_a_contradiction_would_be_noticed(line: str) -> None:
    assert "dinocli: " in ends(line)
