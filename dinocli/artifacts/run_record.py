"""Schema of run.json: the fields that later commands read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dinocli.errors import UsageError
from dinocli.stored import AnyJson, Count, Name, Stored


class WeightsRecord(Stored):
    """Weights of an output, as `WeightsInfo.to_dict` writes them; older files have no `pool`."""

    source: Name = ""
    name: Name = ""
    sha256: Name = ""
    licence: Name = "unknown"
    pool: Literal["cls", "mean", "timm"] = "timm"


class Output(Stored):
    """An output that a later command made with the weights of a run."""

    kind: str
    path: Name


class Naming(Stored):
    """Filters of image names, as `ReadOptions.naming` returns them."""

    include: list[Name] = Field(default_factory=list)
    exclude: list[Name] = Field(default_factory=list)
    root: Name = ""
    window: int = Field(default=0, ge=0)


class Request(Stored):
    """Settings that a resumed run must repeat."""

    recipe: AnyJson = Field(default_factory=dict)
    minutes: float = 0.0


class VerdictRecord(Stored):
    """The verdict of a run."""

    keep: Literal["start", "statistics", "adapted"]
    outcome: str
    reason: str


class ScoreRecord(Stored):
    """A score of the start weights and of the adapted weights."""

    name: str
    start: float | None
    adapted: float | None


class Outcome(Stored):
    """Result of a run that has ended."""

    verdict: VerdictRecord
    scores: list[ScoreRecord] = Field(default_factory=list)
    labelled: list[ScoreRecord] = Field(default_factory=list)


class RunRecord(Stored):
    """run.json."""

    status: str = ""
    argv: list[Name] = Field(default_factory=list)
    working_folder: Name = ""
    processes: Count = 1
    inputs: list[Name] = Field(default_factory=list)
    root: Name = ""
    naming: Naming = Naming()
    inputs_hash: str = ""
    images_listed: Count = 0
    images: Count = 0
    bad: Count = 0
    request: Request = Request()
    recipe: AnyJson = Field(default_factory=dict)
    preprocess: AnyJson = Field(default_factory=dict)
    weights: WeightsRecord = WeightsRecord()
    teacher: WeightsRecord | None = None
    outputs: list[Output] = Field(default_factory=list)
    outcome: Outcome | None = None


def check_repeatable(record: Mapping[str, Any]) -> None:
    """Raise `UsageError` if run.json does not hold everything that repeats the run."""
    if not record.get("argv") or not record.get("working_folder"):
        raise UsageError(
            "run.json holds no command line and working folder: the run was started from Python, or is old"
        )
    if "-" in record["inputs"]:
        raise UsageError(
            "the run read the names of its images from stdin, which run.json does not hold; start it again"
        )


def project_folder(record: Mapping[str, Any], run: Path) -> Path:
    """Return the folder to repeat a run in: that of its start, or the current one if its `runs` now holds the run.

    Args:
        record: run.json.
        run: Folder of the run, absolute.

    Raises:
        UsageError: The folder of its start is gone, and the run is not in `runs` of the current folder.
    """
    started, here = Path(record["working_folder"]), Path.cwd()
    put_there = any(os.path.realpath(started / word.removeprefix("--out=")) == str(run) for word in record["argv"])
    if run.parent == here.resolve() / "runs" and here.resolve() != started.resolve() and not put_there:
        return here
    if started.is_dir():
        return started
    where = f"cd {run.parent.parent}" if run.parent.name == "runs" else "move it to runs/ of its project and cd there"
    command = " ".join(record["argv"][1:2])
    raise UsageError(
        f"the run was started in {started}, which is gone: {where}, and repeat it there; or train anew with `dinocli "
        f"{command} IMAGES --recipe {run / 'recipe.toml'}`"
    )


def differing_sources(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return which inputs of two runs differ: images (names, sizes, times), weights, teacher (SHA-256)."""
    teachers = [(record.get("teacher") or {}).get("sha256") for record in (first, second)]
    same = {
        "images": first["inputs_hash"] == second["inputs_hash"],
        "weights": first["weights"]["sha256"] == second["weights"]["sha256"],
        "weights of the teacher": teachers[0] == teachers[1],
    }
    return [name for name, equal in same.items() if not equal]
