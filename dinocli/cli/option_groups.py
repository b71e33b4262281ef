"""Groups of options that commands share, each gathered into one value."""

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from dinocli.cli import options as opt

if TYPE_CHECKING:
    from dinocli.cli.render import Terminal
    from dinocli.tasks.inputs import ReadOptions


def read_options(
    null: opt.Null = False,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    root: opt.Root = "",
    range_: opt.Range = None,
    nodata: opt.Nodata = None,
    channels: opt.Channels = None,
    page: opt.Page = None,
    z: opt.Z = None,
    roi: opt.Roi = None,
    max_bad: opt.MaxBad = None,
    workers: opt.Workers = None,
) -> "ReadOptions":
    """Gather how images are found and read."""
    from dinocli.tasks.inputs import ReadOptions

    return ReadOptions(
        range=range_ or "",
        nodata=tuple(value for value in nodata if math.isfinite(value)) if nodata else None,  # NaN never counts
        channels=channel_list(channels),
        page=page,
        z=z,
        roi=roi or "",
        max_bad=max_bad or "",
        workers=workers,
        null=null,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        root=root,
    )


def feature_options(
    inputs: opt.FeaturesOrImages = None,
    weights: opt.Weights = None,
    model: opt.Model = None,
    batch_size: opt.EmbedBatch = None,
    device: opt.Device = "auto",
    seed: Annotated[int, opt.option("--seed", panel=opt.OUTPUT, min=0, help="Random seed.")] = 0,
    force: opt.Force = False,
) -> dict[str, Any]:
    """Gather the fields of `FeatureInputs`, but for how images are read."""
    return {
        "inputs": tuple(inputs or ()),
        "weights": weights or "",
        "model": model or "",
        "batch_size": batch_size or 0,
        "device": device,
        "seed": seed,
        "force": force,
    }


def terminal_options(json: opt.Json = False, quiet: opt.Quiet = False, debug: opt.Debug = False) -> "Terminal":
    """Open the terminal; `--debug` is remembered by its callback."""
    from dinocli.cli.render import Terminal

    return Terminal(quiet=quiet, as_json=json)


def grouped(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of whole groups.

    Typer reads the options of a command from its signature. Here a parameter of the command that is named in `groups`
    stands for all parameters of the group's function; the command is given what that function returns. Help lists the
    panels in the same order for every command.

    Args:
        groups: Name of the command's parameter -> function whose parameters are Typer options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters
        members = {name: inspect.signature(group).parameters for name, group in groups.items()}

        def parsed(**values: Any) -> None:
            for name, group in groups.items():
                values[name] = group(**{member: values.pop(member) for member in members[name]})
            command(**values)

        nested = ([*members[name].values()] if name in groups else [parameter] for name, parameter in own.items())
        keyword = (p.replace(kind=p.KEYWORD_ONLY) for parameters in nested for p in parameters)
        parsed.__signature__ = inspect.Signature(sorted(keyword, key=_place))  # type: ignore[attr-defined]
        parsed.__name__, parsed.__doc__ = command.__name__, command.__doc__
        return parsed

    return decorate


def _place(parameter: inspect.Parameter) -> int:
    """Return where help shows an option: images and model first, what is left behind last, a command's own between."""
    panels = [str(mark.rich_help_panel) for mark in getattr(parameter.annotation, "__metadata__", ())]
    return {opt.INPUT: 0, opt.MODEL: 1, opt.OUTPUT: 3}.get(panels[0], 2) if panels else 0


def channel_list(text: str | None) -> tuple[int | str, ...] | None:
    """Read `--channels`; what was not given stays None."""
    from dinocli.config.preprocess import parse_channels

    return None if text is None else parse_channels(text)
