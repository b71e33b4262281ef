"""What run.json holds, as far as later commands rely on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dinocli.errors import UsageError
from dinocli.stored import Anything, Count, Name, Stored


class WeightsRecord(Stored):
    """Weights that something was made with, as `WeightsInfo.to_dict` writes them; older files have no `pool`."""

    source: Name = ""
    name: Name = ""
    sha256: Name = ""
    licence: Name = "unknown"
    pool: Literal["cls", "mean", "timm"] = "timm"


class Output(Stored):
    """Something that a later command made with the weights of a run."""

    kind: str
    path: Name


class Naming(Stored):
    """Which names count, as `ReadOptions.naming` gives it."""

    include: list[Name] = Field(default_factory=list)
    exclude: list[Name] = Field(default_factory=list)
    root: Name = ""


class Request(Stored):
    """What a resumed run has to ask for again."""

    recipe: Anything = Field(default_factory=dict)
    minutes: float = 0.0


class VerdictRecord(Stored):
    """The end of a run in words."""

    keep: Literal["start", "statistics", "adapted"]
    outcome: str
    reason: str


class ScoreRecord(Stored):
    """A score of the start and of the adapted weights."""

    name: str
    start: float | None
    adapted: float | None


class Outcome(Stored):
    """What came out of a run that has ended."""

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
    recipe: Anything = Field(default_factory=dict)
    preprocess: Anything = Field(default_factory=dict)
    weights: WeightsRecord = WeightsRecord()
    teacher: WeightsRecord | None = None
    outputs: list[Output] = Field(default_factory=list)
    outcome: Outcome | None = None


def repeatable(record: Mapping[str, Any]) -> None:
    """Refuse to repeat a run whose command line is not known, or not enough.

    Raises:
        UsageError: With the reason.
    """
    if not record.get("argv") or not record.get("working_folder"):
        raise UsageError(
            "run.json holds no command line and working folder: the run was started from Python, or is old"
        )
    if not Path(record["working_folder"]).is_dir():
        raise UsageError(f"the run was started in {record['working_folder']}, which is gone")
    if "-" in record["inputs"]:
        raise UsageError("the run read the names of its images from stdin, which run.json does not hold; start it anew")


def differing_sources(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Name what two runs did not begin with alike: images (names, sizes, times) or weights (SHA-256)."""
    alike = {
        "images": one["inputs_hash"] == other["inputs_hash"],
        "weights": one["weights"]["sha256"] == other["weights"]["sha256"],
    }
    return [name for name, same in alike.items() if not same]
