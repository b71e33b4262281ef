"""How many rows there will be, and how large: said before the work, or instead of it."""

from typing import Any, BinaryIO

import numpy as np

from dinocli.data.parallel import thread_count
from dinocli.engine.progress import ProgressReporter
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.embed.image_batches import ImageBatches
from dinocli.tasks.embed.like import following
from dinocli.tasks.inputs import describe_weights
from dinocli.tasks.tiling import parse_tiling

CONVNET_CELL = 32
"""Pixels of one cell of the last map: those of nearly all convnets."""


def look_at(setting: EmbedContext, job: EmbedOptions, reporter: ProgressReporter) -> ImageBatches:
    """Number the rows through, and say how much they will be."""
    pictures = ImageBatches(
        setting.images,
        setting.preprocess,
        parse_tiling(job.tile) if job.tile else None,
        thread_count(setting.data.workers),
        on_cpu=setting.device.type == "cpu",
        cell=(setting.backbone.patch or CONVNET_CELL) if job.keep_aspect else 0,
        progress=lambda done, total: reporter.progress("counting tiles", done, total),
    )
    shape = "x".join("?" if length < 0 else str(length) for length in setting.row_shape(job))
    reporter.line(
        f"{len(pictures)} rows of {shape} {job.dtype}: "
        f"{in_words(_bytes(setting, pictures, job))}; "
        f"images at {setting.preprocess.size} px, {setting.precision} on {setting.device}"
    )
    return pictures


def foresee(job: EmbedOptions, reporter: ProgressReporter, stdin: BinaryIO | None = None) -> dict[str, Any]:
    """Say what `embed` would do, as JSON-like data; nothing is written."""
    job = following(job)
    setting = prepare(job, reporter, stdin)
    pictures = look_at(setting, job, ProgressReporter())
    return {
        "images": len(setting.images),
        "root": str(setting.images.root),
        "rows": len(pictures),
        "shape": list(setting.row_shape(job)),
        "bytes": _bytes(setting, pictures, job),
        "weights": describe_weights(setting.info),
        "size": setting.preprocess.size,
        "range": setting.preprocess.range_policy,
        "grey": setting.preprocess.grey,
        "device": f"{setting.device}, {setting.precision}",
    }


def _bytes(setting: EmbedContext, pictures: ImageBatches, job: EmbedOptions) -> int:
    """Return the size of all rows; where each image has its own grid, by the headers of the files."""
    numbers = len(pictures) * int(np.prod(setting.shape, dtype=np.int64))
    if job.to_folder and job.keep_aspect:
        cell = setting.backbone.patch or CONVNET_CELL
        numbers = sum((height // cell) * (width // cell) for height, width in pictures.sizes()) * setting.shape[-1]
    return numbers * np.dtype(job.dtype).itemsize


def in_words(size: float) -> str:
    """Return bytes with a unit, in powers of 1000 as disks are sold: `13.4 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
