"""Weights to export, with their preprocessing and origin."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli import __version__
from dinocli.artifacts.run_folder import EXPORT_ADVICE, RunFolder, latest_run
from dinocli.config.preprocess import Preprocess
from dinocli.files import user_path
from dinocli.models.backbone import Backbone
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import WeightsInfo, plain_preprocess
from dinocli.progress import ProgressReporter


@dataclass(frozen=True)
class Source:
    """Weights to export, with their preprocessing and origin.

    Args:
        backbone: Backbone in eval mode, on the CPU.
        info: Origin of the weights.
        preprocess: Preprocessing of the weights.
        manifest: run.json of the training run of the weights; empty if dinocli did not train them.
        has_reading: The preprocessing was stored with the weights; otherwise it is that of 8-bit images.
    """

    backbone: Backbone
    info: WeightsInfo
    preprocess: Preprocess
    manifest: dict[str, Any]
    has_reading: bool = True

    def facts(self) -> dict[str, str]:
        """Return the metadata stored with the weights, as strings."""
        return {
            "architecture": self.info.name,
            "licence": self.info.licence,
            "weights_sha256": self.info.sha256,
            "trained_by": f"dinocli {__version__}" if self.manifest else "not dinocli",
            **{key: str(value) for key, value in self.preprocess.to_dict().items()},
        }


def open_source(weights: str, model: str, reporter: ProgressReporter, *, pool: str = "auto") -> Source:
    """Load weights, by default those of the newest run.

    Args:
        weights: A run, or weights as for training; empty for the newest run.
        model: timm name, for a bare state dict.
        reporter: Receives the chosen weights.
        pool: As `load_backbone`.

    Raises:
        WeightsError: There are no weights, or they cannot be read.
    """
    if not weights:
        weights = str(latest_run(EXPORT_ADVICE).path)
        reporter.line(f"weights of {weights}")
    backbone, info, stored = load_backbone(weights, model, pool=pool)
    reporter.line(info.describe())
    preprocess = Preprocess.from_dict(stored) if stored else plain_preprocess(info)
    return Source(backbone.eval(), info, preprocess, _manifest(user_path(weights)), bool(stored))


def _manifest(path: Path) -> dict[str, Any]:
    for folder in (RunFolder(path), RunFolder(path.parent)):  # the run folder, or its backbone/
        if folder.manifest.is_file():
            return folder.read()
    return {}
