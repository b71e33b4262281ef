"""`embed --merge`: the shards of several processes or machines as one feature file."""

import time
from collections.abc import Sequence
from pathlib import Path

from dinocli.artifacts.feature_arrays import FEATURES_KEY
from dinocli.artifacts.feature_file import sidecar
from dinocli.artifacts.feature_formats import check_free, feature_outputs
from dinocli.artifacts.run_folder import RunFolder, add_output
from dinocli.artifacts.shards import merge_shards, shards_beside
from dinocli.errors import counted
from dinocli.file_set import claimed
from dinocli.progress import ProgressReporter
from dinocli.tasks.embed.embed_options import EmbedResult


def merge(
    out: str,
    shards: Sequence[str] = (),
    *,
    force: bool = False,
    reporter: ProgressReporter | None = None,
    max_bad: str = "",
) -> EmbedResult:
    """Merge shards in their order, without the rows of unreadable images.

    Args:
        out: Output feature file.
        shards: Shard files; empty for those that `--shard` wrote beside `out`.
        force: Replace an existing file.
        reporter: Receives the progress.
        max_bad: Limit of the unreadable images of all shards; empty: the one that they were made with.

    Raises:
        DataError: More unreadable images than the limit.
        UsageError: The output exists, or there are no shards.
        WeightsError: The shards do not belong together, or one is missing.
    """
    begin, target, reporter = time.monotonic(), Path(out), reporter or ProgressReporter()
    with claimed(*feature_outputs(target)):
        check_free(target, force=force)
        meta = merge_shards(target, [*map(Path, shards)] or shards_beside(target), reporter, max_bad=max_bad)
        if meta["bad"]:
            reporter.warn(
                f"{counted(meta['bad'], 'image')} cannot be read; they are named in {sidecar(target, '.bad.csv')}"
            )
        if meta["run"]:
            add_output(RunFolder(Path(meta["run"])), FEATURES_KEY, target, reporter)
    return EmbedResult.of_meta(target, meta, time.monotonic() - begin)
