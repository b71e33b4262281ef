"""Features of crops, quadrants and augmented views of a sample of images, which are read again for this.

Shapes: N images of the sample, Q augmented views of each, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.artifacts.feature_model import feature_model_of
from dinocli.augment.multicrop import MultiCrop
from dinocli.config.load import load_recipe
from dinocli.config.preprocess import Preprocess
from dinocli.data.cache import Decoder
from dinocli.data.image_list import ImageList
from dinocli.data.image_source import size_and_mtime
from dinocli.data.loader import Loader
from dinocli.data.read import Reader
from dinocli.engine.build_views import probe_crop, view_specs
from dinocli.engine.probe import PROBE_BATCH, Probe, ProbeSample
from dinocli.engine.rare_features import RareFeatures
from dinocli.engine.rare_probe import PooledAndRare
from dinocli.engine.start_shift import shift_of
from dinocli.errors import DataError
from dinocli.models.features import extract
from dinocli.models.token_kinds import POOLED_RARE
from dinocli.models.tokens import POOLED
from dinocli.progress import ProgressReporter
from dinocli.quality.probe_result import ProbeFeatures

SAMPLE = {"cpu": 300}
"""Number of images that are embedded again, about 8 times each, by device type; the same as in the guard of a run."""

SAMPLE_ELSEWHERE = 500

_VERDICT_DRAW = 1  # the same crops as in the verdict of a training run


@dataclass(frozen=True)
class ViewFeatures:
    """Features of the sample.

    Args:
        names: Image names.
        probe: Features of each image, a crop and its quadrants, as in the verdict of a training run.
        views_QND: Features of the augmented views.
        rare_defects_N: Synthetic-defect few-shot of each image with `pooled+rare`; empty for other features.
        variance_shift: Distance of the images to those of the weights (`dinocli.models.variance_shift`); NaN for
            weights that were adapted to images, and without batch norm.
    """

    names: list[str]
    probe: ProbeFeatures
    views_QND: NDArray[np.float32]
    rare_defects_N: NDArray[np.float64]
    variance_shift: float

    def transformed(self, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> "ViewFeatures":
        """Apply the transform of the evaluated features, such as whitening."""
        views_QND = np.stack([change(view_ND) for view_ND in self.views_QND])
        return replace(self, probe=self.probe.transformed(change), views_QND=views_QND)


def embed_views(
    file: FeatureFile,
    rows: Sequence[int],
    views: int,
    *,
    device: torch.device,
    reporter: ProgressReporter,
    seed: int = 0,
) -> ViewFeatures:
    """Embed images, and a crop, the quadrants and augmented views of each.

    Crops follow the recipe `gentle`, augmented views the first global view of `natural`, both at the size of the
    weights, so that they are the same for every network, whatever its training. Instead of features fitted to a folder,
    pooled features are computed, as in training: the scores judge weights, and their thresholds were chosen on these.
    Synthetic defects are also told apart with `pooled+rare` if the file holds it.

    Args:
        file: Feature file that records images, weights and preprocessing.
        rows: Rows of the sampled images.
        views: Augmented views per image, at least 1.
        device: Device of the network.
        reporter: Receives the progress.
        seed: Random seed of crops and views.

    Raises:
        DinocliError: Weights or images cannot be read, or the file does not record them.
    """
    _check_images(file)
    maker = feature_model_of(file, str(device))
    rare = maker.tokens if isinstance(maker.tokens, RareFeatures) else None
    both = PooledAndRare(rare) if rare and rare.kind == POOLED_RARE else None
    tokens = POOLED if rare else maker.tokens.without_region()
    images = ImageList(Path(file.meta["root"]), sorted(file.names[row] for row in rows), [])
    loader, preprocess = _loader(images, maker.preprocess, device), maker.preprocess
    names, every = loader.store.names, range(len(loader.store))
    sizes = [f"views.{kind}_size={preprocess.size}" for kind in ("global", "local")]
    crop = probe_crop(load_recipe(("gentle",), [*sizes, f"run.seed={seed}"]), preprocess)
    view, *_ = view_specs(load_recipe((), sizes).views)
    pipeline = MultiCrop([view], mean=preprocess.mean, std=preprocess.std, grey=preprocess.grey, seed=seed)
    probe = Probe(loader, ProbeSample(every, _VERDICT_DRAW), crop, preprocess, reporter.advance)
    total = probe.images_per_measurement + views * len(every)
    reporter.line(
        f"{len(every):,} images are embedded again, {total // len(every)} times each at {preprocess.size} px, for "
        "scores of crops and views; --views 0 leaves these out"
    )
    reporter.stage("embedding crops and views", total)
    features, rare_defects_N = probe.extract(maker.backbone, both or tokens), np.empty(0)
    if both:
        features, rare_defects_N = features.split_rare(maker.backbone.dim)
    # In float32 on every device: bfloat16 alone changes a k-NN accuracy by half a point.
    view_features = [
        extract(maker.backbone, _augmented(loader, pipeline, draw, reporter), autocast=None, tokens=tokens)
        for draw in range(views)
    ]
    adapted = maker.info is None or bool(maker.info.similarity_change)
    return ViewFeatures(
        names=[names[row] for row in features.rows],
        probe=features,
        views_QND=np.stack(view_features),
        rare_defects_N=rare_defects_N,
        variance_shift=float("nan") if adapted else shift_of(maker.backbone, probe),
    )


def _check_images(file: FeatureFile) -> None:
    """Raise `DataError` if the images of a feature file cannot be embedded again."""
    if file.boxes is not None:
        raise DataError("its rows are tiles")
    root = file.meta.get("root")
    if not root or not file.meta.get("weights"):
        raise DataError("it does not say which images and weights made it")
    try:
        size_and_mtime(str(Path(root, file.names[0])))  # of a file, an image in an archive, or a window of a raster
    except (OSError, DataError):
        raise DataError(f"its images are gone from {root}") from None


def _loader(images: ImageList, preprocess: Preprocess, device: torch.device) -> Loader:
    data = load_recipe(()).data
    decoder = Decoder(images, Reader(preprocess, 2 * preprocess.size), data.workers, max_bad="100%")
    return Loader(decoder.stream(), batch_size=PROBE_BATCH, seed=0, device=device)


def _augmented(loader: Loader, pipeline: MultiCrop, draw: int, reporter: ProgressReporter) -> Iterator[torch.Tensor]:
    count = len(loader.store)
    for batch in loader.batches(range(count), PROBE_BATCH):
        position = {"step": draw, "start": batch.start, "global_batch": count}
        yield pipeline(batch.pixels_BCHW, batch.sizes_B2, **position)[0]
        reporter.advance(len(batch.rows))
