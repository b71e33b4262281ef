"""Options shared by commands: finding, reading and embedding images; defaults from the newest run."""

import os
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from dinocli.artifacts.run_folder import RunFolder, latest_run
from dinocli.config.load import load_recipe, with_values
from dinocli.config.preprocess import Channels, parse_channels
from dinocli.config.recipe import Data
from dinocli.data.bad_images import bad_limit
from dinocli.data.memory_budget import cache_limit
from dinocli.data.ranges import parse_range
from dinocli.data.region_of_interest import parse_roi
from dinocli.errors import DataError, UsageError
from dinocli.files import user_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from dinocli.progress import ProgressReporter


ZERO_IS_NONE = ("views",)
"""Numbers that may be 0 though their default is not; others are then at least 1."""


def absolute_input(name: str) -> str:
    """Return an input as an absolute path, for commands in other working folders; `-` is unchanged."""
    if name.startswith("@") and not os.path.lexists(name):
        return f"@{Path(name[1:]).absolute()}"
    return name if name == "-" else str(Path(name).absolute())


def accept_paths(options: "DataclassInstance") -> None:
    """Let Python callers give a `Path`, one value where a tuple is expected, and a list; the fields become text.

    Raises:
        UsageError: A number is too small, which the command line checks before; or an empty list of inputs, which would
            mean other images than those that were looked for.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if type(value) in (int, float) and value != field.default:
            counts = type(field.default) is int and field.default > 0 and field.name not in ZERO_IS_NONE
            if value < counts:
                raise UsageError(f"{field.name}={value}: give {int(counts)} or more")
        if get_origin(field.type) is tuple:
            given = [value] if isinstance(value, str | os.PathLike) else value
            value = tuple(os.fspath(path) if isinstance(path, os.PathLike) else path for path in given)
            if field.name == "inputs" and not value and not isinstance(given, tuple):
                raise UsageError("inputs is an empty list; leave it out for the images of the newest run")
        elif isinstance(value, os.PathLike):
            value = os.fspath(value)
        object.__setattr__(options, field.name, value)


def check_data(data: Data) -> None:
    """Raise the errors of the section `data` of a recipe that its types do not find, before weights are loaded."""
    bad_limit(data.max_bad, 0)
    parse_range(data.range)
    parse_roi(data.roi)
    cache_limit(data.cache)


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading images. Defaults mean: as stored with the weights, else as in the recipe `natural`.

    Args:
        range: Intensity range, as `parse_range`.
        channels: Source channels: numbers from 0, names, or all pages.
        nodata: Nodata values.
        page: Page of multi-page files, from 0.
        z: Planes of stacks: `max` or `mean` along z, or the index of a plane.
        roi: Region of interest: `x,y,w,h`, a mask file, or `none` for whole images.
        max_bad: Maximum number of unreadable images, a percentage ("10%") or a number.
        workers: Decoding threads.
        null: Names on stdin are separated by NUL.
        include: Patterns of image names; other images are left out. Empty includes all.
        exclude: Patterns of image names to leave out.
        root: Folder that names are relative to; empty for the input folder, or the deepest common parent of several.
        window: Side of the windows of large TIFF files, pixels; 0: only those that are too large, by 1024.
    """

    range: str = ""
    channels: Channels | None = None
    nodata: tuple[float, ...] | None = None
    page: int | None = None
    z: str | None = None
    roi: str = ""
    max_bad: str = ""
    workers: int | None = None
    null: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    root: str = ""
    window: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.channels, str):
            object.__setattr__(self, "channels", parse_channels(self.channels))
        if isinstance(self.nodata, int | float):
            object.__setattr__(self, "nodata", (self.nodata,))
        if self.max_bad:  # both are checked before weights are loaded and images are read
            bad_limit(str(self.max_bad), 0)
        if self.range:
            parse_range(self.range)
        accept_paths(self)

    def given(self) -> list[str]:
        """Return the command-line names of the options that differ from their defaults, except `--null`."""
        changed = (field.name for field in fields(self) if getattr(self, field.name) != field.default)
        return [f"--{name.replace('_', '-')}" for name in changed if name != "null"]

    def data(self, stored: Mapping[str, Any] | None = None) -> Data:
        """Return the section `data` of a recipe: given options, else values stored with weights, else the defaults."""
        recipe = load_recipe(())
        defaults = {key: stored[key] for key in ("channels", "nodata", "page", "z") if stored and key in stored}
        given = {key: getattr(self, key) for key in ("page", "workers", "z", "channels", "nodata")}
        given |= {"range": self.range or None, "max_bad": self.max_bad or None}
        given = {key: value for key, value in given.items() if value is not None}
        return with_values(recipe, {f"data.{key}": value for key, value in (defaults | given).items()}).data

    def naming(self, manifest: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return include, exclude, root and window, as keyword arguments of `find_images`.

        Args:
            manifest: run.json of the run whose images are listed again; its values are used where an option is empty.
        """
        stored = (manifest or {}).get("naming", {})
        given = {"include": self.include, "exclude": self.exclude, "root": self.root, "window": self.window}
        return {key: value or stored.get(key, value) for key, value in given.items()}


@dataclass(frozen=True)
class ImageOptions:
    """Options of every command that runs a network on images.

    Args:
        inputs: Folders, files, globs, `@list.txt`, `-`; empty for those of the newest run.
        weights: As for training; empty for those of the newest run.
        model: timm name, for a bare state dict or ``none``.
        read: Options of finding and reading images.
        device: auto, cpu, cuda or cuda:N.
        force: Replace an existing result.
    """

    inputs: tuple[str, ...] = ()
    _: KW_ONLY
    weights: str = ""
    model: str = ""
    read: ReadOptions = ReadOptions()
    device: str = "auto"
    force: bool = False

    def __post_init__(self) -> None:
        accept_paths(self)

    @property
    def sources(self) -> tuple[str, ...]:
        """What the command reads, for `refuse_inputs`: images or features, weights, and the mask of the region."""
        return (*self.inputs, self.weights, self.read.roi)


@dataclass(frozen=True)
class FeatureInputs(ImageOptions):
    """Options of every command whose input is one feature file, or images that it embeds first.

    Empty `inputs` mean the newest feature file of the newest run.

    Args:
        batch_size: Images per batch when embedding; 0 for the default.
        seed: Random seed.
    """

    _: KW_ONLY
    batch_size: int = 0
    seed: int = 0


def check_inputs(options: ImageOptions, *, weights: str = "") -> None:
    """Raise the errors of the inputs that need neither torch nor an image.

    Args:
        options: Options of the command.
        weights: Source of the weights besides the options; empty if there is none.

    Raises:
        WeightsError: There is no run to take inputs or weights from.
        DataError: All inputs are folders without an image.
    """
    from dinocli.data.sources import check_not_empty, check_null
    from dinocli.progress import ProgressReporter

    check_null(options.inputs, null=options.read.null)
    # No copy of the options: those of `classify` refuse the weights that a classifier settles.
    named = ImageOptions(options.inputs, weights=options.weights or weights, model=options.model)
    inputs, _, _ = default_inputs(named, ProgressReporter())
    check_not_empty(inputs)


def default_inputs(
    options: ImageOptions, reporter: "ProgressReporter"
) -> tuple[tuple[str, ...], str, RunFolder | None]:
    """Return inputs and weights, by default those of the newest run, and the run of the weights.

    Raises:
        WeightsError: There is no run to take them from.
        DataError: The images of the newest run came on stdin.
    """
    newest = None
    if not options.inputs:
        newest = latest_run()
    elif not (options.weights or options.model):
        newest = latest_run("name weights with --weights (a path or a timm name), or run `dinocli pretrain` first")
    inputs, weights = options.inputs, options.weights or ("none" if options.model else "")
    if newest and not inputs:
        inputs = tuple(newest.read()["inputs"])
        if "-" in inputs:
            raise DataError(f"the images of {newest.path} came on stdin and cannot be read again: name them")
        reporter.line(f"images of {newest.path}: {' '.join(inputs)}")
    if newest and not weights:
        weights = str(newest.path)
        reporter.line(f"weights of {newest.path}")
    run = RunFolder(user_path(weights))
    return inputs, weights, run if run.manifest.is_file() else None
