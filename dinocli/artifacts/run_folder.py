"""Run folders: file layout, creation, run.json, and `runs/latest`."""

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
from dinocli.file_locks import is_locked, locked
from dinocli.file_set import LOCK_NAME, claimed, created_folder
from dinocli.files import hidden_sibling, remove_abandoned, remove_path, write_atomic
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.stored import read_json, read_limited, reading, usable_name, write_json

RUNS = Path("runs")
SCHEMA = 1
ENDED = ("finished", "stopped")

_MAX_LATEST_BYTES = 1 << 16
"""Largest accepted size of `runs/latest`, which holds a path."""

_LOCK_TIMEOUT = 30.0  # seconds to wait for another command that writes run.json


class RunFolder:
    """Paths of the files in a run folder.

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
        self.adapted = path / "adapted"
        self.report = path / "report.html"
        self.profile = path / "profile.json"
        self.tensorboard = path / "tensorboard"
        self.mlflow = path / "mlflow"
        self.bad = path / "images.bad.csv"
        self.previous = path / ".previous"

    @property
    def results(self) -> tuple[Path, ...]:
        """Return the files and folders that a run writes, run.json last."""
        first = (self.checkpoints, self.backbone, self.adapted, self.recipe, self.metrics, self.views, self.report)
        return (*first, self.profile, self.tensorboard, self.mlflow, self.bad, self.manifest)

    @property
    def has_started(self) -> bool:
        return self.manifest.is_file() and self.recipe.is_file()

    def clear(self) -> None:
        """Create the folder and remove the files of an earlier run; other files stay.

        An earlier run that has ended moves to a hidden folder until this one has ended too (`write`): the disk may be
        full at the first checkpoint.
        """
        existing = [path for path in self.results if path.exists()]
        keep = self.manifest in existing and _has_ended(self)
        if keep:
            shutil.rmtree(self.previous, ignore_errors=True)
            self.previous.mkdir()
        for path in existing:
            if keep:
                path.rename(self.previous / path.name)
            else:
                remove_path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def read(self, advice: str = "name IMAGES and --weights, or train again with another --out") -> dict[str, Any]:
        """Read run.json. A run that was killed while it was running has the status `interrupted`.

        Args:
            advice: End of the error message: what the user can do.

        Raises:
            WeightsError: The file is missing or damaged.
        """
        if not self.manifest.is_file():
            raise WeightsError(f"{self.path} is not a run, it has no {self.manifest.name}; {advice}")
        record = read_json(self.manifest, RunRecord, advice)
        killed = record.get("status") == "running" and not is_locked(self.path / LOCK_NAME)
        return {**record, "status": "interrupted"} if killed else record

    def completed_steps(self) -> int:
        """Return the step of the last line of metrics.jsonl; 0 without one."""
        step = 0
        with contextlib.suppress(FileNotFoundError), self.metrics.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    step = int(json.loads(line)["step"])
        return step

    def write(self, manifest: Mapping[str, Any]) -> None:
        """Write run.json atomically; if the run has ended, remove the run that it replaced."""
        write_json(self.manifest, {"schema": SCHEMA, **manifest})
        if manifest.get("status") in ENDED:
            shutil.rmtree(self.previous, ignore_errors=True)


@contextlib.contextmanager
def open_run(command: str, first_input: str, out: str, *, resume: bool, force: bool) -> Iterator[RunFolder]:
    """Choose the folder of a run and lock it for this process; an empty folder is removed at the end.

    Args:
        command: First part of the folder's name, if `out` is empty.
        first_input: First input; its last component is the second part of the name.
        out: Folder that the user chose; empty: `runs/COMMAND-INPUT-TIME`.
        resume: Continue the run in `out`, or the newest unfinished run of this command and input.
        force: Replace an existing run.

    Raises:
        UsageError: The folder is not empty, another process writes it, or there is no run to resume.
        OSError: The folder cannot be written.
    """
    stem = f"{command}-{_slug(first_input)}"
    with contextlib.ExitStack() as stack:
        if out:
            folder = RunFolder(Path(out))
        elif resume:
            folder = _unfinished(stem)
        else:
            folder = RunFolder(stack.enter_context(_new_folder(stem)))
        stack.enter_context(claimed(folder=folder.path))
        check_new_run(folder.path, resume=resume, force=force)
        remove_abandoned(folder.checkpoints)
        yield folder


def check_new_run(folder: Path, *, resume: bool, force: bool) -> None:
    """Raise `UsageError` if a folder is not empty and neither flag was given.

    With a flag, it is raised if the folder holds no run and `clear` would delete a user's files.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: choose another --out")
    names = {path.name for path in folder.iterdir()} - {LOCK_NAME} if folder.exists() else set()
    if names and not (resume or force):
        raise UsageError(f"{folder} is not empty; add --resume to continue, --force to replace it, or another --out")
    run = RunFolder(folder)
    began = any(path.exists() for path in (run.manifest, run.recipe, run.previous))
    # A run that was killed at its start has no recipe yet, and no checkpoint.
    first = {run.views.name, run.bad.name} | ({run.checkpoints.name} if not any(run.checkpoints.glob("*")) else set())
    if not began and (others := names & {path.name for path in run.results} - first):
        raise UsageError(f"{folder} is not a run, and a run would replace its {min(others)}: choose another --out")


@contextlib.contextmanager
def _new_folder(stem: str) -> Iterator[Path]:
    """Create a folder named after the current second, numbered if another process has taken that name."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    with created_folder(RUNS):
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
    """Write the path of this run to `runs/latest`, the default run of later commands.

    The path of a run in `runs` is relative to it, so that it is still right in a project that was moved or copied.
    """
    RUNS.mkdir(exist_ok=True)
    path, home = folder.path.resolve(), RUNS.resolve()
    write_atomic(RUNS / "latest", f"{path.relative_to(home) if path.is_relative_to(home) else path}\n")


EXPORT_ADVICE = "name a run, weights or a detector, or run `dinocli pretrain` first"
"""What the user of `export` can do without a run."""


def latest_run(advice: str = "name IMAGES and --weights, or run `dinocli pretrain` first") -> RunFolder:
    """Return the run that `runs/latest` names: the newest finished one.

    Args:
        advice: End of the error message: what the user can do.

    Raises:
        WeightsError: There is no finished run, or its folder is gone.
    """
    latest = RUNS / "latest"
    if not latest.is_file():
        raise WeightsError(f"no finished run in {RUNS.resolve()}: {advice}")
    with reading(latest, advice):
        folder = RunFolder(RUNS.resolve() / usable_name(read_limited(latest, _MAX_LATEST_BYTES).decode().strip()))
    if not folder.manifest.is_file():
        raise WeightsError(f"{RUNS / 'latest'} names {folder.path}, which is gone: {advice}")
    return folder


def add_output(folder: RunFolder, kind: str, path: Path, reporter: ProgressReporter | None = None) -> None:
    """Append an output made with this run's weights to run.json; the newest comes last.

    Safe for several commands at once. If run.json cannot be written (a read-only run), the user gets a warning.
    """
    added = {"kind": kind, "path": str(path.resolve())}
    try:
        with locked(hidden_sibling(folder.manifest, "lock"), folder.manifest, seconds=_LOCK_TIMEOUT):
            manifest = folder.read()
            outputs = [output for output in manifest.get("outputs", []) if output != added]
            folder.write({**manifest, "outputs": [*outputs, added]})
    except OSError as error:
        message = f"{path} cannot be noted in {folder.manifest} ({error.strerror}): name it to later commands"
        (reporter or LogReporter()).warn(message)


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
