"""Whether the rows of two feature files can be compared."""

from typing import Any

from dinocli.errors import WeightsError
from dinocli.tasks.feature_file import FeatureFile


def check_comparable(other: FeatureFile, file: FeatureFile) -> None:
    """Refuse feature files that were made in different ways.

    Raises:
        WeightsError: Weights, preprocessing, tokens, layers or what rare patches were fitted to differ.
    """
    for key in ("weights", "preprocess", "tokens", "layers", "fitted"):
        if _identity(other.meta.get(key)) != _identity(file.meta.get(key)):
            raise WeightsError(
                f"{other.path} and {file.path} were made with different {key}, so their cosines mean nothing: "
                "embed the one with the weights and settings of the other, or give the images themselves"
            )


def _identity(value: Any) -> Any:
    """Weights are the same by their contents, wherever they lie; an empty value is that of a file without it."""
    return value.get("sha256", value) if isinstance(value, dict) else value or None
