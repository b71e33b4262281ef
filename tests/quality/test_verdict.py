from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.selection_scores import CHOICES
from dinocli.quality.verdict import Scores, Verdict, judge, measure

MRR = CHOICES["retrieval_mrr"]
Features = NDArray[np.float32]


def probe(count: int = 200, width: int = 32) -> tuple[Features, Features]:
    """A network that is right about half of the time: the clean features, and noise for the augmented ones."""
    random = np.random.default_rng(0)
    clean = random.standard_normal((count, width)).astype(np.float32)
    return clean, random.standard_normal((count, width)).astype(np.float32)


def verdict(clean: Features, augmented: Features, end_clean: Features, end_augmented: Features) -> Verdict:
    start, start_rr = measure(clean, augmented[None], clean, MRR)
    end, end_rr = measure(end_clean, end_augmented[None], clean, MRR)
    return judge(start, end, start_rr, end_rr, MRR)


def test_measure_fills_every_score() -> None:
    clean, noise = probe()
    scores, rr = measure(clean, (clean + 2 * noise)[None], clean + noise, MRR)
    assert scores.finite
    assert scores.retrieval_mrr == pytest.approx(rr.mean())
    assert 0 < scores.retrieval_top1 < scores.retrieval_mrr < 1
    assert 0.5 < scores.feature_std <= 1
    assert 20 < scores.rankme < 32
    assert 0 < scores.alpha_req < 1
    assert 0.1 < scores.cka_to_start < 0.9
    assert len(rr) == 200


def test_the_start_is_like_itself() -> None:
    clean, noise = probe()
    assert measure(clean, noise[None], clean, MRR)[0].cka_to_start == pytest.approx(1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_not_finite_is_a_result(bad: float, which: int) -> None:
    clean, noise = probe()
    broken = [clean.copy(), noise.copy()]
    broken[which][3, 4] = bad
    scores, rr = measure(broken[0], broken[1][None], clean, MRR)
    assert not scores.finite
    assert all(np.isnan(getattr(scores, field.name)) for field in fields(scores) if field.name != "finite")
    assert np.isnan(rr).all()
    found = verdict(clean, noise, broken[0], broken[1])
    assert (found.outcome, found.keep) == ("worse", "start")
    assert "not finite" in found.reason


def test_better() -> None:
    clean, noise = probe()
    found = verdict(clean, clean + 3 * noise, clean, clean + 2 * noise)
    assert (found.outcome, found.keep) == ("better", "adapted")
    start, end = (measure(clean, (clean + factor * noise)[None], clean, MRR)[0].retrieval_mrr for factor in (3, 2))
    assert f"from {start:.3f} to {end:.3f}" in found.reason


def test_worse() -> None:
    clean, noise = probe()
    found = verdict(clean, clean + 2 * noise, clean, clean + 3 * noise)
    assert (found.outcome, found.keep) == ("worse", "start")
    assert "less often" in found.reason


def test_no_change_keeps_the_start() -> None:
    clean, noise = probe()
    found = verdict(clean, clean + 2 * noise, clean, clean + 2 * noise)
    assert (found.outcome, found.keep) == ("no different", "start")


def test_other_noise_of_the_same_strength_is_no_difference() -> None:
    clean, noise = probe()
    other = np.random.default_rng(7).standard_normal(noise.shape).astype(np.float32)
    assert verdict(clean, clean + 2 * noise, clean, clean + 2 * other).outcome == "no different"


SOUND = Scores(0.8, 100.0, 1.0, 0.5, 0.6, 0.9, finite=True)
LOW, HIGH = np.linspace(0.1, 0.4, 50), np.linspace(0.5, 0.9, 50)


@pytest.mark.parametrize(("score", "name"), [("feature_std", "feature std"), ("rankme", "RankMe")])
def test_a_collapse_beats_better_retrieval(score: str, name: str) -> None:
    before = getattr(SOUND, score)
    assert judge(SOUND, replace(SOUND, **{score: 0.51 * before}), LOW, HIGH, MRR).outcome == "better"
    found = judge(SOUND, replace(SOUND, **{score: 0.49 * before}), LOW, HIGH, MRR)
    assert (found.outcome, found.keep) == ("worse", "start")
    assert name in found.reason
    assert "49%" in found.reason


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_within_luck_is_none(sign: int) -> None:
    change = sign * (0.01 + 0.1 * (-1.0) ** np.arange(50))  # mean 0.01, its standard error 0.014
    assert judge(SOUND, SOUND, LOW, LOW + change, MRR).outcome == "no different"
    assert judge(SOUND, SOUND, LOW, LOW + change + 0.05 * sign, MRR).outcome == ("better" if sign > 0 else "worse")


def test_five_images_prove_nothing() -> None:
    few = judge(SOUND, SOUND, LOW[:5], HIGH[:5], MRR)
    assert (few.outcome, few.keep) == ("no different", "start")
    assert few.reason.startswith("5 probe images")
    assert judge(SOUND, SOUND, LOW[:6], HIGH[:6], MRR).outcome == "better"


def test_every_reason_is_one_line() -> None:
    cases = [(SOUND, LOW, HIGH), (SOUND, HIGH, LOW), (SOUND, LOW, LOW), (replace(SOUND, rankme=1.0), LOW, HIGH)]
    reasons = [judge(SOUND, end, start_rr, end_rr, MRR).reason for end, start_rr, end_rr in cases]
    assert len(set(reasons)) == len(cases)
    assert all("\n" not in reason and reason.endswith(".") for reason in reasons)
