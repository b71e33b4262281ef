"""Inputs of `classify`: features, as those of a saved classifier were computed, and one class and group per image.

Shapes: N rows.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.feature_differences import check_comparable
from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, sidecar
from dinocli.data.labels import Labels, read_groups, read_labels
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.files import folder_until_exit
from dinocli.progress import ProgressReporter
from dinocli.quality.classifier_file import SavedClassifier
from dinocli.tasks.classify.classify_options import UNSURE, ClassifyOptions
from dinocli.tasks.feature_inputs import embed_options, embed_temporarily, open_or_embed, takes_features, usable_rows

RECORDED_KEYS = (
    *("tokens", "layers", "keep_aspect", "normalize", "normalized", "whitened", "dtype", "tile"),
    *("fitted", "precision", "weights", "preprocess"),
)
"""Keys of `feats.json` that determine a feature; a saved classifier stores them."""

MAX_LABELS = 10_000
"""Maximum number of training images; more would take many minutes without a relevant change."""


def open_classified(
    options: ClassifyOptions, saved: SavedClassifier | None, reporter: ProgressReporter, stdin: BinaryIO | None
) -> FeatureFile:
    """Open the finite rows of the given features, or compute them; with a saved classifier, as its features were.

    Raises:
        DinocliError: There are no features, they cannot be used, or they do not fit the classifier.
    """
    if saved and not takes_features(options):
        alike = replace(embed_options(options), like=str(_empty_file(options, saved)))
        source = embed_temporarily(alike, reporter, stdin)
    else:
        source = open_or_embed(options, reporter, stdin)
    if saved:
        _check(options, saved, source)
    return usable_rows(source, reporter)


def _empty_file(options: ClassifyOptions, saved: SavedClassifier) -> Path:
    """Write a feature file without rows that records how the classifier's features are computed, for `embed --like`."""
    if not saved.features.get("weights"):
        raise WeightsError(f"{options.classifier} does not say which weights made its features; give a feature file")
    path = folder_until_exit() / "like.npy"
    width = len(saved.classifier.mean_D)
    np.save(path, np.empty((0, width), np.float32))
    meta = {"kind": "features", "n": 0, "shape": [0, width], "root": "", **saved.features}
    meta["stands_for"] = options.classifier
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


def read_training_labels(
    options: ClassifyOptions, names: Sequence[str], reporter: ProgressReporter
) -> tuple[NDArray[np.str_], NDArray[np.str_] | None, str]:
    """Read and merge the label tables.

    Returns:
        (N,) labels, empty without one; (N,) groups, None if every row is its own group; and the name of the column.

    Raises:
        DataError: A table cannot be used, two contradict each other, or there are fewer than two classes.
        UsageError: The column does not exist, or one of several has to be selected.
    """
    columns = _joined(options.labels, names, reporter)
    groups = read_groups(columns, options.groups, names)
    if options.column and options.column not in columns:
        raise UsageError(f"--column {options.column}: the labels have the columns {', '.join(columns)}")
    if not options.column and len(columns) > 1:
        raise UsageError(f"the labels have the columns {', '.join(columns)}: say which one is meant with --column")
    column = options.column or next(iter(columns))
    counts = Counter(columns[column])
    counts.pop("", None)
    if len(counts) < 2:
        only = f" ({next(iter(counts))})" if counts else ""
        raise DataError(f"{column} has {len(counts)} class{only}; a classifier needs labels of at least two")
    if UNSURE in counts:
        raise DataError(f"{column} has a class {UNSURE!r}, which is the answer below the threshold; rename the class")
    label_N = np.array(columns[column])
    return label_N, None if groups is None else np.array(groups), column


def _joined(specs: Sequence[str], names: Sequence[str], reporter: ProgressReporter) -> Labels:
    """Merge the labels of several tables by column name."""
    joined: Labels = {}
    for spec in specs:
        for column, values in read_labels(spec, names, reporter.line).items():
            merged = joined.setdefault(column, [""] * len(names))
            for row, value in enumerate(values):
                if value and merged[row] and merged[row] != value:
                    both = f"{value!r} here and {merged[row]!r} there"
                    raise DataError(f"{spec} contradicts an earlier table: {names[row]} is {both}; keep one")
                merged[row] = merged[row] or value
    return joined


def sampled(label_N: NDArray[np.str_], reporter: ProgressReporter, seed: int) -> NDArray[np.intp]:
    """Return the training rows: all labelled rows, or a random sample of `MAX_LABELS`."""
    rows = np.flatnonzero(label_N != "")
    if len(rows) <= MAX_LABELS:
        return rows
    reporter.line(f"learning from a sample of {MAX_LABELS:,} of {len(rows):,} labelled images")
    return np.sort(np.random.default_rng(seed).choice(rows, MAX_LABELS, replace=False))
