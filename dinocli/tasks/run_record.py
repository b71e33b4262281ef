"""What run.json holds, as far as later commands rely on it."""

from typing import Literal

from pydantic import Field

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

    keep: Literal["start", "adapted"]
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
    outputs: list[Output] = Field(default_factory=list)
    outcome: Outcome | None = None
