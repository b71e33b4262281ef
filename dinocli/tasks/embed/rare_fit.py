"""Fit features with rare patches on a sample of the images, before the pass over all images.

Legend: S images of the sample, P width of the feature.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dinocli.artifacts.feature_model import inside_of
from dinocli.engine.image_batches import ImageBatches
from dinocli.engine.rare_features import SAMPLE, RareFeatures, RareFit, max_stored
from dinocli.engine.signals import Signals
from dinocli.engine.square_resize import inputs_by_size
from dinocli.errors import DataError, Interrupted
from dinocli.models.features import eval_mode
from dinocli.models.rarity_maps import rarity_maps
from dinocli.tasks.embed.embed_setup import EmbedContext

MIN_SAMPLE = 64
"""Minimum number of sampled images, however large their maps are."""

Known = dict[int, NDArray[np.float32]]
"""Rows that the fit has already computed, by image index."""


def fit_rare(context: EmbedContext, image_batches: ImageBatches) -> tuple[RareFeatures, Known]:
    """Fit the features on a random sample of the images.

    Returns:
        The fitted features on the device, and the rows of whole images, which need not be computed again.

    Raises:
        DataError: Fewer than two images are readable.
        Interrupted: A signal stopped the fit; nothing is saved.
    """
    options, chosen_S = context.options, _sample(context, image_batches)
    names = [context.images.names[number] for number in chosen_S]
    inside_HW = None if options.tile else inside_of(context.preprocess)
    sample = image_batches.for_images(replace(context.images, names=names))
    fit, readable = RareFit(options.tokens, similarity_change=context.info.similarity_change), list[int]()
    with eval_mode(context.backbone), torch.inference_mode(), Signals().caught() as signals:
        for done, batch in enumerate(sample.batches(0, options.batch_size), 1):
            images = [piece.image for piece in batch if isinstance(piece.canvas, np.ndarray)]
            canvases = [piece.canvas for piece in batch if isinstance(piece.canvas, np.ndarray)]
            for places, x_BCHW in inputs_by_size(canvases, context.preprocess, context.device):
                with torch.autocast(context.device.type, dtype=context.autocast, enabled=context.autocast is not None):
                    pooled_BD, maps = rarity_maps(context.backbone, x_BCHW, inside_HW)
                fit.add(pooled_BD, maps, [names[images[place]] for place in places])
                readable += [chosen_S[images[place]] for place in places]
            context.reporter.progress("fitting to a sample", min(done * options.batch_size, len(sample)), len(sample))
            if signals.number:
                raise Interrupted(f"stopped by a signal after 0 of {len(image_batches)}", signals.number)
        try:
            features, rows_SP = fit.finish()
        except DataError:
            raise DataError(
                f"--tokens {options.tokens} compares images, and {len(set(readable))} can be read: use --tokens pooled"
            ) from None
    whole = image_batches.tiling is None
    features = replace(features, inside_HW=inside_HW)
    return features.to(context.device), dict(zip(readable, rows_SP, strict=False)) if whole else {}


def state_file(target: Path) -> Path:
    """Return the hidden file beside a feature file that stores the fit for `--resume`."""
    return target.with_name(f".{target.name}.rare")


def _sample(context: EmbedContext, image_batches: ImageBatches) -> list[int]:
    """Return the indices of a random sample of images, fewer if images have many tiles or large maps."""
    side = context.preprocess.size
    blank = torch.zeros(1, context.backbone.in_chans, side, side, device=context.device)
    with torch.inference_mode():
        _, maps = rarity_maps(context.backbone, blank)
    tiles = len(image_batches) / max(1, len(context.images))
    count = max(MIN_SAMPLE, round(min(SAMPLE, max_stored(maps)) / max(1.0, tiles)))
    return [int(number) for number in np.random.default_rng(0).permutation(len(context.images))[:count]]
