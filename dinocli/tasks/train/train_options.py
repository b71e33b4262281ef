"""What a user asks of a training run."""

from dataclasses import dataclass
from typing import Any

from dinocli.config.recipe import Recipe
from dinocli.tasks.inputs import ReadOptions


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training run.

    Args:
        inputs: Folders, files, globs, `@list.txt`, `-`.
        recipe: With its "auto" values.
        command: Name of the command, for the name of the run's folder.
        out: The run's folder; empty chooses one under `runs/`.
        device: auto, cpu, cuda or cuda:N.
        labels: `folder` or a CSV, for the closing table alone; empty for none.
        minutes: Time limit of the whole command, 0 for none: steps, probes, labels and pages are cut to it by measured
            speed, and a run that turns out slower ends early.
        resume: Continue a run that was interrupted.
        force: Replace an existing run.
        profile: Profile some steps: a table, and a Chrome trace in the run's folder.
        read: How images are found; how they are decoded stands in the recipe.
        argv: The command line, for the record.
    """

    inputs: tuple[str, ...]
    recipe: Recipe
    command: str = "pretrain"
    out: str = ""
    device: str = "auto"
    labels: str = ""
    minutes: float = 0.0
    resume: bool = False
    force: bool = False
    profile: bool = False
    read: ReadOptions = ReadOptions()
    argv: tuple[str, ...] = ()

    def request(self) -> dict[str, Any]:
        """Return what a resumed run has to ask for again, as JSON-like data."""
        return {"recipe": self.recipe.model_dump(mode="json"), "minutes": self.minutes}
