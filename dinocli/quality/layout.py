"""Two-dimensional projection of features for the map: PCA, t-SNE or UMAP.

Shapes: N images, D width.
"""

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import UsageError, WeightsError
from dinocli.quality.normalized_features import NormalizedFeatures
from dinocli.quality.whitening import fit_projection

Layout = Literal["pca", "tsne", "umap"]

TSNE_ROWS = 20_000
"""Maximum number of images for t-SNE."""
_PCA_WIDTH = 50  # input width of t-SNE and UMAP: PCA removes noise, the usual first step
_PERPLEXITY, _NEIGHBOURS = 30, 15


class MapCoordinates(NamedTuple):
    """Coordinates of images on the map.

    Args:
        place_N2: x and y of every image, arbitrary units.
        method: Method and parameters, for people.
    """

    place_N2: NDArray[np.float32]
    method: str


def place(rows: NormalizedFeatures, layout: Layout, *, seed: int = 0) -> MapCoordinates:
    """Project features to two dimensions.

    Args:
        rows: Features of the images, without a projection.
        layout: `pca` shows the two directions of largest variance in seconds for a million images; points far apart on
            the map are far apart in features. `tsne` and `umap` separate clusters better, but distances between
            clusters are not meaningful; `umap` takes more images.
        seed: Seed of the PCA sample, t-SNE and UMAP.

    Raises:
        UsageError: More than `TSNE_ROWS` images for t-SNE.
        WeightsError: umap-learn is not installed.

    Source: van der Maaten and Hinton 2008 (t-SNE); McInnes et al. 2018 (UMAP).
    """
    if layout == "pca" or len(rows) < 4:
        return _pca(rows, seed)
    if layout == "tsne" and len(rows) > TSNE_ROWS:
        raise UsageError(f"--map tsne takes at most {TSNE_ROWS:,} images, not {len(rows):,}; use pca or umap")
    projected_NP = _projected(rows, _PCA_WIDTH, seed)
    if projected_NP.shape[1] < 2:  # copies of one or two images vary in one direction only
        return _pca(rows, seed)
    of = f"of {projected_NP.shape[1]} PCA directions, seed {seed}"
    if layout == "umap":
        neighbours = min(_NEIGHBOURS, len(rows) - 1)
        return MapCoordinates(_umap(projected_NP, neighbours, seed), f"UMAP: {neighbours} neighbours, {of}")
    from sklearn.manifold import TSNE  # loads for a second, and options are checked before

    perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return MapCoordinates(
        np.asarray(tsne.fit_transform(projected_NP), np.float32), f"t-SNE: perplexity {perplexity:.3g}, {of}"
    )


def check_layout(layout: Layout) -> None:
    """Raise `WeightsError` if the layout needs umap-learn and it is not installed."""
    if layout == "umap":
        try:
            _umap_class()
        except ImportError:
            raise WeightsError("--map umap needs umap-learn: pip install 'dinocli[umap]'") from None


def _umap(rows_NP: NDArray[np.float32], neighbours: int, seed: int) -> NDArray[np.float32]:
    check_layout("umap")
    umap = _umap_class()(n_neighbors=neighbours, random_state=seed, n_jobs=1)
    return np.asarray(umap.fit_transform(rows_NP), np.float32)


def _umap_class() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # about TensorFlow, which only parametric UMAP needs
        from umap import UMAP
    return UMAP


def _projected(rows: NormalizedFeatures, width: int, seed: int) -> NDArray[np.float32]:
    projection = fit_projection(rows, width, seed=seed)
    return np.concatenate(list(rows.map(lambda part, rows_RD: projection(rows_RD))))


def _pca(rows: NormalizedFeatures, seed: int) -> MapCoordinates:
    """Project to the two leading principal directions; if the images vary in one only, the second coordinate is 0."""
    projection = fit_projection(rows, 2, seed=seed)
    parts = list(rows.map(lambda _, rows_RD: (projection(rows_RD), np.square(rows_RD - projection.mean_D).sum())))
    places = np.concatenate([places for places, _ in parts])
    whole = sum(float(energy) for _, energy in parts)
    share = float(np.square(places).sum()) / whole if whole > 0 else 1.0
    padded = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    return MapCoordinates(padded, f"PCA: the two directions of largest variance, {share:.0%} of it")
