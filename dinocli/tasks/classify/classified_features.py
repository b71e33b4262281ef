"""The features that are classified: of a file, or computed from images; of a saved classifier in its own way.

Shapes: N rows that can be classified, D width.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, sidecar
from dinocli.errors import DataError, WeightsError
from dinocli.files import folder_until_exit
from dinocli.progress import ProgressReporter
from dinocli.quality.classifier_file import SavedClassifier
from dinocli.quality.normalized_features import BLOCK
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.feature_inputs import (
    check_comparable,
    embed_options,
    embed_temporarily,
    open_or_embed,
    takes_features,
)

KEPT = (
    *("tokens", "layers", "keep_aspect", "normalize", "normalized", "whitened", "dtype", "tile"),
    *("fitted", "weights", "preprocess"),
)
"""Of `feats.json`: what determines a row."""


@dataclass(frozen=True)
class ClassifiedFeatures:
    """The rows of a feature file that can be classified.

    Args:
        source: Where they come from.
        kept_N: Their numbers in it.
        features_ND: Finite; still on the disk where all rows are.
    """

    source: FeatureFile
    kept_N: NDArray[np.intp]
    features_ND: NDArray[np.floating]

    @property
    def names(self) -> list[str]:
        """Return the image of each row."""
        return [self.source.names[row] for row in self.kept_N.tolist()]

    @property
    def dropped(self) -> int:
        """Return how many rows are left out."""
        return len(self.source) - len(self.kept_N)


def open_classified(
    options: ClassifyOptions, saved: SavedClassifier | None, reporter: ProgressReporter, stdin: BinaryIO | None
) -> ClassifiedFeatures:
    """Open the features that were asked for, or compute them, as those of a saved classifier were.

    Raises:
        DinocliError: There are none, they cannot be used, or they are not those of the classifier.
    """
    source = _open(options, saved, reporter, stdin)
    if saved:
        _check(options, saved, source)
    features_ND = source.flat()
    parts = [features_ND[first : first + BLOCK] for first in range(0, len(features_ND), BLOCK)]
    kept_N = np.flatnonzero(np.concatenate([np.isfinite(part).all(axis=1) for part in parts] or [np.empty(0, bool)]))
    if not len(kept_N):
        raise DataError(f"{source.path} has no row of finite numbers; embed again")
    if len(kept_N) < len(source):
        reporter.warn(f"{len(source) - len(kept_N)} of {len(source)} rows of {source.path} are not finite and left out")
        features_ND = features_ND[kept_N]
    return ClassifiedFeatures(source, kept_N, features_ND)


def _open(
    options: ClassifyOptions, saved: SavedClassifier | None, reporter: ProgressReporter, stdin: BinaryIO | None
) -> FeatureFile:
    if saved is None or takes_features(options):
        return open_or_embed(options, reporter, stdin)
    return embed_temporarily(replace(embed_options(options), like=str(_empty_file(options, saved))), reporter, stdin)


def _empty_file(options: ClassifyOptions, saved: SavedClassifier) -> Path:
    """Write a feature file without rows, which says how the classifier's features are made, for `embed --like`."""
    if not saved.features.get("weights"):
        raise WeightsError(f"{options.classifier} does not say which weights made its features; give a feature file")
    path = folder_until_exit() / "like.npy"
    width = len(saved.classifier.mean_D)
    np.save(path, np.empty((0, width), np.float32))
    meta = {"kind": "features", "n": 0, "shape": [0, width], "root": "", **saved.features}
    sidecar(path, ".json").write_text(json.dumps(meta), encoding="utf-8")
    if saved.fitted_state:
        sidecar(path, FITTED_SUFFIX).write_bytes(saved.fitted_state)
    return path


def _check(options: ClassifyOptions, saved: SavedClassifier, source: FeatureFile) -> None:
    own = FeatureFile(Path(options.classifier), np.empty((0, len(saved.classifier.mean_D))), [], saved.features)
    check_comparable(source, own)
    if source.flat().shape[1] != own.flat().shape[1]:
        raise WeightsError(
            f"the rows of {source.path} have {source.flat().shape[1]} values, {options.classifier} takes "
            f"{own.flat().shape[1]}: embed with the weights that it was made with"
        )


def origin(source: FeatureFile) -> tuple[dict[str, Any], bytes]:
    """Return what a saved classifier keeps of its features: how a row is made, and what rows were fitted to."""
    kept = {key: source.meta[key] for key in KEPT if key in source.meta}
    state = sidecar(source.path, FITTED_SUFFIX)
    return kept, state.read_bytes() if kept.get("fitted") and state.is_file() else b""
