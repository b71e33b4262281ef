"""The features that are evaluated, and those that they are compared with, brought to the same images.

Shapes: N images that take part, D width.
"""

import io
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile, open_features, sidecar
from dinocli.artifacts.paired_rows import pair_rows
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DataError, UsageError
from dinocli.quality.normalized_features import NormalizedFeatures, Projection, fit_whitening
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.feature_inputs import embed_options, embed_temporarily, is_features, open_or_embed
from dinocli.tasks.pooled_rows import pooled_rows


@dataclass(frozen=True)
class ComparedFeatures:
    """One set of features of the images that take part.

    Args:
        title: Name in tables.
        file: The feature file, with all rows.
        rows_N: Rows that take part.
        whitening: Applied to its features, fitted to those that take part; None leaves them as they are.
    """

    title: str
    file: FeatureFile
    rows_N: NDArray[np.intp]
    whitening: Projection | None = None

    def features(self, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the features of some of the images that take part, by their places among them."""
        return self.whitened(np.asarray(self.file.flat()[self.rows_N[chosen]], np.float32))

    def pooled(self, chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return their pooled part, not whitened: a cosine of `SAME` says of no other features that images are one."""
        return np.asarray(self._pooled_ND[self.rows_N[chosen]], np.float32)

    @cached_property
    def _pooled_ND(self) -> NDArray[np.floating]:
        return pooled_rows(self.file)

    def whitened(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whiten features of these weights, if that was asked for."""
        return (
            features_ND if self.whitening is None else NormalizedFeatures(features_ND, self.whitening).take(slice(None))
        )

    def with_whitening(self, seed: int) -> "ComparedFeatures":
        """Fit a whitening to the images that take part."""
        whitening = fit_whitening(NormalizedFeatures(self.file.flat()), among_M=self.rows_N, seed=seed)
        return replace(self, title=f"{self.title}, whitened", whitening=whitening)


def open_sides(
    options: EvaluateOptions, reporter: ProgressReporter, stdin: BinaryIO | None
) -> tuple[ComparedFeatures, ComparedFeatures | None, list[str]]:
    """Open or compute the features and those of the baseline.

    Returns:
        Both with the same images in the same order (the second is None without a baseline), and sentences about what
        was left out.

    Raises:
        DinocliError: Features, images or weights cannot be used, or the two have no image in common.
    """
    reporter.stage("opening features")
    own = open_or_embed(options, reporter, stdin)
    finite_N = own.finite_rows()
    notes = [f"{len(own) - len(finite_N)} rows are not finite and left out"] if len(finite_N) < len(own) else []
    if len(finite_N) < 2:
        raise DataError(f"{own.path} has {len(finite_N)} usable rows; at least two images are needed")
    title = _title(options, own)
    if not options.baseline:
        return ComparedFeatures(title, own, finite_N), None, notes
    base = _baseline(options, own, reporter)
    if len(kinds := list(dict.fromkeys(file.meta.get("tokens") for file in (own, base) if file.meta))) > 1:
        reporter.warn(
            f"--tokens {' and '.join(map(str, kinds))} are compared: not the weights alone make the difference"
        )
    rows_N, base_N, how = pair_rows(own, finite_N, base, base.finite_rows())
    if len(rows_N) < 2:
        raise DataError(f"{title} and {options.baseline} have {len(rows_N)} images in common; embed the same images")
    if len(rows_N) < max(len(own), len(base)):
        notes.append(f"{len(rows_N)} images are in both; {len(own)} and {len(base)} were given")
    notes.append(f"{len(rows_N)} images are paired {how}")
    return ComparedFeatures(title, own, rows_N), ComparedFeatures(options.baseline, base, base_N), notes


def _title(options: EvaluateOptions, own: FeatureFile) -> str:
    """Name the features as the user knows them: their file, or the weights of a file that nobody will see."""
    if own.meta and not any(map(is_features, options.inputs)) and options.inputs:
        return options.weights or options.model or own.meta.get("run") or str(own.meta["weights"]["source"])
    return str(own.path)


def _baseline(options: EvaluateOptions, own: FeatureFile, reporter: ProgressReporter) -> FeatureFile:
    """Open the baseline, or embed the images of the features with its weights, taking the same tokens."""
    if is_features(options.baseline) and not _may_be_weights(options.baseline):
        return open_features(Path(options.baseline))
    root = own.meta.get("root")
    if not root or not Path(root).is_dir():
        raise UsageError(
            f"--baseline {options.baseline} is no feature file, and the images of {own.path} are not there to "
            "embed them: give a feature file, or the images"
        )
    # All names at once, as bytes: exactly these images, whatever has been added to the folder since.
    names = b"\0".join(str(Path(root, name)).encode() for name in dict.fromkeys(own.names))
    asked = replace(
        embed_options(options),
        inputs=("-",),
        weights=options.baseline,
        tokens=own.meta.get("tokens", "pooled"),
        layers=own.meta.get("layers", 1),
        tile=own.meta.get("tile", ""),
        read=replace(options.read, null=True, include=(), exclude=(), root=root),
    )
    return embed_temporarily(asked, reporter, io.BytesIO(names))


def _may_be_weights(text: str) -> bool:
    """Say whether a `.safetensors` file has no names of rows beside it, as weights have none."""
    return Path(text).suffix == ".safetensors" and not sidecar(Path(text), ".paths.txt").is_file()
