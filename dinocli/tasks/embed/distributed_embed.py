"""`embed` under `torchrun`: each process computes one shard of the file."""

import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from dinocli.artifacts.shards import remove_shards
from dinocli.engine import distributed
from dinocli.engine.distributed import any_rank, open_world
from dinocli.errors import UsageError
from dinocli.progress import ProgressReporter
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.embed.embed_options import STDOUT, EmbedOptions, EmbedResult
from dinocli.tasks.embed.merge_shards import merge


def embed_together(
    options: EmbedOptions, reporter: ProgressReporter, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None
) -> EmbedResult | None:
    """Embed with all processes; with a single process this is `embed`.

    Each process computes its shard on its own device without synchronisation; the main process merges the shards.

    Returns:
        The result in the main process; None in the others.

    Raises:
        UsageError: Several processes cannot share this output.
    """
    begin = time.monotonic()
    world, _ = open_world(options.device)
    try:
        if world.size == 1:
            return embed(options, reporter, stdin, stdout)
        if options.out == STDOUT or options.shard or options.to_folder:
            raise UsageError("several processes cannot share this --out or one --shard; name a file, or start one")
        target = Path(options.out)
        if target.exists() and not options.force:
            return embed(options, reporter, stdin) if world.is_main else None  # complete already, or refused
        part = replace(options, shard=f"{world.rank}/{world.size}")
        embed(part, reporter if world.is_main else ProgressReporter(), stdin)
        any_rank(False)  # waits for all
        if not world.is_main:
            return None
        outcome = merge(options.out, force=options.force, reporter=reporter)
        remove_shards(target)
        seconds = time.monotonic() - begin
        return replace(outcome, seconds=seconds, images_per_second=outcome.images / seconds)
    finally:
        distributed.leave()
