"""Number and size of the rows of `embed`, reported before the work; `--dry-run` also estimates the time."""

import time
from collections import deque
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from dinocli.data.parallel import thread_count
from dinocli.data.tiling import parse_tiling
from dinocli.engine.image_batches import ImageBatches
from dinocli.models.token_kinds import FITTED
from dinocli.models.tokens import Tokens
from dinocli.progress import ProgressReporter
from dinocli.report.text import byte_size
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.embed.forward_pass import computed
from dinocli.tasks.embed.rare_fit import fit_rare
from dinocli.tasks.inputs import describe_range, describe_weights

TRIAL_IMAGES = 32


def count_rows(context: EmbedContext) -> ImageBatches:
    """Count the rows, and report their number and size."""
    options, reporter = context.options, context.reporter
    image_batches = ImageBatches(
        context.images,
        context.preprocess,
        parse_tiling(options.tile),
        thread_count(context.data.workers),
        on_cpu=context.device.type == "cpu",
        cell=context.cell,
        progress=lambda done, total: reporter.progress("counting tiles", done, total),
    )
    shape = "x".join("?" if length < 0 else str(length) for length in context.row_shape)
    reporter.line(
        f"{len(image_batches)} rows of {shape} {options.dtype}: "
        f"{byte_size(_bytes(context, image_batches))}; "
        f"images at {context.preprocess.size} px, {context.precision} on {context.device}"
    )
    return image_batches


def dry_run(options: EmbedOptions, reporter: ProgressReporter, stdin: BinaryIO | None = None) -> dict[str, Any]:
    """Return what `embed` would do as JSON-like data; a few images are embedded, and nothing is written.

    Raises:
        DinocliError: As `embed`, as far as a few images show it.
    """
    context = replace(prepare(options, reporter, stdin), reporter=ProgressReporter())
    image_batches = count_rows(context)
    return {
        "images": len(context.images),
        "root": str(context.images.root),
        "rows": len(image_batches),
        "shape": list(context.row_shape),
        "bytes": _bytes(context, image_batches),
        "seconds": round(_seconds_per_row(context, image_batches) * len(image_batches), 1),
        "weights": describe_weights(context.info),
        "size": context.preprocess.size,
        "range": describe_range(context.preprocess),
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
    deque(computed(trial, batches, 0), maxlen=0)
    return (time.perf_counter() - begin) / max(1, len(batches))


def _bytes(context: EmbedContext, image_batches: ImageBatches) -> int:
    """Return the size of all rows; if each image has its own grid, from the headers of the files."""
    numbers = len(image_batches) * int(np.prod(context.shape, dtype=np.int64))
    if context.options.to_folder and (cell := context.cell):
        numbers = sum((height // cell) * (width // cell) for height, width in image_batches.sizes()) * context.shape[-1]
    return numbers * np.dtype(context.options.dtype).itemsize
