"""Groups of options that commands share; each group is parsed into one value."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from dinocli.cli import options as opt

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from dinocli.cli.render import Terminal
    from dinocli.tasks.inputs import ReadOptions

Options = TypeVar("Options", bound="DataclassInstance")


def options_of(kind: type[Options], values: Mapping[str, Any], **more: Any) -> Options:
    """Build the options of a library call from the command's parameters of the same names.

    None means that an option was not given: the field keeps its default. Lists become tuples.

    Args:
        kind: Dataclass of options.
        values: `locals()` of the command; names that are not fields are ignored.
        more: Fields with another name than their parameter, or with a computed value.
    """
    named = {field.name: values.get(field.name) for field in fields(kind)} | more
    given = {name: value for name, value in named.items() if value is not None}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def read_options(
    null: opt.Null = False,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    root: opt.Root = "",
    window: opt.Window = None,
    range_: opt.Range = None,
    nodata: opt.Nodata = None,
    channels: opt.Channels = None,
    page: opt.Page = None,
    z: opt.Z = None,
    roi: opt.Roi = None,
    max_bad: opt.MaxBad = None,
    workers: opt.Workers = None,
) -> "ReadOptions":
    """Return the options of finding and reading images as `ReadOptions`."""
    from dinocli.tasks.inputs import ReadOptions

    finite = tuple(value for value in nodata if math.isfinite(value)) if nodata else None  # NaN is always nodata
    more = {"range": range_, "nodata": finite, "channels": channel_list(channels)}
    return options_of(ReadOptions, locals(), **more)


def feature_options(
    inputs: opt.FeaturesOrImages = None,
    weights: opt.Weights = None,
    model: opt.Model = None,
    batch_size: opt.EmbedBatch = None,
    device: opt.Device = "auto",
    seed: Annotated[int, opt.output("--seed", "Random seed.", min=0, max=opt.MAX_SEED)] = 0,
    force: opt.Force = False,
) -> dict[str, Any]:
    """Return the parameters by name: the fields of `FeatureInputs` without `read`."""
    return locals()


def terminal_options(json: opt.Json = False, quiet: opt.Quiet = False, debug: opt.Debug = False) -> "Terminal":
    """Return the terminal; the callback of `--debug` stores its value."""
    from dinocli.cli.render import Terminal

    return Terminal(quiet=quiet, as_json=json)


def grouped(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace parameters of a command by groups of options.

    Typer reads the options of a command from its signature. This decorator replaces each parameter named in `groups` by
    all parameters of the group's function, and passes that function's return value to the command. All commands list
    their help panels in the same order.

    Args:
        groups: Name of the command's parameter -> function whose parameters are Typer options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        declared = inspect.signature(command).parameters
        members = {name: inspect.signature(group).parameters for name, group in groups.items()}

        def parsed(**values: Any) -> None:
            for name, group in groups.items():
                values[name] = group(**{member: values.pop(member) for member in members[name]})
            command(**values)

        nested = ([*members[name].values()] if name in groups else [parameter] for name, parameter in declared.items())
        keyword = (p.replace(kind=p.KEYWORD_ONLY) for parameters in nested for p in parameters)
        parsed.__signature__ = inspect.Signature(sorted(keyword, key=_panel_order))  # type: ignore[attr-defined]
        parsed.__name__, parsed.__doc__ = command.__name__, command.__doc__
        return parsed

    return decorate


def _panel_order(parameter: inspect.Parameter) -> int:
    """Return the sort key of an option in help: images, model, the command's own panels, output."""
    panels = [str(mark.rich_help_panel) for mark in getattr(parameter.annotation, "__metadata__", ())]
    return {opt.INPUT: 0, opt.MODEL: 1, opt.OUTPUT: 3}.get(panels[0], 2) if panels else 0


def channel_list(text: str | None) -> tuple[int | str, ...] | None:
    """Parse `--channels`; None if it was not given."""
    from dinocli.config.preprocess import parse_channels

    return None if text is None else parse_channels(text)
