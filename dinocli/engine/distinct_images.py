"""Number of distinct images of a folder, near-copies counted once: frames of a video teach no more than a few."""

import numpy as np
import torch

from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.data.store import Store
from dinocli.engine.probe import PROBE_BATCH, whole_features
from dinocli.models.backbone import Backbone
from dinocli.progress import ProgressReporter
from dinocli.quality import duplicates

SAMPLE, RUN = 512, 32


def count_distinct(
    store: Store, backbone: Backbone, preprocess: Preprocess, device: torch.device, reporter: ProgressReporter
) -> int:
    """Estimate the number of different images from the features of the start.

    A large folder is sampled: stretches of neighbours in the folder's order, because that is where the
    frames of one recording lie. Copies further apart than a stretch go unseen, so the estimate is rather too high.

    Returns:
        1 to the number of images.
    """
    indices = stretches(len(store))
    loader = Loader(store, batch_size=PROBE_BATCH, seed=0, device=device)
    reporter.stage("counting distinct images", len(indices))
    features_ND, rows = whole_features(loader, backbone, indices, preprocess, reporter.advance)
    in_any_order = np.random.default_rng(0).permutation(len(rows))
    share = duplicates.count_distinct(features_ND[in_any_order], duplicates.SAME_COSINE) / len(rows) if rows else 1.0
    return max(1, round(share * len(store)))


def stretches(images: int) -> list[int]:
    """Choose all images of a small folder, and of a large one evenly spread stretches of neighbours."""
    if images <= SAMPLE:
        return list(range(images))
    starts = np.linspace(0, images - RUN, SAMPLE // RUN).round().astype(int)
    return sorted({index for start in starts.tolist() for index in range(start, start + RUN)})
