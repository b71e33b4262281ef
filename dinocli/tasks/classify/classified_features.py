"""The features that are classified: of a file, or computed from images; of a saved classifier in its own way."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, sidecar
from dinocli.errors import WeightsError
from dinocli.files import folder_until_exit
from dinocli.progress import ProgressReporter
from dinocli.quality.classifier_file import SavedClassifier
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.feature_inputs import (
    check_comparable,
    embed_options,
    embed_temporarily,
    open_or_embed,
    takes_features,
    usable_rows,
)

KEPT = (
    *("tokens", "layers", "keep_aspect", "normalize", "normalized", "whitened", "dtype", "tile"),
    *("fitted", "weights", "preprocess"),
)
"""Of `feats.json`: what determines a row."""


def open_classified(
    options: ClassifyOptions, saved: SavedClassifier | None, reporter: ProgressReporter, stdin: BinaryIO | None
) -> tuple[FeatureFile, int]:
    """Open the features that were asked for, or compute them, as those of a saved classifier were.

    Returns:
        The finite rows, and how many others there are.

    Raises:
        DinocliError: There are none, they cannot be used, or they are not those of the classifier.
    """
    source = _open(options, saved, reporter, stdin)
    if saved:
        _check(options, saved, source)
    usable = usable_rows(source, reporter)
    return usable, len(source) - len(usable)


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
