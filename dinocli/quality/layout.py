"""Two-dimensional projections of features for the map: PCA, t-SNE, UMAP.

Shapes: N images, D width.
"""

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from dinocli.errors import UsageError, WeightsError
from dinocli.quality.normalized_features import NormalizedFeatures, fit_projection

Layout = Literal["pca", "tsne", "umap"]

TSNE_ROWS = 20_000
_WIDTH = 50  # what t-SNE and UMAP are given: the usual first step, which takes noise away
_PERPLEXITY, _NEIGHBOURS = 30, 15


class Placed(NamedTuple):
    """A map.

    Args:
        place_N2: x and y of every image; the units mean nothing.
        method: How they were found, with parameters, in words.
    """

    place_N2: NDArray[np.float32]
    method: str


def place(rows: NormalizedFeatures, layout: Layout, *, seed: int = 0) -> Placed:
    """Return x and y of every image.

    Args:
        rows: Of the images, without a projection.
        layout: `pca` shows the two directions of largest variance, takes seconds for a million images, and what is far
            apart there is far apart. `tsne` shows groups better and lies about distances between them; `umap` too,
            for more images.
        seed: Of t-SNE and UMAP.

    Raises:
        UsageError: Too many images for t-SNE.
        WeightsError: umap-learn is not installed.

    Source: van der Maaten and Hinton 2008 (t-SNE); McInnes et al. 2018 (UMAP).
    """
    if layout == "pca" or len(rows) < 4:
        return _pca(rows, seed)
    if layout == "tsne" and len(rows) > TSNE_ROWS:
        raise UsageError(f"--map tsne takes at most {TSNE_ROWS:,} images, not {len(rows):,}; use pca or umap")
    projected_NP = _projected(rows, _WIDTH, seed)
    if projected_NP.shape[1] < 2:  # copies of one or two images: a line shows all that there is
        return _pca(rows, seed)
    of = f"of {projected_NP.shape[1]} PCA directions, seed {seed}"
    if layout == "umap":
        neighbours = min(_NEIGHBOURS, len(rows) - 1)
        return Placed(_umap(projected_NP, neighbours, seed), f"UMAP: {neighbours} neighbours, {of}")
    perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return Placed(np.asarray(tsne.fit_transform(projected_NP), np.float32), f"t-SNE: perplexity {perplexity:.3g}, {of}")


def check_layout(layout: Layout) -> None:
    """Raise the error about umap-learn before any work is done."""
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
        warnings.simplefilter("ignore", ImportWarning)  # it misses TensorFlow, for something else
        from umap import UMAP
    return UMAP


def _projected(rows: NormalizedFeatures, width: int, seed: int) -> NDArray[np.float32]:
    projection = fit_projection(rows, width, seed=seed)
    return np.concatenate(list(rows.map(lambda part, rows_RD: projection(rows_RD))))


def _pca(rows: NormalizedFeatures, seed: int) -> Placed:
    """Project to two directions; images that differ in one direction alone get a second coordinate, 0."""
    projection = fit_projection(rows, 2, seed=seed)
    parts = list(rows.map(lambda _, rows_RD: (projection(rows_RD), np.square(rows_RD - projection.mean_D).sum())))
    places = np.concatenate([places for places, _ in parts])
    whole = sum(float(energy) for _, energy in parts)
    share = float(np.square(places).sum()) / whole if whole > 0 else 1.0
    padded = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    return Placed(padded, f"PCA: the two directions of largest variance, {share:.0%} of it")
