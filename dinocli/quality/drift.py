"""Drift of a new batch: two two-sample tests on features with permutation p-values.

Shapes: N images of both batches, D width, P directions, Q permutations.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.quality.cosine import unit_rows

LEVEL = 0.05
"""Significance level of the smaller p-value, doubled because there are two tests (Bonferroni)."""

_MAX_ROWS, _DIRECTIONS, _PERMUTATIONS, _RIDGE = 1000, 32, 999, 1.0


@dataclass(frozen=True)
class Drift:
    """Results of both tests.

    Args:
        accuracy: Balanced leave-one-out accuracy of a classifier between the two batches; 0.5 is chance.
        accuracy_p: p-value of the accuracy.
        mmd: Squared maximum mean discrepancy; 0 for equal distributions.
        mmd_p: p-value of the MMD.
        compared: Number of compared images of the old and of the new batch.
        score_M: Classifier score of each image of the new batch; larger is less like the old batch.
    """

    accuracy: float
    accuracy_p: float
    mmd: float
    mmd_p: float
    compared: tuple[int, int]
    score_M: NDArray[np.float64]

    @property
    def p(self) -> float:
        """Bonferroni-corrected p-value of both tests."""
        return min(1.0, 2 * min(self.accuracy_p, self.mmd_p))

    @property
    def differs(self) -> bool:
        return self.p < LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data without the scores of single images."""
        tests = {"accuracy": self.accuracy, "accuracy_p": self.accuracy_p, "mmd": self.mmd, "mmd_p": self.mmd_p}
        return tests | {"p": self.p, "differs": self.differs, "compared": list(self.compared)}


def drift(
    old_ND: NDArray[np.floating], new_MD: NDArray[np.floating], *, directions_only: bool = True, seed: int = 0
) -> Drift:
    """Compare two batches in their 32 leading principal directions, whitened.

    Args:
        old_ND: Finite features of the old batch, at least 2 rows.
        new_MD: Finite features of the new batch by the same weights, at least 2 rows.
        directions_only: L2-normalise the rows first.
        seed: Seed of the samples (1,000 images a batch) and of the permutations.

    Sources: Lopez-Paz and Oquab 2017 (classifier two-sample test; here ridge regression, whose leave-one-out
    predictions are linear in the labels, so that a permutation needs no refit); Gretton et al. 2012 (MMD, Gaussian
    kernel of the median distance).
    """
    random = np.random.default_rng(seed)
    scaled = unit_rows if directions_only else np.asarray
    old, new = (scaled(batch[np.sort(random.permutation(len(batch))[:_MAX_ROWS])]) for batch in (old_ND, new_MD))
    both_ND = np.concatenate([old, new])
    mean_D = both_ND.mean(axis=0)
    _, length_P, axes_PD = np.linalg.svd(both_ND - mean_D, full_matrices=False)
    kept = max(1, min(_DIRECTIONS, int((length_P > 1e-6 * max(length_P[0], 1e-12)).sum()), len(both_ND) // 4))
    scale_P = np.maximum(length_P[:kept], 1e-12) / np.sqrt(len(both_ND))
    white_NP = (both_ND - mean_D) @ axes_PD[:kept].T / scale_P
    is_new_N = np.arange(len(both_ND)) >= len(old)
    labels_QN = np.stack([is_new_N, *(random.permutation(is_new_N) for _ in range(_PERMUTATIONS))])
    accuracy_Q, mmd_Q = _accuracy(white_NP, labels_QN), _mmd(white_NP, labels_QN)
    weights_P = _ridge(white_NP) @ (np.where(is_new_N, 1 / len(new), -1 / len(old)) * len(both_ND) / 2)
    score_M = (scaled(new_MD) - mean_D) @ axes_PD[:kept].T / scale_P @ weights_P
    p_values = [float((values_Q >= values_Q[0] - 1e-12).mean()) for values_Q in (accuracy_Q, mmd_Q)]
    return Drift(float(accuracy_Q[0]), p_values[0], float(mmd_Q[0]), p_values[1], (len(old), len(new)), score_M)


def _ridge(white_NP: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ridge-regression operator from labels to weights, (P, N)."""
    gram_PP = white_NP.T @ white_NP + _RIDGE * len(white_NP) / 100 * np.eye(white_NP.shape[1])
    return np.asarray(np.linalg.solve(gram_PP, white_NP.T))


def _accuracy(white_NP: NDArray[np.float64], labels_QN: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the balanced leave-one-out accuracy of each labelling, (Q,)."""
    design_NP = np.concatenate([white_NP, np.ones((len(white_NP), 1))], axis=1)
    hat_NN = design_NP @ _ridge(design_NP)
    own_N = np.diag(hat_NN)
    new_Q1 = labels_QN.sum(axis=1, keepdims=True)
    signs_QN = np.where(labels_QN, 1 / new_Q1, -1 / (labels_QN.shape[1] - new_Q1)) * labels_QN.shape[1] / 2
    predicted_QN = (signs_QN @ hat_NN - own_N * signs_QN) / (1 - own_N)
    right_QN = (predicted_QN > 0) == labels_QN
    new = (right_QN & labels_QN).sum(axis=1) / labels_QN.sum(axis=1)
    old = (right_QN & ~labels_QN).sum(axis=1) / (~labels_QN).sum(axis=1)
    return np.asarray((new + old) / 2)


def _mmd(white_NP: NDArray[np.float64], labels_QN: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the unbiased squared maximum mean discrepancy of each labelling, (Q,)."""
    squares_N = (white_NP**2).sum(axis=1)
    distance_NN = np.maximum(squares_N[:, None] + squares_N - 2 * white_NP @ white_NP.T, 0)
    kernel_NN = np.exp(-distance_NN / max(float(np.median(distance_NN)), 1e-12))
    np.fill_diagonal(kernel_NN, 0)
    new_QN = labels_QN.astype(np.float64)
    new_Q = new_QN.sum(axis=1)
    old_Q = labels_QN.shape[1] - new_Q
    towards_QN = new_QN @ kernel_NN
    inside_Q = (towards_QN * new_QN).sum(axis=1)
    across_Q = towards_QN.sum(axis=1) - inside_Q
    outside_Q = kernel_NN.sum() - inside_Q - 2 * across_Q
    return np.asarray(
        inside_Q / (new_Q * (new_Q - 1)) + outside_Q / (old_Q * (old_Q - 1)) - 2 * across_Q / (new_Q * old_Q)
    )
