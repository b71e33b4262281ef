"""Differences between two feature files in how their features were made."""

from typing import Any

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.config.preprocess import Preprocess
from dinocli.data.ranges import range_option
from dinocli.data.region_of_interest import described_roi
from dinocli.errors import WeightsError

READ_PARTS = ("channels", "page", "nodata", "z", "roi")
"""Fields of `Preprocess` that select what is read of an image, named as their options."""


def check_comparable(other: FeatureFile, file: FeatureFile) -> None:
    """Refuse feature files whose features are not comparable.

    Raises:
        WeightsError: Weights, preprocessing, tokens, layers, precision or the images of a fit differ.
    """
    keys = ("weights", "preprocess", "tokens", "layers", "fitted")
    differing = [key for key in keys if _identity(other.meta.get(key)) != _identity(file.meta.get(key))]
    if differing_precision(other, file):
        differing.append("precision")
    if not differing:
        return
    name = {"fitted": "images to fit rare patches to"}.get(differing[0], differing[0])
    one, two = other.preprocess(), file.preprocess()
    if name == "preprocess" and one and two:
        name = ", ".join(differing_reading(one, two)) or "preprocessing"
    raise WeightsError(
        f"{other.path} and {file.path} were made with different {name}, so their cosines mean nothing: "
        f"embed the images of the one with `embed IMAGES --like` the other"
    )


def differences(one: FeatureFile, other: FeatureFile) -> list[str]:
    """Return what differs besides the weights, as far as both files record it."""
    kinds = list(dict.fromkeys(file.meta.get("tokens") for file in (one, other) if file.meta))
    differing = [f"--tokens {' and '.join(map(str, kinds))}"] if len(kinds) > 1 else []
    if precisions := differing_precision(one, other):
        differing.append(f"--precision {' and '.join(precisions)}")
    reading, other_reading = one.preprocess(), other.preprocess()
    return differing + (differing_reading(reading, other_reading) if reading and other_reading else [])


def differing_precision(one: FeatureFile, other: FeatureFile) -> tuple[str, ...]:
    """Return both precisions if they are recorded and differ; else nothing."""
    precisions = tuple(file.meta.get("precision") or "" for file in (one, other))
    return precisions if all(precisions) and len(set(precisions)) > 1 else ()


def differing_reading(one: Preprocess, other: Preprocess) -> list[str]:
    """Return what differs in reading images, as options with both values: `--size 224 and 384`."""
    shown = {name: (getattr(one, name), getattr(other, name)) for name in ("size", *READ_PARTS)}
    shown["range"] = (range_option(one), range_option(other))
    if shown["roi"][0] != shown["roi"][1]:
        shown["roi"] = (described_roi(one.roi), described_roi(other.roi))
    options = [f"--{name} {_words(a)} and {_words(b)}" for name, (a, b) in shown.items() if a != b]
    if one.channel_ranges != other.channel_ranges and shown["range"][0] == shown["range"][1]:
        options.append("--range of each channel")
    return options + (["images, grey and colour"] if one.grey != other.grey else [])


def _words(value: Any) -> str:
    """Return the value of a setting as its option takes it; `none` for an empty one."""
    items = value if isinstance(value, tuple | list) else [value]
    return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in items) or "none"


def _identity(value: Any) -> Any:
    """Return a comparable value: of weights the SHA-256, so that paths do not matter; None for empty values."""
    return value.get("sha256", value) if isinstance(value, dict) else value or None
