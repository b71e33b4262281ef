"""Open the evaluated features and those of the baseline, restricted to common images; read labels.

Shapes: N images in the evaluation, D width.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from dinocli.artifacts.compared_features import ComparedFeatures
from dinocli.artifacts.feature_differences import READ_PARTS, differences
from dinocli.artifacts.feature_file import FeatureFile, sidecar
from dinocli.artifacts.paired_rows import pair_rows
from dinocli.data.labels import read_groups, read_labels
from dinocli.data.ranges import range_option
from dinocli.errors import DataError, UsageError
from dinocli.progress import ProgressReporter
from dinocli.quality.label_scores import LabelSplit
from dinocli.quality.label_split import split_labels
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.feature_inputs import (
    check_labels,
    embed_options,
    embed_temporarily,
    is_features,
    open_or_embed,
    open_stored,
)
from dinocli.tasks.inputs import ReadOptions


def open_sides(
    options: EvaluateOptions, reporter: ProgressReporter, stdin: BinaryIO | None
) -> tuple[ComparedFeatures, ComparedFeatures | None, list[str]]:
    """Open or compute the features and those of the baseline.

    Returns:
        Both with the same images in the same order (the second is None without a baseline), and sentences on what was
        left out.

    Raises:
        DinocliError: Features, images or weights cannot be used, or the two have no image in common.
    """
    check_labels(options, options.labels)
    reporter.stage("opening features")
    features = open_or_embed(options, reporter, stdin)
    finite_N = features.finite_rows()
    dropped = len(features) - len(finite_N)
    notes = [f"{dropped} rows are not finite and left out"] if dropped else []
    if len(finite_N) < 2:
        raise DataError(f"{features.path} has {len(finite_N)} usable rows; at least two images are needed")
    title = _title(options, features)
    if not options.baseline:
        return ComparedFeatures(title, features, finite_N), None, notes
    base = _baseline(options, features, reporter)
    if differing := differences(features, base):
        words = "the weights alone do not make the difference"
        reporter.warn(f"features and baseline were made with different {', '.join(differing)}: {words}")
    rows_N, base_N, how = pair_rows(features, finite_N, base, base.finite_rows())
    if len(rows_N) < 2:
        raise DataError(f"{title} and {options.baseline} have {len(rows_N)} images in common; embed the same images")
    if len(rows_N) < max(len(features), len(base)):
        notes.append(f"{len(rows_N)} images are in both; {len(features)} and {len(base)} were given")
    notes.append(f"{len(rows_N)} images are paired {how}")
    return ComparedFeatures(title, features, rows_N), ComparedFeatures(options.baseline, base, base_N), notes


def read_truth(options: EvaluateOptions, names: Sequence[str]) -> tuple[list[LabelSplit], list[str]]:
    """Read labels and groups, and split the images into train and test; tiles of one image form a group.

    Returns:
        One split per usable label column, none without labels; and sentences on what was left out.

    Raises:
        DataError: No label column can be used.
        UsageError: The options contradict each other.
    """
    if not options.labels:
        return [], []
    label_notes: list[str] = []
    columns = read_labels(options.labels, names, label_notes.append)
    groups = read_groups(columns, options.groups, names)
    truths, notes = split_labels(columns, groups, names, train=options.train, test=options.test, seed=options.seed)
    if not truths:
        reasons = dict.fromkeys([*notes, *label_notes])
        raise DataError(f"no labels to evaluate with in {options.labels}: {'; '.join(reasons)}")
    return truths, list(dict.fromkeys([*label_notes, *notes]))


def _title(options: EvaluateOptions, features: FeatureFile) -> str:
    """Return a title for the features: their file, or the weights if the file is temporary."""
    if features.meta and not any(map(is_features, options.inputs)) and options.inputs:
        return options.weights or options.model or features.meta.get("run") or str(features.meta["weights"]["source"])
    return str(features.path)


def _baseline(options: EvaluateOptions, features: FeatureFile, reporter: ProgressReporter) -> FeatureFile:
    """Open the baseline, or embed the images of the features with its weights and the same tokens."""
    if is_features(options.baseline) and not _may_be_weights(options.baseline):
        return open_stored(options.baseline, reporter)
    root = features.meta.get("root")
    if not root or not Path(root).is_dir():
        raise UsageError(
            f"--baseline {options.baseline} is not a feature file, and the images of {features.path} are not there to "
            "embed them: give a feature file, or the images"
        )
    # A NUL-separated list: exactly these images, not those added to the folder since.
    names = b"\0".join(str(Path(root, name)).encode() for name in dict.fromkeys(features.names))
    embedding = replace(
        embed_options(options),
        inputs=("-",),
        weights=options.baseline,
        model=options.model if options.baseline == "none" or Path(options.baseline).is_file() else "",
        tokens=features.meta.get("tokens", "pooled"),
        layers=features.meta.get("layers", 1),
        tile=features.meta.get("tile", ""),
        keep_aspect=features.meta.get("keep_aspect", False),
        normalize=features.meta.get("normalize", False),
        read=_reading(options, features),
    )
    return embed_temporarily(embedding, reporter, io.BytesIO(names))


def _reading(options: EvaluateOptions, features: FeatureFile) -> ReadOptions:
    """Return how the baseline reads the images: by the given options, else as the features were read."""
    read = replace(options.read, null=True, include=(), exclude=(), root=features.meta["root"])
    stored = features.preprocess()
    if stored is None:
        return read
    as_features: dict[str, Any] = {name: getattr(stored, name) for name in READ_PARTS}
    if not stored.channel_ranges and (stored.deep or stored.range_policy != "full"):  # else measured again, or none
        as_features["range"] = range_option(stored)
    defaults = ReadOptions()
    return replace(read, **{k: v for k, v in as_features.items() if v and getattr(read, k) == getattr(defaults, k)})


def _may_be_weights(text: str) -> bool:
    """Return whether a `.safetensors` file has no row names beside it; those of a feature file lie there."""
    return Path(text).suffix == ".safetensors" and not sidecar(Path(text), ".paths.txt").is_file()
