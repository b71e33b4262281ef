"""Features for commands that are given images instead of a feature file."""

from collections.abc import Sequence
from typing import Any, BinaryIO

from dinocli.engine.progress import ProgressReporter
from dinocli.files import folder_until_exit
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.feature_file import FeatureFile, open_features


def features_of(
    inputs: Sequence[str],
    *,
    weights: str = "",
    model: str = "",
    reporter: ProgressReporter | None = None,
    stdin: BinaryIO | None = None,
    **more: Any,
) -> FeatureFile:
    """Compute one feature an image, into a file that lives as long as this process.

    Args:
        inputs: Folders, files, globs, `@list.txt`, `-`; empty takes the images of the newest run.
        weights: As for training; empty takes those of the newest run.
        model: timm name, beside a bare state dict or ``none``.
        reporter: Is told the progress.
        stdin: Where `-` reads names from.
        more: Any other of `EmbedOptions`, except `out`.

    Raises:
        DinocliError: As `embed`.
    """
    path = folder_until_exit() / "feats.npy"  # it stays open as a map
    embed(EmbedOptions(tuple(inputs), str(path), weights, model, note=False, **more), reporter, stdin)
    return open_features(path)
