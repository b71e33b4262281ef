"""`dinocli.export`: write a backbone in another format, verified against the original network, with a model card."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load

from dinocli.artifacts.detector_graph import DetectorGraph, open_detector_graph
from dinocli.artifacts.export_source import Source
from dinocli.artifacts.feature_graph import FeatureGraph
from dinocli.artifacts.graph_parts import open_graph
from dinocli.artifacts.mask_folder import is_detector
from dinocli.errors import WeightsError
from dinocli.file_set import FileSet, claimed
from dinocli.files import write_atomic
from dinocli.models.export_graph import to_onnx, to_torchscript
from dinocli.models.rounding import rounding_tolerance
from dinocli.models.timm_folder import save_backbone, to_safetensors
from dinocli.models.transformers_folder import write_transformers
from dinocli.models.weights import load_backbone
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.report.model_card import card_of
from dinocli.tasks.export.export_options import FOLDERS, ExportOptions


@dataclass(frozen=True)
class ExportResult:
    """Result of `export`.

    Args:
        path: Exported file or folder.
        card: Path of the model card.
        format: As in the options.
        difference: Largest difference to the original network, relative to its largest value; with preprocessing or
            fitted features, 1 - the smallest cosine to the features of `embed`; of a detector, difference of distances
            in units of the threshold.
        seconds: Duration of the command.
    """

    path: Path
    card: Path
    format: str
    difference: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self) | {"path": str(self.path), "card": str(self.card), "seconds": round(self.seconds, 1)}


def export(options: ExportOptions, reporter: ProgressReporter | None = None) -> ExportResult:
    """Export a backbone with a model card, after comparing its features with the original network.

    Example:
        >>> result = dinocli.export(dinocli.ExportOptions("runs/mine", format="torchscript", out="mine.pt"))
        >>> result.path.name, result.card.name
        ('mine.pt', 'mine.pt.md')

    Args:
        options: Weights, format and output.
        reporter: Receives the progress.

    Raises:
        UsageError: Unknown format, or the output exists.
        WeightsError: The weights cannot be read or exported, or a package is missing.
    """
    path = Path(options.out)
    with claimed(path):
        return _export(options, path, reporter or LogReporter())


def _export(options: ExportOptions, path: Path, reporter: ProgressReporter) -> ExportResult:
    begin = time.monotonic()
    options.check()
    card = options.card
    reporter.stage("loading weights")
    whole = _opened(options, reporter)
    reporter.stage(f"exporting to {options.format} and checking")
    with FileSet(path) as files:
        part = files.new(path)
        difference = _write(part, options.format, whole)
        text = card_of(whole, options.format, path.name, difference)
        write_atomic(part / card.name if options.format in FOLDERS else files.new(card), text)
        files.commit()
    return ExportResult(path, card, options.format, difference, time.monotonic() - begin)


def _opened(options: ExportOptions, reporter: ProgressReporter) -> FeatureGraph | DetectorGraph:
    """Load a detector, or else the parts of a graph; what is exported without a graph is its source."""
    reads = options.with_preprocessing
    if is_detector(options.weights):
        return open_detector_graph(options.weights, reporter, with_preprocessing=reads)
    parts = {"like": options.like, "classifier": options.classifier}
    return open_graph(options.weights, options.model, reporter, with_preprocessing=reads, **parts)


@torch.random.fork_rng(devices=[])  # timm draws weights before it loads those of the file
def _write(path: Path, kind: str, whole: FeatureGraph | DetectorGraph) -> float:
    """Write the file or folder, and return the difference of its features, read back, to the original network."""
    source = whole.source
    if kind == "timm":
        save_backbone(path, source.backbone, source.info, source.preprocess, keep_reading=source.has_reading)
        return _compared(timm.create_model(f"local-dir:{path}", pretrained=True), source)  # loaded as a user will
    if kind == "transformers":
        write_transformers(path, source.backbone, source.preprocess)
        backbone, _, _ = load_backbone(str(path), source.info.name, pool=source.backbone.pool_kind)
        return _compared(backbone, source, backbone.patch * max(1, source.preprocess.size // backbone.patch))
    if kind == "safetensors":
        data, difference = _to_safetensors(source)
    elif kind == "torchscript":
        data, difference = to_torchscript(source.backbone, source.preprocess.size, source.facts())
    else:
        data, difference = to_onnx(
            source.backbone, source.preprocess.size, whole.facts(), pipeline=whole.pipeline(), verify=whole.verified
        )
    write_atomic(path, data)
    return difference


def _to_safetensors(source: Source) -> tuple[bytes, float]:
    """Return a safetensors file, and how far the features of timm's model with its tensors differ."""
    about = source.backbone, source.info, source.preprocess, source.facts()
    data, _ = to_safetensors(*about, keep_reading=source.has_reading)
    model = timm.create_model(source.info.name, pretrained=False, num_classes=0, **source.backbone.model_args)
    try:
        model.load_state_dict(load(data))
    except RuntimeError as error:
        raise WeightsError(f"timm's {source.info.name} does not take these tensors; use --format timm") from error
    return data, _compared(model, source)


def _compared(model: Any, source: Source, side: int = 0) -> float:
    """Compare a model that was read back with the original, and return the largest relative difference.

    Without `side`, at the model's own input size: at other sizes, timm resamples position embeddings differently.
    """
    side = side or model.pretrained_cfg["input_size"][-1]
    images = torch.randn(2, source.backbone.in_chans, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, expected = model.eval()(images), source.backbone(images)
    difference = float((features - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    tolerance = rounding_tolerance(model)
    if not difference <= tolerance:
        raise WeightsError(
            f"the exported model gives other features than the original: they differ by {difference:.2g}, rounding "
            f"explains {tolerance:.2g}; report which model it was"
        )
    return difference
