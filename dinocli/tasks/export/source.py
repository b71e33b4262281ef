"""The weights to export, how images are read for them, and where they come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli import __version__
from dinocli.artifacts.feature_model import plain_preprocess
from dinocli.artifacts.run_folder import RunFolder, latest_run
from dinocli.config.preprocess import Preprocess
from dinocli.files import user_path
from dinocli.models.backbone import Backbone
from dinocli.models.weights import WeightsInfo, load_backbone
from dinocli.progress import ProgressReporter
from dinocli.tasks.inputs import describe_weights


@dataclass(frozen=True)
class Source:
    """Weights to export, with their preprocessing and origin.

    Args:
        backbone: In eval mode, on the CPU.
        info: Where the weights come from.
        preprocess: How images are read for them.
        manifest: run.json of the run of ours that made them; empty for weights from elsewhere.
    """

    backbone: Backbone
    info: WeightsInfo
    preprocess: Preprocess
    manifest: dict[str, Any]

    def facts(self) -> dict[str, str]:
        """Return the metadata that is stored with the weights, as strings."""
        about = self.preprocess.to_dict()
        return {
            "architecture": self.info.name,
            "licence": self.info.licence,
            "weights_sha256": self.info.sha256,
            "trained_by": f"dinocli {__version__}" if self.manifest else "not dinocli",
            **{key: str(value) for key, value in about.items()},
        }


def open_source(weights: str, model: str, reporter: ProgressReporter, *, pool: str = "auto") -> Source:
    """Load weights; an empty name takes those of the newest run.

    Args:
        weights: As for training, or a run.
        model: Beside a bare state dict.
        reporter: Is told what was chosen.
        pool: As `load_backbone`.

    Raises:
        WeightsError: There are none, or they cannot be read.
    """
    if not weights:
        weights = str(latest_run().path)
        reporter.line(f"weights of {weights}")
    backbone, info, stored = load_backbone(weights, model, pool=pool)
    reporter.line(describe_weights(info))
    preprocess = Preprocess.from_dict(stored) if stored else plain_preprocess(info)
    return Source(backbone.eval(), info, preprocess, _manifest(user_path(weights)))


def _manifest(path: Path) -> dict[str, Any]:
    for folder in (RunFolder(path), RunFolder(path.parent)):  # the run, or its backbone/
        if folder.manifest.is_file():
            return folder.read()
    return {}
