"""Features for a command: of a named file, of the newest run, or computed for the images that are given."""

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol

from dinocli.engine.progress import ProgressReporter
from dinocli.errors import UsageError
from dinocli.files import folder_until_exit
from dinocli.tasks.default_features import default_features
from dinocli.tasks.embed.embed_options import DEFAULT_BATCH, EmbedOptions
from dinocli.tasks.feature_file import FEATURE_SUFFIXES, FeatureFile, open_features
from dinocli.tasks.inputs import ReadOptions


class FeatureInputs(Protocol):
    """Options of a command that takes one feature file, or images, or nothing."""

    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def weights(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def read(self) -> ReadOptions: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def device(self) -> str: ...


def is_features(text: str) -> bool:
    """Say whether an argument names a feature file, by its suffix."""
    path = Path(text)
    return path.suffix.lower() in FEATURE_SUFFIXES and not path.is_dir()


def takes_features(options: FeatureInputs) -> bool:
    """Say whether existing features are used, rather than images that have to be embedded first.

    Raises:
        UsageError: Several feature files, or options for images beside one.
    """
    of_images = [option for option, value in (("--weights", options.weights), ("--model", options.model)) if value]
    of_images += [*options.read.given(), *(["--batch-size"] if options.batch_size else [])]
    if not any(map(is_features, options.inputs)):
        return not options.inputs and not of_images
    if len(options.inputs) > 1:
        raise UsageError(f"give one feature file, or images, not both: {' '.join(options.inputs)}")
    if of_images:
        raise UsageError(
            f"{', '.join(of_images)} cannot change the features in {options.inputs[0]}; give the images instead"
        )
    return True


def embed_options(options: FeatureInputs) -> EmbedOptions:
    """Return how the images of a command are embedded."""
    return EmbedOptions(
        inputs=options.inputs,
        weights=options.weights,
        model=options.model,
        read=options.read,
        batch_size=options.batch_size or DEFAULT_BATCH,
        device=options.device,
    )


def open_or_embed(options: FeatureInputs, reporter: ProgressReporter, stdin: BinaryIO | None) -> FeatureFile:
    """Open the features that were asked for, or compute them.

    Raises:
        DinocliError: As `embed`, or the feature file cannot be used.
    """
    if not takes_features(options):
        return embed_temporarily(embed_options(options), reporter, stdin)
    return open_features(Path(options.inputs[0]) if options.inputs else default_features(reporter))


def embed_temporarily(
    options: EmbedOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> FeatureFile:
    """Compute one feature an image, into a file that lives as long as this process.

    Raises:
        DinocliError: As `embed`.
    """
    from dinocli.tasks.embed.embed import embed

    path = folder_until_exit() / "feats.npy"  # it stays open as a map
    embed(replace(options, out=str(path), note=False), reporter, stdin)
    return open_features(path)
