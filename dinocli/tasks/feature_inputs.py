"""Input features of a command: a given file, the newest file of the newest run, or computed from given images."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dinocli.artifacts.default_features import default_features, newest_features
from dinocli.artifacts.feature_file import FEATURE_SUFFIXES, FeatureFile, open_features, sidecar
from dinocli.data.image_list import ImageList, modified_words
from dinocli.data.labels import read_labels
from dinocli.data.sources import check_null, find_images
from dinocli.errors import UsageError
from dinocli.files import folder_until_exit
from dinocli.progress import ProgressReporter
from dinocli.tasks.inputs import FeatureInputs, check_inputs

if TYPE_CHECKING:
    from dinocli.tasks.embed.embed_options import EmbedOptions


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


def check_labels(options: FeatureInputs, *specs: str) -> None:
    """Raise the errors of labels before images are embedded, which may take hours; paths on stdin can be read once.

    Args:
        options: Options of the command.
        specs: Labels, as `read_labels`; empty ones are left out.
    """
    if takes_features(options) or not options.inputs or "-" in options.inputs or not any(specs):
        return
    names = find_images(options.inputs, **options.read.naming()).names
    for spec in filter(None, specs):
        read_labels(spec, names)


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
    return open_stored(Path(options.inputs[0]) if options.inputs else default_features(reporter), reporter)


def open_stored(path: str | Path, reporter: ProgressReporter) -> FeatureFile:
    """Open a feature file, and warn if its images are gone, or were modified after it was written.

    Raises:
        DinocliError: As `open_features`.
    """
    file = open_features(path)
    if not (root := file.meta.get("root")):
        return file
    images = ImageList(Path(root), list(dict.fromkeys(file.names)), [])
    if images.are_gone():
        reporter.warn(
            f"the images of {path} are not in {root} any more: if they have moved, write their folder as root into "
            f"{sidecar(file.path, '.json')}, or embed them again"
        )
    elif modified := images.modified_after(file.path.stat().st_mtime):
        reporter.warn(
            f"{modified_words(modified)} after {file.path} was written: its rows may be of other images; embed again"
        )
    return file


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
