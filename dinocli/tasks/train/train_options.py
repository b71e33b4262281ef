"""Options of a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli.artifacts.protected_files import refuse_inputs
from dinocli.artifacts.run_folder import RunFolder
from dinocli.config.recipe import Recipe
from dinocli.tasks.inputs import ReadOptions, accept_paths, check_data


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training run.

    Args:
        inputs: Folders, files, globs, `@list.txt`, `-`.
        recipe: Recipe, with "auto" values.
        command: Name of the command, for the name of the run folder.
        out: Run folder; empty for a new one under `runs/`.
        device: auto, cpu, cuda or cuda:N.
        labels: `folder`, a CSV or annotations (COCO, YOLO, VOC), for the final table only; empty for none.
        minutes: Time limit of the command, 0 for none: steps, probes, labels and pages are fitted to it by measured
            speed, and a slower run ends early.
        resume: Resume an interrupted run.
        force: Replace an existing run.
        profile: Profile some steps: a table, and a Chrome trace in the run folder.
        read: Options of finding images; decoding is set in the recipe.
        argv: Command line, for run.json.
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

    def __post_init__(self) -> None:
        accept_paths(self)
        check_data(self.recipe.data)

    def check_out(self) -> None:
        """Raise `UsageError` if the run would replace what it is made from, such as its own start weights."""
        if not self.out or self.resume:
            return
        run, model = RunFolder(Path(self.out)), self.recipe.model
        results = [path for path in run.results if path != run.views]  # not known as ours if it is an older one
        inputs = (*self.inputs, model.weights, model.teacher, self.labels, self.recipe.data.roi)
        refuse_inputs(results, inputs)

    def request(self) -> dict[str, Any]:
        """Return the settings that a resumed run must repeat, as JSON-like data."""
        return {"recipe": self.recipe.model_dump(mode="json"), "minutes": self.minutes}
