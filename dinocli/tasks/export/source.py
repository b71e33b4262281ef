"""What is exported: the weights, how images are read for them, and what is known about them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocli import __version__
from dinocli.config.preprocess import Preprocess
from dinocli.engine.progress import ProgressReporter
from dinocli.models.backbone import Backbone
from dinocli.models.weights import WeightsInfo, load_backbone
from dinocli.tasks.inputs import describe_weights
from dinocli.tasks.run_folder import RunFolder, latest_run


@dataclass(frozen=True)
class Source:
    """All of it.

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
        """Return what travels with the weights, under names of its own: texts, numbers as JSON."""
        about = self.preprocess.to_dict()
        return {
            "architecture": self.info.name,
            "licence": self.info.licence,
            "weights_sha256": self.info.sha256,
            "trained_by": f"dinocli {__version__}" if self.manifest else "not dinocli",
            **{key: str(value) for key, value in about.items()},
        }


def open_source(weights: str, model: str, reporter: ProgressReporter) -> Source:
    """Load weights; without any those of the newest run.

    Raises:
        WeightsError: There are none, or they cannot be read.
    """
    if not weights:
        weights = str(latest_run().path)
        reporter.line(f"weights of {weights}")
    backbone, info, stored = load_backbone(weights, model)
    reporter.line(describe_weights(info))
    return Source(backbone.eval(), info, _preprocess(info, stored), _manifest(Path(weights).expanduser()))


def _preprocess(info: WeightsInfo, stored: dict[str, Any] | None) -> Preprocess:
    """Return what is stored with the weights, or the plain reading of 8-bit images for weights from elsewhere."""
    if stored:
        return Preprocess.from_dict(stored)
    return Preprocess(
        range_policy="full",
        range_low=0.0,
        range_high=1.0,
        deep=False,
        grey=False,
        channels=(),
        page=0,
        mean=info.mean,
        std=info.std,
        size=info.size,
    )


def _manifest(path: Path) -> dict[str, Any]:
    for folder in (RunFolder(path), RunFolder(path.parent)):  # the run, or its backbone/
        if folder.manifest.is_file():
            return folder.read()
    return {}
