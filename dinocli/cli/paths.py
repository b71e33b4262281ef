"""Typer callbacks that reject missing paths during parsing, before a command loads libraries for seconds.

Existing paths, and values that may not be paths, pass unchecked: the command checks them, with the same messages.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from dinocli.files import home_folder


def _rejecting(check: Callable[[str], object]) -> Callable[[typer.Context, Any], Any]:
    """Return a callback for an option, or a list of values, that checks each value which is not an existing path."""

    def callback(ctx: typer.Context, value: Any) -> Any:
        for text in [value] if isinstance(value, str) else value or ():
            if text and not ctx.resilient_parsing and _missing(text):
                check(text)
        return value

    return callback


def _check_input(value: str) -> None:
    from dinocli.data.sources import check_input

    check_input(value)


def _check_region(value: str) -> None:
    from dinocli.data.region_of_interest import parse_roi

    parse_roi(value)


def _check_features(value: str) -> None:
    from dinocli.artifacts.feature_file import check_exists

    check_exists(Path(value))


def _check_weights(value: str) -> None:
    from dinocli.models.weights_path import refuse_missing_weights

    refuse_missing_weights(value)


def _check_features_or_weights(value: str) -> None:
    (_check_features if _named_as_features(value) else _check_weights)(value)


def _check_labels(value: str) -> None:
    from dinocli.data.labels import is_folder_spec, read_labels

    if not is_folder_spec(value):
        read_labels(value, [])


inputs = _rejecting(_check_input)
"""Reject images, masks or groups that do not exist."""

region = _rejecting(_check_region)
"""Reject a region of interest that is neither a box nor an existing mask."""

features = _rejecting(_check_features)
"""Reject a feature file that does not exist."""

weights = _rejecting(_check_weights)
"""Reject a path of weights that does not exist; timm names and hub ids pass."""

features_or_weights = _rejecting(_check_features_or_weights)
"""Reject a baseline that does not exist."""

labels = _rejecting(_check_labels)
"""Reject tables and folders of labels that do not exist."""


def features_or_images(ctx: typer.Context, values: list[str] | None) -> Any:
    """Reject a feature file, or inputs, that do not exist."""
    alone = values and len(values) == 1 and _named_as_features(values[0])
    return (features if alone else inputs)(ctx, values)


def stored(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """Reject a detector, masks or a classifier of an earlier command that do not exist."""
    if value and not ctx.resilient_parsing and _missing(value):
        from dinocli.data.sources import missing_input
        from dinocli.errors import WeightsError

        raise WeightsError(f"{param.opts[0]}: {missing_input(value)}")
    return value


def with_home(word: str) -> str:
    """Expand `~/` at the start of a word, after `@` and after `--option=`, where bash leaves it as it is.

    A folder that is really called `~` is `./~`.
    """
    match = re.fullmatch(r"(--[a-z-]+=|@)?~(/.*)?", word, re.DOTALL)
    return f"{match[1] or ''}{home_folder()}{match[2] or ''}" if match else word


def _missing(value: str) -> bool:
    return value != "-" and not os.path.lexists(value)


def _named_as_features(value: str) -> bool:
    from dinocli.artifacts.feature_file import FEATURE_SUFFIXES

    return Path(value).suffix.lower() in FEATURE_SUFFIXES and _missing(value) and not value.startswith("@")
