"""Choose the number of clusters, or report that there are no clear clusters.

k-means partitions any set of points, and partitions of an elongated cloud are even reproducible. So each k is
compared with a *structureless* reference, a Gaussian cloud with the mean and covariance of the data. Two criteria:

- stability: two halves of the images, clustered separately, assign all images alike (adjusted Rand index).
- silhouette: images are nearer to their own cluster than to the next one, compared with the cloud.

Selected is the k with the largest stability x (silhouette - silhouette of the cloud). Its clusters are called clear if
the stability is at least 0.6 and exceeds the cloud by 0.1 in silhouette or by 0.4 in stability.

Shapes: N sampled images, P principal directions, K clusters.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from dinocli.quality.kmeans import nearest, unit_kmeans
from dinocli.quality.normalized_features import NormalizedFeatures, single_threaded

K_CANDIDATES = (*range(2, 11), 12, 15, 20, 25, 30)
MIN_STABILITY, MIN_SILHOUETTE_GAIN, MIN_STABILITY_GAIN = 0.6, 0.1, 0.4
"""Thresholds for clear clusters; the gains are relative to the structureless cloud."""

_MAX_ROWS, _DIRECTIONS = 2000, 50
_MIN_IMAGES_PER_CLUSTER = 4
_MIN_DISTANCE = 1e-5  # cosine distances of equal images are rounding below it
_SPLITS, _STARTS, _HALF_STARTS, _PASSES = 4, 3, 2, 30


@dataclass(frozen=True)
class KScore:
    """Criteria for one number of clusters.

    Args:
        k: Number of clusters.
        stability: Mean adjusted Rand index between the clusterings of two halves, about 0 to 1.
        silhouette: Mean silhouette with cosine distance, -1 to 1.
        cloud_stability: Stability of the structureless cloud.
        cloud_silhouette: Silhouette of the structureless cloud.
    """

    k: int
    stability: float
    silhouette: float
    cloud_stability: float
    cloud_silhouette: float

    @property
    def score(self) -> float:
        return self.stability * (self.silhouette - self.cloud_silhouette)

    @property
    def clear(self) -> bool:
        silhouette_gain, stability_gain = self.silhouette - self.cloud_silhouette, self.stability - self.cloud_stability
        return self.stability >= MIN_STABILITY and (
            silhouette_gain >= MIN_SILHOUETTE_GAIN or (silhouette_gain > 0 and stability_gain >= MIN_STABILITY_GAIN)
        )


@dataclass(frozen=True)
class KChoice:
    """The chosen number of clusters.

    Args:
        k: Best of `K_CANDIDATES`; 1 with too few or equal images.
        clear: Whether the data have clear clusters.
        reason: One sentence with the numbers.
        curve: Criteria of each candidate; empty if k is 1.
    """

    k: int
    clear: bool
    reason: str
    curve: list[KScore]


class _Points(NamedTuple):
    """Rows of length 1 and their cosine distances."""

    rows_NP: NDArray[np.float32]
    distance_NN: NDArray[np.float32]


def choose_k(rows: NormalizedFeatures, *, seed: int = 0) -> KChoice:
    """Choose the number of clusters, from at most 2,000 images in their 50 leading principal directions.

    Args:
        rows: Features of the images.
        seed: Seed of the sample, the halves and the cloud.
    """
    tried = [k for k in K_CANDIDATES if k * _MIN_IMAGES_PER_CLUSTER <= len(rows)]
    if not tried:
        return KChoice(1, False, f"too few images to look for groups: {len(rows)}", [])
    data, cloud = _data_and_cloud(rows, seed)
    if data.distance_NN.max() < _MIN_DISTANCE or not data.rows_NP.any():  # rows of zeros have no direction
        return KChoice(1, False, "all images have the same features, so there is one group", [])
    with single_threaded(), ThreadPoolExecutor(rows.threads) as pool:
        curve = list(pool.map(lambda k: _score(k, data, cloud, seed), tried))
    best = max(curve, key=lambda candidate: candidate.score)
    return KChoice(best.k, best.clear, _reason(best, tried), curve)


def silhouette(distance_NN: NDArray[np.floating], label_N: NDArray[np.intp], k: int) -> float:
    """Return the mean silhouette coefficient; an image alone in its cluster counts 0.

    Args:
        distance_NN: Pairwise distances.
        label_N: Cluster of each image, 0 to k - 1.
        k: Number of clusters.

    Source: Rousseeuw 1987.
    """
    member_NK = np.eye(k, dtype=distance_NN.dtype)[label_N]
    size_K = member_NK.sum(axis=0)
    total_NK = distance_NN @ member_NK
    image_N = np.arange(len(label_N))
    own_N = total_NK[image_N, label_N] / np.maximum(size_K[label_N] - 1, 1)
    mean_NK = np.where(size_K > 0, total_NK / np.maximum(size_K, 1), np.inf)
    mean_NK[image_N, label_N] = np.inf
    other_N = mean_NK.min(axis=1)
    larger_N = np.maximum(own_N, other_N)
    defined_N = (size_K[label_N] > 1) & np.isfinite(larger_N) & (larger_N > 0)
    return float(np.where(defined_N, (other_N - own_N) / np.where(defined_N, larger_N, 1), 0).mean())


def _data_and_cloud(rows: NormalizedFeatures, seed: int) -> tuple[_Points, _Points]:
    sample_ND = rows.take(rows.sample(_MAX_ROWS, seed)).astype(np.float64)
    _, _, axes_PD = np.linalg.svd(sample_ND, full_matrices=False)
    rows_NP = sample_ND @ axes_PD[:_DIRECTIONS].T  # not centred: keeps the angles between images
    values_P, axes_PP = np.linalg.eigh(np.atleast_2d(np.cov(rows_NP.T)))
    noise_NP = np.random.default_rng(seed).normal(size=rows_NP.shape) * np.sqrt(np.maximum(values_P, 0))
    return _points(rows_NP), _points(rows_NP.mean(axis=0) + noise_NP @ axes_PP.T)


def _points(rows_NP: NDArray[np.float64]) -> _Points:
    units_NP = NormalizedFeatures(rows_NP).take(slice(None))
    return _Points(units_NP, np.maximum(1 - units_NP @ units_NP.T, 0))


def _score(k: int, data: _Points, cloud: _Points, seed: int) -> KScore:
    scores = [(_stability(points, k, seed), _silhouette(points, k, seed)) for points in (data, cloud)]
    return KScore(k, *scores[0], *scores[1])


def _silhouette(points: _Points, k: int, seed: int) -> float:
    centres_KP = _fit(points.rows_NP, k, seed=seed, starts=_STARTS)
    return silhouette(points.distance_NN, nearest(points.rows_NP, centres_KP), k)


def _stability(points: _Points, k: int, seed: int) -> float:
    return float(np.mean([_agreement(points.rows_NP, k, halves) for halves in _halves(len(points.rows_NP), seed)]))


def _halves(count: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    rng = np.random.default_rng(seed)
    for _ in range(_SPLITS):
        order = rng.permutation(count)
        yield order[: count // 2], order[count // 2 :]


def _agreement(rows_NP: NDArray[np.float32], k: int, halves: Sequence[NDArray[np.intp]]) -> float:
    """Return the adjusted Rand index of two clusterings of all rows, each fitted to one half."""
    labels = [
        nearest(rows_NP, _fit(rows_NP[half], k, seed=side, starts=_HALF_STARTS)) for side, half in enumerate(halves)
    ]
    return float(adjusted_rand_score(*labels))


def _fit(rows_NP: NDArray[np.float32], k: int, *, seed: int, starts: int) -> NDArray[np.float32]:
    return unit_kmeans(NormalizedFeatures(rows_NP), k, seed=seed, starts=starts, passes=_PASSES, breath=0).centres_KD


def _reason(best: KScore, tried: Sequence[int]) -> str:
    numbers = (
        f"stability {best.stability:.2f} (structureless points: {best.cloud_stability:.2f}), "
        f"silhouette {best.silhouette:.2f} ({best.cloud_silhouette:.2f})"
    )
    if not best.clear:
        return f"no clear groups; k = {best.k} cuts them best: {numbers}"
    more = "; it is the largest k that was tried, so try more with -k" if best.k == tried[-1] and len(tried) > 1 else ""
    return f"k = {best.k} of {tried[0]} to {tried[-1]}: {numbers}{more}"
