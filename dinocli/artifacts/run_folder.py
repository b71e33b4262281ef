"""The folder that a run leaves behind, and how later commands find it."""

import contextlib
import datetime
import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dinocli.artifacts.run_record import RunRecord
from dinocli.errors import UsageError, WeightsError
from dinocli.file_set import LOCK, claimed, made
from dinocli.files import hidden, locked, remove_abandoned, remove_path, write_whole
from dinocli.progress import ProgressReporter
from dinocli.stored import read_json, read_limited, reading, usable_name

RUNS = Path("runs")
SCHEMA = 1
ENDED = ("finished", "stopped")

_MOST_PATH = 1 << 16
"""Bytes of `runs/latest`, which holds a path."""

_PATIENCE = 30.0  # seconds for another command to note its output


class RunFolder:
    """Names of what is in a run's folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.toml"
        self.manifest = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.views = path / "views.png"
        self.checkpoints = path / "checkpoints"
        self.backbone = path / "backbone"
        self.report = path / "report.html"
        self.tensorboard = path / "tensorboard"
        self.mlflow = path / "mlflow"
        self.bad = path / "images.bad.csv"
        self.previous = path / ".previous"

    @property
    def has_started(self) -> bool:
        return self.manifest.is_file() and self.recipe.is_file()

    def clear(self) -> None:
        """Make the folder, without what an earlier run of ours left in it; other files stay.

        An earlier run that has ended is kept in a hidden folder until this one has ended too (`write`): a disk may be
        full at the first checkpoint.
        """
        own = (self.checkpoints, self.backbone, self.recipe, self.metrics, self.views, self.report)
        there = [path for path in (*own, self.tensorboard, self.mlflow, self.bad, self.manifest) if path.exists()]
        keep = self.manifest in there and _has_ended(self)
        if keep:
            shutil.rmtree(self.previous, ignore_errors=True)
            self.previous.mkdir()
        for path in there:
            if keep:
                path.rename(self.previous / path.name)
            else:
                remove_path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def read(self, ways: str = "name IMAGES and --weights, or train again with another --out") -> dict[str, Any]:
        """Read run.json.

        Args:
            ways: What the user can do where there is none, or a damaged one.

        Raises:
            WeightsError: There is none, or it is damaged.
        """
        if not self.manifest.is_file():
            raise WeightsError(f"{self.path} is no run, it has no {self.manifest.name}; {ways}")
        return read_json(self.manifest, RunRecord, ways)

    def write(self, manifest: Mapping[str, Any]) -> None:
        """Write run.json whole or not at all. Once it says that the run has ended, the one that it replaced goes."""
        write_whole(self.manifest, json.dumps({"schema": SCHEMA, **manifest}, indent=2, ensure_ascii=False) + "\n")
        if manifest.get("status") in ENDED:
            shutil.rmtree(self.previous, ignore_errors=True)


@contextlib.contextmanager
def open_run(command: str, first_input: str, out: str, *, resume: bool, force: bool) -> Iterator[RunFolder]:
    """Choose the folder of a run, and hold it for this process; at the end it is gone again if nothing was written.

    Args:
        command: Part of the name if `out` is empty.
        first_input: First input; its last part names the folder.
        out: The user's choice.
        resume: Take the run that is there; without `out` the newest unfinished one of this command and input.
        force: An existing run may be replaced.

    Raises:
        UsageError: If the folder is taken, another process writes it, or there is nothing to resume.
        OSError: It cannot be written.
    """
    stem = f"{command}-{_slug(first_input)}"
    with contextlib.ExitStack() as held:
        if out:
            folder = RunFolder(Path(out))
        elif resume:
            folder = _unfinished(stem)
        else:
            folder = RunFolder(held.enter_context(_new_folder(stem)))
        held.enter_context(claimed(folder=folder.path))
        if not (resume or force) and any(path.name != LOCK for path in folder.path.iterdir()):
            raise UsageError(f"{out} is not empty; add --resume to continue, --force to replace it, or another --out")
        remove_abandoned(folder.checkpoints)
        yield folder


@contextlib.contextmanager
def _new_folder(stem: str) -> Iterator[Path]:
    """Make a folder of this second that no other process has."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    with made(RUNS):
        for number in itertools.count(1):
            path = RUNS / (f"{stem}-{now}" if number == 1 else f"{stem}-{now}-{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                break
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                path.rmdir()


def mark_latest(folder: RunFolder) -> None:
    """Let left-out arguments of later commands mean this run: `runs/latest` holds its path."""
    RUNS.mkdir(exist_ok=True)
    write_whole(RUNS / "latest", f"{folder.path.resolve()}\n")


def latest_run(ways: str = "name IMAGES and --weights, or run `dinocli pretrain` first") -> RunFolder:
    """Return the newest finished run, which is what left-out arguments mean.

    Args:
        ways: What to do where there is none, by what the command takes.

    Raises:
        WeightsError: There is none here, or its folder is gone.
    """
    latest = RUNS / "latest"
    if not latest.is_file():
        raise WeightsError(f"no finished run in {RUNS.resolve()}: {ways}")
    with reading(latest, ways):
        folder = RunFolder(Path(usable_name(read_limited(latest, _MOST_PATH).decode().strip())))
    if not folder.manifest.is_file():
        raise WeightsError(f"{RUNS / 'latest'} names {folder.path}, which is gone: {ways}")
    return folder


def add_output(folder: RunFolder, kind: str, path: Path, reporter: ProgressReporter | None = None) -> None:
    """Note in run.json that a later command made something with this run's weights; the newest stands last.

    Several commands may do so at once. The run may also be somebody else's: then the user hears that it is not noted.
    """
    made = {"kind": kind, "path": str(path.resolve())}
    try:
        with locked(hidden(folder.manifest, "lock"), folder.manifest, seconds=_PATIENCE):
            manifest = folder.read()
            outputs = [output for output in manifest.get("outputs", []) if output != made]
            folder.write({**manifest, "outputs": [*outputs, made]})
    except OSError as error:
        words = f"{path} cannot be noted in {folder.manifest} ({error.strerror}): name it to later commands"
        (reporter or ProgressReporter()).warn(words)


def _unfinished(stem: str) -> RunFolder:
    for path in sorted(RUNS.glob(f"{stem}-*"), reverse=True):
        folder = RunFolder(path)
        if folder.manifest.is_file() and not _has_ended(folder):
            return folder
    raise UsageError(f"no unfinished run {RUNS}/{stem}-*; say which one with --out DIR, or start without --resume")


def _has_ended(folder: RunFolder) -> bool:
    try:
        return folder.read().get("status") in ENDED
    except WeightsError:
        return False


def _slug(text: str) -> str:
    name = Path(text.rstrip("/")).resolve().name if text not in ("-", "") else "stdin"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:40] or "images"
