"""Options of `export`."""

from dataclasses import dataclass
from pathlib import Path

from dinocli.artifacts.mask_folder import is_detector
from dinocli.artifacts.protected_files import check_free
from dinocli.artifacts.run_folder import EXPORT_ADVICE, latest_run
from dinocli.errors import UsageError
from dinocli.tasks.inputs import accept_paths

FORMATS = {"timm": "", "transformers": "", "safetensors": ".safetensors", "onnx": ".onnx", "torchscript": ".pt"}
"""Format -> suffix of its file; the first two are folders."""
FOLDERS = [name for name, suffix in FORMATS.items() if not suffix]
FOLDER_FILES = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
"""All files of an exported folder: `--force` replaces no folder with others, such as a user's images."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export`.

    Args:
        weights: A run, a detector of `segment` (ONNX only), or weights as for training; empty for the newest run.
        model: timm name, for a bare state dict.
        format: One of `FORMATS`.
        out: Output file; for timm and transformers a folder.
        force: Replace an existing output.
        like: Feature file whose rare features become an output of the graph, with their bank; or empty; ONNX only.
            Without `weights`, those of the file are used.
        with_preprocessing: Include range, resize and normalisation in the graph; ONNX only.
        classifier: File of `classify --save` whose probabilities are an output of the graph, with the features that it
            takes; or empty; ONNX only. Without `weights`, the weights of its features are used.
    """

    weights: str = ""
    model: str = ""
    format: str = "timm"
    out: str = "exported"
    force: bool = False
    like: str = ""
    with_preprocessing: bool = False
    classifier: str = ""

    def __post_init__(self) -> None:
        accept_paths(self)

    def check(self) -> None:
        """Raise the errors that need neither torch nor the weights.

        Raises:
            UsageError: Options contradict each other, or the output exists.
            WeightsError: There is no run to take the weights from.
        """
        if self.format not in FORMATS:
            raise UsageError(f"--format {self.format!r} is not known; use one of {', '.join(FORMATS)}")
        parts = {"with-preprocessing": self.with_preprocessing, "classifier": self.classifier, "like": self.like}
        if self.format != "onnx" and any(parts.values()):
            option = next(name for name, given in parts.items() if given)
            raise UsageError(f"--{option} makes one graph of all: it needs --format onnx")
        if is_detector(self.weights) and (self.format != "onnx" or self.like or self.classifier or self.model):
            words = "a detector is exported with --format onnx, without --like, --classifier and --model"
            raise UsageError(f"{self.weights}: {words}")
        if self.like and self.classifier:
            raise UsageError("--classifier brings the features that it takes: leave --like out")
        path, is_folder = Path(self.out), self.format in FOLDERS
        if path.is_dir() != is_folder and path.exists():
            raise UsageError(f"{path} is {'a folder' if path.is_dir() else 'a file'}; choose another --out")
        if path.is_dir() and (others := {file.name for file in path.iterdir()} - FOLDER_FILES):
            raise UsageError(f"{path} holds {min(others)}, which no export wrote; choose another --out")
        check_free([path, self.card], force=self.force, inputs=(self.weights, self.like, self.classifier))
        if not (self.weights or self.classifier or self.like):
            latest_run(EXPORT_ADVICE)

    @property
    def card(self) -> Path:
        """Path of the model card."""
        path = Path(self.out)
        return path / "README.md" if self.format in FOLDERS else path.with_name(f"{path.name}.md")
