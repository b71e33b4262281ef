"""One pass over the images: read, compute features, write rows in the order of the list.

Shapes: b rows of a batch, D width.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dinocli.artifacts.partial_features import Bad, BatchRows, PartialFeatures
from dinocli.artifacts.patch_folder import PatchFolder
from dinocli.artifacts.stdout_writer import StdoutWriter
from dinocli.data.bad_images import bad_limit
from dinocli.data.parallel import thread_count
from dinocli.data.region_of_interest import NO_BOX
from dinocli.data.tiling import parse_tiling
from dinocli.engine.image_batches import ImageBatches, ImageTile
from dinocli.engine.signals import Signals
from dinocli.engine.square_resize import inputs_by_size
from dinocli.errors import Interrupted
from dinocli.models.features import compute_features, l2_normalized, one_behind
from dinocli.report.text import byte_size
from dinocli.tasks.embed.embed_setup import EmbedContext

Batch = list[ImageTile]
"""Images or tiles of one batch; without their pixels once they are computed."""


Sink = PartialFeatures | PatchFolder | StdoutWriter


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
        f"{byte_size(row_bytes(context, image_batches))}; "
        f"images at {context.preprocess.size} px, {context.precision} on {context.device}"
    )
    return image_batches


def row_bytes(context: EmbedContext, image_batches: ImageBatches) -> int:
    """Return the size of all rows; if each image has its own grid, from the headers of the files."""
    numbers = len(image_batches) * int(np.prod(context.shape, dtype=np.int64))
    if context.options.to_folder and (cell := context.cell):
        numbers = sum((height // cell) * (width // cell) for height, width in image_batches.sizes()) * context.shape[-1]
    return numbers * np.dtype(context.options.dtype).itemsize


def write_rows(context: EmbedContext, image_batches: ImageBatches, sink: Sink) -> None:
    """Compute the rows of all images or tiles that the sink does not have yet.

    Args:
        context: Weights, preprocessing, batch size and normalisation.
        image_batches: Images or tiles.
        sink: Receives the rows of each batch, in order.

    Raises:
        DataError: More unreadable images than `--max-bad` allows; of a shard, `--merge` checks it for all images.
        Interrupted: A signal stopped the pass; computed rows are committed.
    """
    listed_bad = context.images.bad
    limit = bad_limit(context.data.max_bad, len(context.images) + len(listed_bad))
    is_shard = bool(context.options.shard)
    if not is_shard:
        limit.check([*listed_bad, *sink.bad])
    reporter, keep_positions = context.reporter, context.options.keeps_positions
    broken = zero = 0
    reporter.stage("embedding", len(image_batches))
    reporter.progress("embedding", sink.pieces, len(image_batches))
    with Signals().caught() as signals, closing(row_batches(context, image_batches, sink.pieces)) as batches:
        for batch, rows_bD in batches:
            broken += sum(not np.isfinite(row).all() for row in rows_bD)
            zero += sum(not row.any() for row in rows_bD)
            bad = _new_bad(batch, sink.pieces, image_batches)
            boxes = [piece.box or NO_BOX for piece in batch if keep_positions or not _is_bad(piece)]
            rows = _with_nan_rows(batch, rows_bD) if keep_positions else rows_bD
            sink.add(rows, boxes, len(batch), bad)
            if bad and not is_shard:
                limit.check([*listed_bad, *sink.bad])
            reporter.progress("embedding", sink.pieces, len(image_batches))
            if signals.number:
                sink.commit()
                raise Interrupted(f"stopped by a signal after {sink.pieces} of {len(image_batches)}", signals.number)
    if broken:
        reporter.warn(f"{broken} rows hold values that are not finite; check the weights, or use --precision fp32")
    if zero:
        reporter.warn(f"{zero} rows are zero, so these images are similar to no other; use a larger --size")


def row_batches(
    context: EmbedContext, image_batches: ImageBatches, first: int
) -> Generator[tuple[Batch, BatchRows], None, None]:
    """Yield each batch with the rows of its readable images or tiles.

    Args:
        context: As `write_rows`.
        image_batches: As `write_rows`.
        first: Index of the first image or tile.
    """
    options, names = context.options, context.images.names

    def submitted() -> Iterator[tuple[Batch, list[tuple[list[int], Tensor]]]]:
        for batch in image_batches.batches(first, options.batch_size):
            images = [piece.image for piece in batch if isinstance(piece.canvas, np.ndarray)]
            canvases = [piece.canvas for piece in batch if isinstance(piece.canvas, np.ndarray)]
            groups = []
            for places, x_bCHW in inputs_by_size(canvases, context.preprocess, context.device):
                image_b = context.tokens.numbers([names[images[place]] for place in places])
                features = compute_features(
                    context.backbone, x_bCHW, autocast=context.autocast, tokens=context.tokens, image_b=image_b
                )
                groups.append((places, features))
            yield [piece if _is_bad(piece) else replace(piece, canvas="") for piece in batch], groups

    for batch, groups in one_behind(submitted()):
        parts = [(places, features.cpu().numpy()) for places, features in groups]
        if options.normalize:
            parts = [(places, l2_normalized(rows)) for places, rows in parts]
        rows_bD = _in_order(parts) if parts else np.empty((0, *context.shape), np.float32)
        yield batch, _with_known(batch, rows_bD, image_batches.known)


def _with_known(batch: Batch, rows_bD: BatchRows, known: Mapping[int, NDArray[np.float32]]) -> BatchRows:
    """Merge computed rows with those that the fit has already computed."""
    if not any(piece.image in known for piece in batch):
        return rows_bD
    computed = iter(rows_bD)
    images = [piece.image for piece in batch if not _is_bad(piece)]
    return np.stack([known[image] if image in known else next(computed) for image in images])


def _in_order(parts: list[tuple[list[int], NDArray[np.float32]]]) -> BatchRows:
    """Concatenate the rows of the groups of one batch, in the order of the batch."""
    if len(parts) == 1:
        return parts[0][1]
    rows = {place: row for places, part in parts for place, row in zip(places, part, strict=True)}
    ordered = [rows[place] for place in range(len(rows))]
    return np.stack(ordered) if len({row.shape for row in ordered}) == 1 else ordered


def _is_bad(piece: ImageTile) -> bool:
    """Return whether an image is unreadable: `canvas` is then the reason."""
    return isinstance(piece.canvas, str) and bool(piece.canvas)


def _new_bad(batch: Batch, start: int, image_batches: ImageBatches) -> Bad:
    """Return (name, reason) of the unreadable images whose first tile is in this batch."""
    return [
        (image_batches.images.names[piece.image], str(piece.canvas))
        for number, piece in enumerate(batch, start)
        if _is_bad(piece) and number == image_batches.starts_N1[piece.image]
    ]


def _with_nan_rows(batch: Batch, rows_bD: BatchRows) -> BatchRows:
    """Insert rows of NaN for unreadable images, so that row indices equal image indices."""
    assert isinstance(rows_bD, np.ndarray)
    rows = np.full((len(batch), *rows_bD.shape[1:]), np.nan, np.float32)
    rows[[number for number, piece in enumerate(batch) if not _is_bad(piece)]] = rows_bD
    return rows
