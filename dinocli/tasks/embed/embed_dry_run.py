"""`embed --dry-run`: number and size of the rows, and the time, estimated from a few images."""

import time
from dataclasses import replace
from typing import Any, BinaryIO

from dinocli.engine.image_batches import ImageBatches
from dinocli.models.token_kinds import FITTED
from dinocli.models.tokens import Tokens
from dinocli.progress import ProgressReporter
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.embed.forward_pass import count_rows, row_batches, row_bytes
from dinocli.tasks.embed.rare_fit import fit_rare

TRIAL_IMAGES = 32


def dry_run(options: EmbedOptions, reporter: ProgressReporter, stdin: BinaryIO | None = None) -> dict[str, Any]:
    """Return what `embed` would do as JSON-like data; a few images are embedded, and nothing is written.

    Raises:
        DinocliError: As `embed`, as far as a few images show it.
    """
    return forecast(prepare(options, reporter, stdin))


def forecast(context: EmbedContext) -> dict[str, Any]:
    """Return what the pass over the images would do, as `dry_run`."""
    context = replace(context, reporter=ProgressReporter())
    image_batches = count_rows(context)
    return {
        "images": len(context.images),
        "root": str(context.images.root),
        "rows": len(image_batches),
        "shape": list(context.row_shape),
        "bytes": row_bytes(context, image_batches),
        "seconds": round(_seconds_per_row(context, image_batches) * len(image_batches), 3),
        "weights": context.info.describe(),
        "size": context.preprocess.size,
        "range": context.preprocess.describe_range(),
        "grey": context.preprocess.grey,
        "device": f"{context.device}, {context.precision}",
    }


def _seconds_per_row(context: EmbedContext, image_batches: ImageBatches) -> float:
    """Embed a few images, evenly spread over the list; `--max-bad` is not checked on so small a sample."""
    few = context.images.spread(TRIAL_IMAGES)
    trial = replace(context, images=few, data=context.data.model_copy(update={"max_bad": "100%"}))
    batches = image_batches.for_images(few)
    if isinstance(trial.tokens, Tokens) and context.options.tokens in FITTED:
        trial = replace(trial, tokens=fit_rare(trial, batches)[0])
    begin = time.perf_counter()
    for _ in row_batches(trial, batches, 0):
        pass
    return (time.perf_counter() - begin) / max(1, len(batches))
