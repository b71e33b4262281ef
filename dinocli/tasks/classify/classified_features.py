"""Input features of `classify`: of a file, or computed from images as those of a saved classifier were."""

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

RECORDED_KEYS = (
    *("tokens", "layers", "keep_aspect", "normalize", "normalized", "whitened", "dtype", "tile"),
    *("fitted", "weights", "preprocess"),
)
"""Keys of `feats.json` that determine a feature; a saved classifier stores them."""


def open_classified(
    options: ClassifyOptions, saved: SavedClassifier | None, reporter: ProgressReporter, stdin: BinaryIO | None
) -> tuple[FeatureFile, int]:
    """Open the given features, or compute them from images; with a saved classifier, in the same way as its features.

    Returns:
        The finite rows, and the number of dropped rows.

    Raises:
        DinocliError: There are no features, they cannot be used, or they do not fit the classifier.
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
    """Write a feature file without rows that records how the classifier's features are computed, for `embed --like`."""
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
    """Return what a saved classifier records of its features: metadata and the state of a fitted transform."""
    recorded = {key: source.meta[key] for key in RECORDED_KEYS if key in source.meta}
    state = sidecar(source.path, FITTED_SUFFIX)
    return recorded, state.read_bytes() if recorded.get("fitted") and state.is_file() else b""
