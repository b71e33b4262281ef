"""The folder that a run leaves behind, and how later commands find it."""

import datetime
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinocli.errors import UsageError, WeightsError
from dinocli.files import write_whole

RUNS = Path("runs")
SCHEMA = 1
ENDED = ("finished", "stopped")


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
        self.bad = path / "images.bad.csv"

    @property
    def has_started(self) -> bool:
        return self.manifest.is_file() and self.recipe.is_file()

    def clear(self) -> None:
        """Make the folder, without what an earlier run of ours left in it; other files stay."""
        for own in (self.checkpoints, self.backbone, self.tensorboard):
            shutil.rmtree(own, ignore_errors=True)
        for own in (self.recipe, self.manifest, self.metrics, self.views, self.report, self.bad):
            own.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Any]:
        """Read run.json."""
        data: dict[str, Any] = json.loads(self.manifest.read_text(encoding="utf-8"))
        return data

    def write(self, manifest: Mapping[str, Any]) -> None:
        """Write run.json whole or not at all."""
        write_whole(self.manifest, json.dumps({"schema": SCHEMA, **manifest}, indent=2, ensure_ascii=False) + "\n")


def open_run(command: str, first_input: str, out: str, *, resume: bool, force: bool) -> RunFolder:
    """Choose the folder of a run, without creating it.

    Args:
        command: Part of the name if `out` is empty.
        first_input: Likewise: its last part names the folder.
        out: The user's choice.
        resume: Take the run that is there; without `out` the newest unfinished one of this command and input.
        force: An existing run may be replaced.

    Raises:
        UsageError: If the folder is taken, or there is nothing to resume.
    """
    stem = f"{command}-{_slug(first_input)}"
    if resume:
        return RunFolder(Path(out)) if out else _unfinished(stem)
    if out:
        folder = RunFolder(Path(out))
        if folder.path.exists() and any(folder.path.iterdir()) and not force:
            raise UsageError(f"{out} is not empty; add --resume to go on, --force to replace it, or another --out")
        return folder
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    path, number = RUNS / f"{stem}-{now}", 1
    while path.exists():
        path, number = RUNS / f"{stem}-{now}-{number + 1}", number + 1
    return RunFolder(path)


def mark_latest(folder: RunFolder) -> None:
    """Let left-out arguments of later commands mean this run: `runs/latest` holds its path."""
    RUNS.mkdir(exist_ok=True)
    write_whole(RUNS / "latest", f"{folder.path.resolve()}\n")


def latest_run() -> RunFolder:
    """Return the newest finished run, which is what left-out arguments mean.

    Raises:
        WeightsError: There is none here, or its folder is gone.
    """
    try:
        folder = RunFolder(Path((RUNS / "latest").read_text(encoding="utf-8").strip()))
    except OSError:
        ways = "name IMAGES and --weights, or run `dinocli pretrain` first"
        raise WeightsError(f"no finished run in {RUNS.resolve()}: {ways}") from None
    if not folder.manifest.is_file():
        raise WeightsError(f"{RUNS / 'latest'} names {folder.path}, which is gone: name IMAGES and --weights")
    return folder


def add_output(folder: RunFolder, kind: str, path: Path) -> None:
    """Note in run.json that a later command made something with this run's weights; the newest stands last."""
    manifest = folder.read()
    made = {"kind": kind, "path": str(path.resolve())}
    outputs = [output for output in manifest.get("outputs", []) if output != made]
    folder.write({**manifest, "outputs": [*outputs, made]})


def _unfinished(stem: str) -> RunFolder:
    for path in sorted(RUNS.glob(f"{stem}-*"), reverse=True):
        folder = RunFolder(path)
        if folder.manifest.is_file() and folder.read().get("status") not in ENDED:
            return folder
    raise UsageError(f"no unfinished run {RUNS}/{stem}-*; say which one with --out DIR, or start without --resume")


def _slug(text: str) -> str:
    name = Path(text.rstrip("/")).resolve().name if text not in ("-", "") else "stdin"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:40] or "images"
