from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dinocli.quality.bootstrap import paired_bootstrap
from dinocli.quality.crop_quadrant_retrieval import crop_quadrant_retrieval
from dinocli.quality.probe_result import ProbeResult, Scores, measure
from dinocli.quality.scores import augmentation_retrieval
from dinocli.quality.verdict import Verdict, gain, judge, summarize

Features = NDArray[np.float32]
Values = NDArray[np.float64]


def probe(count: int = 200, width: int = 32) -> tuple[Features, Features]:
    """Return random clean features, and independent noise for the augmented ones."""
    random = np.random.default_rng(0)
    clean = random.standard_normal((count, width)).astype(np.float32)
    return clean, random.standard_normal((count, width)).astype(np.float32)


def quadrants(crop: Features) -> Features:
    """Return features of quadrants that retrieve their opposites: those of the crop with a little noise each."""
    noise = np.random.default_rng(5).standard_normal((4, *crop.shape)).astype(np.float32)
    return crop + 0.5 * noise


def compared(start: Scores, end: Scores, start_N: Values, end_N: Values) -> Verdict:
    return judge(ProbeResult(0, start, start_N), ProbeResult(1, end, end_N))


def verdict(clean: Features, augmented: Features, end_clean: Features, end_augmented: Features) -> Verdict:
    start, start_N = measure(clean, augmented, quadrants(clean), clean)
    end, end_N = measure(end_clean, end_augmented, quadrants(clean), clean)
    return compared(start, end, start_N, end_N)


def test_measure_fills_every_score() -> None:
    clean, noise = probe()
    crop = clean + 2 * noise
    scores, values = measure(clean, crop, quadrants(clean), clean + noise)
    assert scores.finite
    np.testing.assert_allclose(values, crop_quadrant_retrieval(clean, crop, quadrants(clean)))
    assert scores.retrieval_mrr == pytest.approx(augmentation_retrieval(clean, crop).reciprocal_rank_N.mean())
    assert 0 < scores.retrieval_top1 < scores.retrieval_mrr < 1
    assert 0.5 < scores.feature_std <= 1
    assert 20 < scores.rankme < 32
    assert 0 < scores.alpha_req < 1
    assert 0.1 < scores.cka_to_start < 0.9
    assert len(values) == 200


def test_the_start_has_similarity_one_to_itself() -> None:
    clean, noise = probe()
    assert measure(clean, noise, quadrants(clean), clean)[0].cka_to_start == pytest.approx(1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_non_finite_features_give_a_verdict(bad: float, which: int) -> None:
    clean, noise = probe()
    broken = [clean.copy(), noise.copy(), quadrants(clean)]
    broken[which][..., 3, 4] = bad
    scores, values = measure(broken[0], broken[1], broken[2], clean)
    assert not scores.finite
    assert all(np.isnan(getattr(scores, field.name)) for field in fields(scores) if field.name != "finite")
    assert np.isnan(values).all()
    found = compared(measure(clean, noise, quadrants(clean), clean)[0], scores, values, values)
    assert (found.outcome, found.keep, found.summary) == ("worse", "start", "")
    assert "not finite" in found.reason


def test_judge_calls_a_significant_increase_better_and_gives_the_numbers() -> None:
    clean, noise = probe()
    found = verdict(clean, clean + 3 * noise, clean, clean + 2 * noise)
    assert (found.outcome, found.keep) == ("better", "adapted")
    (start, start_N), (end, end_N) = (
        measure(clean, clean + factor * noise, quadrants(clean), clean) for factor in (3, 2)
    )
    change = paired_bootstrap(start_N, end_N)
    assert found.reason.startswith(
        f"Significant increase in crop/quadrant retrieval (delta {change.mean:+.2g}, 95 % CI {change.low:+.2g} to "
        f"{change.high:+.2g}); mean log reciprocal rank from {start_N.mean():.3f} to {end_N.mean():.3f}"
    )
    percent = [round(100 * scores.retrieval_top1) for scores in (start, end)]
    assert found.summary == f"A crop finds its image in {percent[1]} % of cases instead of {percent[0]} %."


def test_judge_calls_a_significant_decrease_worse() -> None:
    clean, noise = probe()
    found = verdict(clean, clean + 2 * noise, clean, clean + 3 * noise)
    assert (found.outcome, found.keep) == ("worse", "start")
    assert found.reason.startswith("Significant decrease in crop/quadrant retrieval (delta -")


def test_no_change_keeps_the_start() -> None:
    clean, noise = probe()
    found = verdict(clean, clean + 2 * noise, clean, clean + 2 * noise)
    assert (found.outcome, found.keep) == ("no different", "start")
    assert found.reason.startswith("No significant change in crop/quadrant retrieval (delta +0, 95 % CI +0 to +0)")
    assert found.summary.endswith("of cases, as before.")


def test_other_noise_of_the_same_strength_is_no_difference() -> None:
    clean, noise = probe()
    other = np.random.default_rng(7).standard_normal(noise.shape).astype(np.float32)
    assert verdict(clean, clean + 2 * noise, clean, clean + 2 * other).outcome == "no different"


SOUND = Scores(0.8, 100.0, 1.0, 0.5, 0.6, 0.9, finite=True)
LOW, HIGH = np.linspace(0.1, 0.4, 50), np.linspace(0.5, 0.9, 50)


@pytest.mark.parametrize(("score", "name"), [("feature_std", "Feature std"), ("rankme", "RankMe")])
def test_a_collapse_beats_better_retrieval(score: str, name: str) -> None:
    before = getattr(SOUND, score)
    assert compared(SOUND, replace(SOUND, **{score: 0.51 * before}), LOW, HIGH).outcome == "better"
    found = compared(SOUND, replace(SOUND, **{score: 0.49 * before}), LOW, HIGH)
    assert (found.outcome, found.keep) == ("worse", "start")
    assert name in found.reason
    assert "49%" in found.reason


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_within_chance_is_none(sign: int) -> None:
    change = sign * (0.01 + 0.1 * (-1.0) ** np.arange(50))  # mean 0.01, its standard error 0.014
    assert compared(SOUND, SOUND, LOW, LOW + change).outcome == "no different"
    assert compared(SOUND, SOUND, LOW, LOW + change + 0.05 * sign).outcome == ("better" if sign > 0 else "worse")


def test_five_images_are_inconclusive() -> None:
    few = compared(SOUND, SOUND, LOW[:5], HIGH[:5])
    assert (few.outcome, few.keep) == ("no different", "start")
    assert few.reason.startswith("5 probe images")
    assert compared(SOUND, SOUND, LOW[:6], HIGH[:6]).outcome == "better"


@pytest.mark.parametrize(("change", "said"), [(-0.03, True), (-0.005, False), (0.03, False), (np.nan, False)])
def test_a_loss_with_the_default_feature_of_embed_is_said(change: float, *, said: bool) -> None:
    noticed = 0.8 + np.random.default_rng(1).normal(0, 0.05, len(LOW))
    start = ProbeResult(0, SOUND, LOW, rare_defects_N=noticed)
    found = judge(start, ProbeResult(1, SOUND, HIGH, rare_defects_N=noticed + change))
    assert (found.outcome, found.keep) == ("better", "adapted")
    assert (found.caution in found.sentences) == bool(found.caution) == said
    if said:
        assert "delta -0.03" in found.caution


def test_every_reason_is_one_line() -> None:
    cases = [(SOUND, LOW, HIGH), (SOUND, HIGH, LOW), (SOUND, LOW, LOW), (replace(SOUND, rankme=1.0), LOW, HIGH)]
    reasons = [compared(SOUND, end, start_rr, end_rr).reason for end, start_rr, end_rr in cases]
    assert len(set(reasons)) == len(cases)
    assert all("\n" not in reason and reason.endswith(".") for reason in reasons)


def test_gains_add_up_to_the_whole_change() -> None:
    first, second, third = (ProbeResult(0, SOUND, LOW + change) for change in (0, 0.3, 0.31))
    parts = (gain("batch-norm statistics", first, second), gain("training", second, third))
    assert [one.change.mean for one in parts] == pytest.approx([0.3, 0.01])
    found = Verdict("better", "adapted", "", gains=parts)
    assert found.parts == (
        "By part: batch-norm statistics delta +0.3, 95 % CI +0.3 to +0.3; training delta +0.01, 95 % CI +0.01 to +0.01."
    )
    noise = gain("training", first, ProbeResult(0, SOUND, LOW + np.resize([0.01, -0.01], len(LOW))))
    assert str(noise).endswith(" (not significant)")
    assert Verdict("better", "adapted", "", gains=parts[:1]).parts == "", "one part is the whole change"


def test_the_summary_counts_crops_that_find_their_image() -> None:
    assert summarize(replace(SOUND, retrieval_top1=0.47), replace(SOUND, retrieval_top1=0.55)) == (
        "A crop finds its image in 55 % of cases instead of 47 %."
    )
    assert summarize(SOUND, SOUND) == "A crop finds its image in 50 % of cases, as before."
