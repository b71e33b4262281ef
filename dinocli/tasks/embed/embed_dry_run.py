"""Number and size of the rows of an `embed`, printed before the work, or by `--dry-run` instead of it."""

from typing import Any, BinaryIO

import numpy as np

from dinocli.data.parallel import thread_count
from dinocli.engine.progress import ProgressReporter
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.embed.image_batches import ImageBatches
from dinocli.tasks.embed.like import following
from dinocli.tasks.inputs import describe_weights
from dinocli.tasks.square_resize import CONVNET_CELL
from dinocli.tasks.tiling import parse_tiling


def count_rows(context: EmbedContext, options: EmbedOptions, reporter: ProgressReporter) -> ImageBatches:
    """Count the rows, and report their number and size."""
    image_batches = ImageBatches(
        context.images,
        context.preprocess,
        parse_tiling(options.tile) if options.tile else None,
        thread_count(context.data.workers),
        on_cpu=context.device.type == "cpu",
        cell=(context.backbone.patch or CONVNET_CELL) if options.keep_aspect else 0,
        progress=lambda done, total: reporter.progress("counting tiles", done, total),
    )
    shape = "x".join("?" if length < 0 else str(length) for length in context.row_shape(options))
    reporter.line(
        f"{len(image_batches)} rows of {shape} {options.dtype}: "
        f"{in_words(_bytes(context, image_batches, options))}; "
        f"images at {context.preprocess.size} px, {context.precision} on {context.device}"
    )
    return image_batches


def dry_run(options: EmbedOptions, reporter: ProgressReporter, stdin: BinaryIO | None = None) -> dict[str, Any]:
    """Return what `embed` would do as JSON-like data; nothing is written."""
    options = following(options)
    context = prepare(options, reporter, stdin)
    image_batches = count_rows(context, options, ProgressReporter())
    return {
        "images": len(context.images),
        "root": str(context.images.root),
        "rows": len(image_batches),
        "shape": list(context.row_shape(options)),
        "bytes": _bytes(context, image_batches, options),
        "weights": describe_weights(context.info),
        "size": context.preprocess.size,
        "range": context.preprocess.range_policy,
        "grey": context.preprocess.grey,
        "device": f"{context.device}, {context.precision}",
    }


def _bytes(context: EmbedContext, image_batches: ImageBatches, options: EmbedOptions) -> int:
    """Return the size of all rows; where each image has its own grid, by the headers of the files."""
    numbers = len(image_batches) * int(np.prod(context.shape, dtype=np.int64))
    if options.to_folder and options.keep_aspect:
        cell = context.backbone.patch or CONVNET_CELL
        numbers = sum((height // cell) * (width // cell) for height, width in image_batches.sizes()) * context.shape[-1]
    return numbers * np.dtype(options.dtype).itemsize


def in_words(size: float) -> str:
    """Return bytes with a unit, in powers of 1000 as disks are sold: `13.4 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
