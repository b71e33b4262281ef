"""Estimate the number of images without near-duplicates: frames of a video add little to training."""

import numpy as np
import torch

from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.data.store import Store
from dinocli.engine.probe import PROBE_BATCH, whole_features
from dinocli.models.backbone import Backbone
from dinocli.progress import ProgressReporter
from dinocli.quality.duplicates import SAME_COSINE, count_distinct

SAMPLE, RUN = 512, 32


def count_distinct_images(
    store: Store, backbone: Backbone, preprocess: Preprocess, device: torch.device, reporter: ProgressReporter
) -> int:
    """Estimate the number of distinct images from the features of the start weights.

    A large folder is sampled in runs of consecutive images, among which the frames of a recording are. Copies in
    different runs are not detected, so the estimate is an upper bound.

    Returns:
        1 to the number of images.
    """
    indices = stretches(len(store))
    loader = Loader(store, batch_size=PROBE_BATCH, seed=0, device=device)
    reporter.stage("counting distinct images", len(indices))
    features_ND, rows = whole_features(loader, backbone, indices, preprocess, reporter.advance)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    share = count_distinct(features_ND[shuffled], SAME_COSINE) / len(rows) if rows else 1.0
    return max(1, round(share * len(store)))


def stretches(images: int) -> list[int]:
    """Return the indices of the sample: all images of a small folder, evenly spaced runs of a large one."""
    if images <= SAMPLE:
        return list(range(images))
    starts = np.linspace(0, images - RUN, SAMPLE // RUN).round().astype(int)
    return sorted({index for start in starts.tolist() for index in range(start, start + RUN)})
