import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.bootstrap import finite_mean
from dinocli.quality.defect_few_shot import defect_few_shot

Features = NDArray[np.float32]


def features(strength: float, count: int = 80, width: int = 16) -> tuple[Features, Features, NDArray[np.intp]]:
    """Return features with a common direction, and the same with noise and the direction of one of two defects."""
    random = np.random.default_rng(0)
    clean = (random.standard_normal((count, width)) + 8 * np.eye(1, width, 5)).astype(np.float32)
    kind = np.arange(count) % 2
    noise = random.standard_normal((count, width))
    return clean, (clean + strength * 4 * np.eye(2, width)[kind] + 0.3 * noise).astype(np.float32), kind


def test_a_strong_defect_is_found_and_without_one_accuracy_is_chance() -> None:
    assert finite_mean(defect_few_shot(*features(3.0))) > 0.95
    assert finite_mean(defect_few_shot(*features(0.0))) == pytest.approx(0.5, abs=0.05)
    middle = finite_mean(defect_few_shot(*features(0.5)))
    assert 0.6 < middle < 0.95


def test_each_kind_is_learnt_by_itself() -> None:
    """Two kinds with opposite directions cancel in a common mean, but not in one mean per kind."""
    clean, flawed, kind = features(0.0)
    flawed[:, 0] += np.where(kind, 12, -12)
    assert finite_mean(defect_few_shot(clean, flawed, kind)) > 0.95


def test_there_is_a_value_for_each_image_and_none_for_a_kind_of_one() -> None:
    clean, flawed, kind = features(1.0, count=41)
    kind[7] = 9
    share = defect_few_shot(clean, flawed, kind)
    assert share.shape == (41,)
    assert np.flatnonzero(np.isnan(share)).tolist() == [7]
    assert ((share[np.isfinite(share)] > -0.5) & (share[np.isfinite(share)] < 1.5)).all()
    assert np.isnan(finite_mean(np.full(3, np.nan)))


def test_the_mean_is_the_share_of_right_answers() -> None:
    """Compute the result by a loop over examples, each kind separately."""
    clean, flawed, kind = features(0.6, count=32)
    random, right = np.random.default_rng(1), []
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (clean, flawed)]
    for _ in range(1000):
        rows = np.flatnonzero(kind == random.integers(2))
        sound, ill = random.permutation(rows)[:5], random.permutation(rows)[:5]
        means = [side[drawn].mean(axis=0) for side, drawn in zip(units, (sound, ill), strict=True)]
        side = means[1] / np.linalg.norm(means[1]) - means[0] / np.linalg.norm(means[0])
        test = np.setdiff1d(rows, [*sound, *ill])
        right.append(((units[0][test] @ side <= 0).mean() + (units[1][test] @ side > 0).mean()) / 2)
    assert finite_mean(defect_few_shot(clean, flawed, kind)) == pytest.approx(np.mean(right), abs=0.01)


def test_the_spread_of_the_values_is_that_of_other_images() -> None:
    """The standard error from one folder is the standard deviation of the scores of 60 folders of other images."""
    random, scores, errors = np.random.default_rng(2), [], []
    for _ in range(60):
        clean = random.standard_normal((30, 8)) + 4 * np.eye(1, 8, 5)
        flawed = clean + 1.5 * np.eye(1, 8, 0) + 0.3 * random.standard_normal((30, 8))
        values = defect_few_shot(clean, flawed, np.zeros(30, int))
        scores.append(values.mean())
        errors.append(values.std() / np.sqrt(30))
    assert 0.75 < np.mean(errors) / np.std(scores) < 1.35
