"""Input features of a command: a given file, the newest file of the newest run, or computed from given images."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dinocli.artifacts.default_features import default_features, newest_features
from dinocli.artifacts.feature_file import FEATURE_SUFFIXES, FeatureFile, open_features
from dinocli.config.preprocess import Preprocess
from dinocli.data.ranges import range_option
from dinocli.data.region_of_interest import described_roi
from dinocli.data.sources import check_null
from dinocli.errors import UsageError, WeightsError
from dinocli.files import folder_until_exit
from dinocli.progress import ProgressReporter
from dinocli.tasks.inputs import FeatureInputs, check_inputs

if TYPE_CHECKING:
    from dinocli.tasks.embed.embed_options import EmbedOptions

READ_PARTS = ("channels", "page", "nodata", "z", "roi")
"""Fields of `Preprocess` that select what is read of an image, named as their options."""


def is_features(text: str) -> bool:
    """Return whether an argument is a feature file, by its suffix; `@list.csv` is a list of images."""
    path = Path(text)
    return path.suffix.lower() in FEATURE_SUFFIXES and not text.startswith("@") and not path.is_dir()


def takes_features(options: FeatureInputs) -> bool:
    """Return whether the input is existing features, not images that have to be embedded first.

    Raises:
        UsageError: Several feature files, or a feature file with options for images.
    """
    image_options = [option for option, value in (("--weights", options.weights), ("--model", options.model)) if value]
    image_options += [*options.read.given(), *(["--batch-size"] if options.batch_size else [])]
    check_null(options.inputs, null=options.read.null)
    if not any(map(is_features, options.inputs)):
        return not options.inputs and not image_options
    if len(options.inputs) > 1:
        raise UsageError(f"give one feature file, or images, not both: {' '.join(options.inputs)}")
    if image_options:
        raise UsageError(
            f"{', '.join(image_options)} cannot change the features in {options.inputs[0]}; give the images instead"
        )
    return True


def check_features(options: FeatureInputs, *, weights: str = "") -> None:
    """Raise the errors of the input that need neither torch nor an image.

    Args:
        options: Options of the command.
        weights: As `check_inputs`.

    Raises:
        DinocliError: As `takes_features` and `check_inputs`, or there is no feature file to take by default.
    """
    if not takes_features(options):
        check_inputs(options, weights=weights)
    elif not options.inputs:
        newest_features()


def embed_options(options: FeatureInputs) -> "EmbedOptions":
    """Return the options that embed the images of a command; a command on existing features does not import them."""
    from dinocli.tasks.embed.embed_options import DEFAULT_BATCH, EmbedOptions

    return EmbedOptions.of(options, batch_size=options.batch_size or DEFAULT_BATCH)


def open_or_embed(options: FeatureInputs, reporter: ProgressReporter, stdin: BinaryIO | None) -> FeatureFile:
    """Open the given or the newest features, or compute them from images.

    Raises:
        DinocliError: As `embed`, or the feature file cannot be used.
    """
    if not takes_features(options):
        return embed_temporarily(embed_options(options), reporter, stdin)
    return open_features(Path(options.inputs[0]) if options.inputs else default_features(reporter))


def usable_rows(file: FeatureFile, reporter: ProgressReporter) -> FeatureFile:
    """Return the finite rows, and warn about the others.

    Raises:
        DataError: No row is finite.
    """
    finite = file.finite()
    if len(finite) < len(file):
        reporter.warn(f"{len(file) - len(finite)} of {len(file)} rows of {file.path} are not finite and left out")
    return finite


def embed_temporarily(
    options: "EmbedOptions", reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> FeatureFile:
    """Embed images to a temporary feature file that is removed when this process exits.

    Raises:
        DinocliError: As `embed`.
    """
    from dinocli.tasks.embed.embed import embed

    path = folder_until_exit() / "feats.npy"  # stays memory-mapped
    embed(replace(options, out=str(path), note=False), reporter, stdin)
    return open_features(path)


def check_comparable(other: FeatureFile, file: FeatureFile) -> None:
    """Refuse feature files whose features are not comparable.

    Raises:
        WeightsError: Weights, preprocessing, tokens, layers or the images that rare patches were fitted to differ.
    """
    for key in ("weights", "preprocess", "tokens", "layers", "fitted"):
        if _identity(other.meta.get(key)) != _identity(file.meta.get(key)):
            name = {"fitted": "images to fit rare patches to"}.get(key, key)
            one, two = other.preprocess(), file.preprocess()
            if key == "preprocess" and one and two:
                name = ", ".join(differing_reading(one, two)) or "preprocessing"
            raise WeightsError(
                f"{other.path} and {file.path} were made with different {name}, so their cosines mean nothing: "
                f"embed the images of the one with `embed IMAGES --like` the other"
            )


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
