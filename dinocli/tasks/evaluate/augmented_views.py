"""Features of augmented views of a sample of the images: no feature file holds them, so the images are read again.

Shapes: N images of the sample, Q views of each, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.resample import normalise, resize_square
from dinocli.config.load import load_recipe
from dinocli.config.preprocess import Preprocess
from dinocli.data.cache import cache_folder, open_store
from dinocli.data.loader import Loader
from dinocli.data.read import Reader
from dinocli.data.sources import ImageList
from dinocli.engine.build import view_specs
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DataError
from dinocli.models.features import extract
from dinocli.tasks.feature_file import FeatureFile
from dinocli.tasks.feature_model import feature_model_of

SAMPLE = 500
"""Images that are embedded again: with four views each, one to two minutes on a CPU."""

_BATCH = 50


@dataclass(frozen=True)
class ViewFeatures:
    """Features of the sample.

    Args:
        names: Names of its images.
        clean_ND: Features of the images themselves.
        views_QND: Features of augmented views of each.
    """

    names: list[str]
    clean_ND: NDArray[np.float32]
    views_QND: NDArray[np.float32]


def embed_views(
    file: FeatureFile,
    rows: Sequence[int],
    views: int,
    *,
    device: torch.device,
    reporter: ProgressReporter,
    seed: int = 0,
) -> ViewFeatures:
    """Embed some images and augmented views of them.

    The views are those of the recipe `natural` (its first global view), at the size of the weights: the same for every
    network, whatever it was trained with.

    Args:
        file: Knows images, weights and preprocessing.
        rows: Which of its images.
        views: How many of each.
        device: Where to compute.
        reporter: Receives the progress.
        seed: Random seed of the views.

    Raises:
        DinocliError: Weights or images cannot be read, or the file does not say which they are.
    """
    _check_images(file)
    maker = feature_model_of(file, str(device))
    images = ImageList(Path(file.meta["root"]), sorted(file.names[row] for row in rows), [])
    loader = _loader(images, maker.preprocess, device)
    pipeline = _pipeline(maker.preprocess, seed)
    parts = []
    for draw in range(-1, views):
        work = _clean(loader, maker.preprocess) if draw < 0 else _augmented(loader, pipeline, draw)
        names = loader.store.names
        numbers = (maker.tokens.numbers(names[first : first + _BATCH]) for first in range(0, len(names), _BATCH))
        # In float32 wherever it runs: bfloat16 alone moves a k-NN accuracy by half a point.
        parts.append(extract(maker.backbone, work, autocast=None, tokens=maker.tokens, numbers=numbers))
        reporter.progress(f"embedding augmented views with {maker.backbone.name}", draw + 2, views + 1)
    return ViewFeatures(loader.store.names, parts[0], np.stack(parts[1:]))


def _check_images(file: FeatureFile) -> None:
    """Raise a `DataError` if the images of a feature file cannot be embedded again."""
    if file.boxes is not None:
        raise DataError("its rows are tiles")
    root = file.meta.get("root")
    if not root or not file.meta.get("weights"):
        raise DataError("it does not say which images and weights made it")
    if not Path(root, file.names[0]).is_file():
        raise DataError(f"its images are gone from {root}")


def _loader(images: ImageList, preprocess: Preprocess, device: torch.device) -> Loader:
    data = load_recipe(()).data
    store = open_store(
        images,
        Reader(preprocess, 2 * preprocess.size),
        cache="off",
        workers=data.workers,
        max_bad="100%",
        shared=False,
        folder=cache_folder(),
    )
    return Loader(store, batch_size=_BATCH, seed=0, device=device)


def _pipeline(preprocess: Preprocess, seed: int) -> MultiCrop:
    sizes = [f"views.{kind}_size={preprocess.size}" for kind in ("global", "local")]
    query, *_ = view_specs(load_recipe((), sizes).views)
    return MultiCrop([query], mean=preprocess.mean, std=preprocess.std, grey=preprocess.grey, seed=seed)


def _clean(loader: Loader, preprocess: Preprocess) -> Iterator[torch.Tensor]:
    for batch in loader.whole(range(len(loader.store)), _BATCH):
        square_BCSS = resize_square(batch.pixels_BCHW, batch.sizes_B2, preprocess.size)
        yield normalise(square_BCSS, preprocess.mean, preprocess.std)


def _augmented(loader: Loader, pipeline: MultiCrop, draw: int) -> Iterator[torch.Tensor]:
    count = len(loader.store)
    for batch in loader.whole(range(count), _BATCH):
        where = {"step": draw, "start": batch.start, "global_batch": count}
        yield pipeline(batch.pixels_BCHW, batch.sizes_B2, **where)[0]
