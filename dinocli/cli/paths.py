"""Typer callbacks that reject missing paths during parsing, before a command loads libraries for seconds.

Existing paths, and values that may not be paths, pass unchecked: the command checks them, with the same messages.
"""

import os
from pathlib import Path

import typer


def images(ctx: typer.Context, values: list[str] | None) -> list[str] | None:
    """Reject inputs that do not exist."""
    if not ctx.resilient_parsing:
        for value in filter(_missing, values or ()):
            from dinocli.data.sources import check_input

            check_input(value)
    return values


def data(ctx: typer.Context, value: str | None) -> str | None:
    """Reject a file or folder of images, masks or groups that does not exist."""
    if value and not ctx.resilient_parsing and _missing(value):
        from dinocli.data.sources import check_input

        check_input(value)
    return value


def stored(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """Reject a detector, masks or a classifier of an earlier command that do not exist."""
    if value and not ctx.resilient_parsing and _missing(value):
        from dinocli.data.sources import missing_input
        from dinocli.errors import WeightsError

        raise WeightsError(f"{param.opts[0]}: {missing_input(value)}")
    return value


def region(ctx: typer.Context, value: str | None) -> str | None:
    """Reject a region of interest that is neither a box nor an existing mask."""
    if value and not ctx.resilient_parsing and _missing(value):
        from dinocli.data.region_of_interest import parse_roi

        parse_roi(value)
    return value


def features_or_images(ctx: typer.Context, values: list[str] | None) -> list[str] | None:
    """Reject a feature file, or inputs, that do not exist."""
    if values and len(values) == 1 and _named_as_features(values[0]):
        features(ctx, values[0])
        return values
    return images(ctx, values)


def features(ctx: typer.Context, value: str) -> str:
    """Reject a feature file that does not exist."""
    if value and not ctx.resilient_parsing and _missing(value):
        from dinocli.artifacts.feature_file import check_exists

        check_exists(Path(value))
    return value


def weights(ctx: typer.Context, value: str | None) -> str | None:
    """Reject a path of weights that does not exist; timm names and hub ids pass."""
    if value and not ctx.resilient_parsing and _missing(value):
        from dinocli.models.weights_path import refuse_missing_weights

        refuse_missing_weights(value)
    return value


def features_or_weights(ctx: typer.Context, value: str) -> str:
    """Reject a baseline that does not exist."""
    if _named_as_features(value):
        return features(ctx, value)
    weights(ctx, value)
    return value


def labels(ctx: typer.Context, value: str | list[str] | None) -> str | list[str] | None:
    """Reject tables and folders of labels that do not exist."""
    for spec in [value] if isinstance(value, str) else value or ():
        if spec and not ctx.resilient_parsing and _missing(spec):
            from dinocli.data.labels import is_folder_spec, read_labels

            if not is_folder_spec(spec):
                read_labels(spec, [])
    return value


def _missing(value: str) -> bool:
    return value != "-" and not os.path.lexists(os.path.expanduser(value))


def _named_as_features(value: str) -> bool:
    if not _missing(value) or value.startswith("@"):
        return False
    from dinocli.artifacts.feature_file import FEATURE_SUFFIXES

    return Path(value).suffix.lower() in FEATURE_SUFFIXES
