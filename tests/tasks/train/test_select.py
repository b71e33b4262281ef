"""What is said at the end, from made-up probe results."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dinocli.engine import holdout_comparison
from dinocli.engine.final_verdict import final_verdict, student_kept, unusable
from dinocli.engine.loop import RunResult
from dinocli.engine.next_steps import LOST_DEFECTS, next_steps
from dinocli.engine.probe import Measured, Probe
from dinocli.progress import ProgressReporter
from dinocli.quality.probe_result import SCORE_NAMES, ProbeResult, Scores
from dinocli.quality.selection_score import CROP_QUADRANT, TEACHER_NEIGHBOURS
from dinocli.quality.verdict import DEFECT_DECREASE, Verdict
from dinocli.report.score_lines import ScoreLine, score_lines
from dinocli.report.verdict_words import KEEP, details
from dinocli.tasks.train import select as select_module
from dinocli.tasks.train.select import Trained, judged_images
from tests.engine.learners import tiny_recipe


def probed(step: int, mrr: float, *, finite: bool = True, rank: float = 20.0) -> ProbeResult:
    return ProbeResult(step, Scores(0.8, rank, 1.0, mrr, mrr, 1.0, finite), np.full(40, mrr) + np.linspace(0, 0.01, 40))


def moved(step: int, likeness: float) -> ProbeResult:
    found = probed(step, 0.5)
    return replace(found, scores=replace(found.scores, cka_to_start=likeness))


def result(*results: ProbeResult, stop_reason: str = "") -> RunResult:
    return RunResult(30, 1.0, [], list(results), stop_reason)


def best_step(*results: ProbeResult) -> int:
    best = result(*results).best
    assert best is not None
    return best.step


def test_the_best_probe_is_never_the_start_and_the_latest_of_equals() -> None:
    assert best_step(probed(0, 0.9), probed(10, 0.5), probed(20, 0.6), probed(30, 0.6)) == 30
    assert best_step(probed(0, 0.9), probed(10, 0.7), probed(20, 0.6)) == 10
    assert result(probed(0, 0.9)).best is None


def test_a_probe_that_is_not_finite_is_never_the_best() -> None:
    broken = probed(20, float("nan"), finite=False)
    for results in ((probed(0, 0.5), broken, probed(30, 0.4)), (probed(0, 0.5), probed(30, 0.4), broken)):
        assert best_step(*results) == 30
    assert result(probed(0, 0.5), broken).best is None


@pytest.mark.parametrize(
    ("mrr", "rank", "outcome", "keep"),
    [
        (0.7, 20.0, "better", "adapted"),
        (0.5, 20.0, "no different", "start"),
        (0.3, 20.0, "worse", "start"),
        (0.7, 3.0, "worse", "start"),
    ],
)
def test_the_verdict_compares_two_probe_results(mrr: float, rank: float, outcome: str, keep: str) -> None:
    verdict = final_verdict(result(), probed(0, 0.5), None, probed(30, mrr, rank=rank))
    assert (verdict.outcome, verdict.keep) == (outcome, keep)


def test_a_stopped_run_keeps_the_start_however_good_its_best_probe() -> None:
    verdict = final_verdict(result(stop_reason="the loss went away"), probed(0, 0.5), None, probed(10, 0.9))
    assert (verdict.outcome, verdict.keep) == ("worse", "start")
    assert verdict.reason == "The guard stopped the run at step 30: the loss went away."


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (probed(30, float("nan"), finite=False), "features that are not finite"),
        (probed(30, 0.9, rank=9.0), "RankMe (number of dimensions in use) fell to 45% of the start"),
        (probed(30, 0.9, rank=11.0), "RankMe fell below half of an earlier probe, to 11.0: a collapse."),
    ],
)
def test_training_without_a_usable_probe_is_worse_whatever_its_retrieval(last: ProbeResult, words: str) -> None:
    verdict = unusable(probed(0, 0.5), last)
    assert (verdict.outcome, verdict.keep) == ("worse", "start")
    assert words in verdict.reason


def test_a_frozen_teacher_gives_the_verdict_its_words() -> None:
    verdict = final_verdict(result(), probed(0, 0.503), None, probed(30, 0.702), TEACHER_NEIGHBOURS)
    assert verdict.reason.startswith("Significant increase in nearest neighbours shared with the teacher")
    assert "mean share of ten from 0.508 to 0.707" in verdict.reason
    assert "the student has 71 %; at the start it had 51 %" in verdict.summary


def test_the_images_of_the_verdict_are_described_by_what_the_guard_knew() -> None:
    def judged(guard: list[int], verdict: list[int]) -> str:
        probes = [Probe.__new__(Probe) for _ in range(2)]
        for probe, indices in zip(probes, (guard, verdict), strict=True):
            probe.indices = indices
        return judged_images(Trained(result(), Path(), probes[0], probes[guard is not verdict], 0.0))

    assert judged([0, 1, 2], [2, 3]) == "2 images (1 also used for selection, with other crops)"
    assert judged([0, 1, 2], [3]) == "1 images that were not used for selection"
    only = [0, 1]
    assert judged(only, only) == "2 images"


def test_random_weights_are_not_kept_unless_the_student_is_worse() -> None:
    assert student_kept(SAME).keep == "adapted"
    assert student_kept(WORSE) == WORSE
    assert student_kept(BETTER) == BETTER


BETTER, SAME, WORSE = (
    Verdict("better", "adapted", "."),
    Verdict("no different", "start", "."),
    Verdict("worse", "start", "."),
)


@pytest.mark.parametrize(
    ("verdict", "distinct", "best", "likeness", "mrr", "words"),
    [
        (SAME, 500, 20, 0.999, 0.5, "hardly changed: train for longer (--steps 90), or faster (--set optim.lr=0.003)"),
        (SAME, 500, 30, 0.9, 0.5, "The last probe was the best: train for longer (--steps 90)"),
        (SAME, 500, 20, 0.5, 0.5, "changed too much: lower the learning rate (--set optim.lr=0.0003)"),
        (WORSE, 500, 20, 0.999, 0.5, "changed too much"),
        (SAME, 40, 20, 0.9, 0.5, "Distinct images: 40."),
        (SAME, 500, 20, 0.9, 0.95, "give the labels with --labels"),
        (SAME, 500, 20, 0.9, 0.5, "Look at views.png"),
    ],
)
def test_a_no_comes_with_what_to_try_next(
    verdict: Verdict, distinct: int, best: int, likeness: float, mrr: float, words: str
) -> None:
    recipe = tiny_recipe("run.steps=30")
    found = next_steps(verdict, result(probed(0, mrr)), recipe, distinct=distinct, after=moved(best, likeness))
    assert any(words in sentence for sentence in found)
    assert "views.png" in found[-1]
    assert len(found) <= 3


def test_advice_names_no_setting_that_the_run_had() -> None:
    verdict = Verdict("worse", "start", f"{DEFECT_DECREASE}.")

    def words(*settings: str) -> str:
        known = {"distinct": 500, "after": moved(20, 0.5)}
        return " ".join(next_steps(verdict, result(), tiny_recipe(*settings), **known))  # type: ignore[arg-type]

    for setting in ("model.batch_norm=frozen", "loss.feature_anchor=1", "model.trainable=last-1"):
        assert f"--set {setting}" in words()
        assert f"--set {setting}" not in words(setting)


def test_with_too_few_images_for_a_verdict_the_only_advice_is_to_collect_more() -> None:
    found = next_steps(SAME, result(probed(0, 1.0)), tiny_recipe(), distinct=1, after=moved(20, 0.0))
    assert found == ["Distinct images: 1. Collect some hundreds, or keep the original weights."]


@pytest.mark.parametrize(("mrr", "labelled", "asked"), [(0.98, False, 0), (0.995, False, 1), (0.995, True, 0)])
def test_a_better_score_of_a_solved_task_asks_for_labels(mrr: float, asked: int, *, labelled: bool) -> None:
    known = {"distinct": 500, "after": moved(20, 0.9), "labelled": labelled}
    found = next_steps(BETTER, result(probed(0, mrr)), tiny_recipe(), **known)  # type: ignore[arg-type]
    assert len(found) == asked
    assert all("--labels" in sentence for sentence in found)


def test_labels_that_were_given_are_not_asked_for() -> None:
    found_result = result(probed(0, 0.95))
    known = {"distinct": 500, "after": moved(20, 0.9)}
    asked, given = (
        " ".join(next_steps(SAME, found_result, tiny_recipe(), **known, labelled=labelled))  # type: ignore[arg-type]
        for labelled in (False, True)
    )
    assert "--labels" in asked
    assert "--labels" not in given
    assert "your labels are more reliable" in given


def test_more_training_is_asked_for_in_the_words_that_cut_it_short() -> None:
    def words(minutes: float) -> str:
        recipe = tiny_recipe("run.steps=30")
        found_result = result(probed(0, 0.5))
        return next_steps(SAME, found_result, recipe, distinct=500, after=moved(30, 0.9), minutes=minutes)[0]

    assert "(--steps 90)" in words(0)
    assert "(--minutes 6)" in words(2)


def test_a_best_probe_before_the_weights_moved_away_does_not_ask_for_more() -> None:
    """The head's warm-up leaves the backbone as it was; what came after it was worse."""
    found_result = result(probed(0, 0.5), probed(10, 0.5), moved(20, 0.8))
    found = next_steps(SAME, found_result, tiny_recipe(), distinct=500, after=moved(10, 1.0))
    assert found[0].startswith("The weights changed too much")


def test_batch_norm_that_moved_before_the_first_step_is_no_sign_of_going_too_far() -> None:
    found_result = result(probed(0, 0.5), moved(0, 0.8), probed(10, 0.5))
    found = next_steps(SAME, found_result, tiny_recipe(), distinct=500, after=moved(10, 0.999))
    assert found[0].startswith("The weights have hardly changed")


def test_a_yes_comes_without_advice() -> None:
    found = next_steps(BETTER, result(probed(0, 0.5)), tiny_recipe(), distinct=9, after=moved(30, 1.0))
    assert found == []


def test_every_score_gets_a_line_with_a_key() -> None:
    start, adapted = probed(0, 0.5), probed(30, 0.7)
    values = (np.array([0.5, np.nan, 0.5]), np.array([0.5, 1.0, np.nan]))
    with_defects = (replace(one, defects_N=defects_N) for one, defects_N in zip((start, adapted), values, strict=True))
    before, after = with_defects
    selected, defects, *lines = score_lines(before, None, after)
    assert (defects.key, defects.start, defects.adapted) == ("defect_few_shot_5", 0.5, 0.75)
    assert (selected.key, selected.start, selected.adapted) == (
        "crop_quadrant_retrieval",
        start.selection_score,
        adapted.selection_score,
    )
    assert [(line.key, line.name) for line in lines] == [*SCORE_NAMES.items()]
    assert lines[0] == ScoreLine("retrieval_top1", SCORE_NAMES["retrieval_top1"], 0.5, 0.7)
    assert set(SCORE_NAMES) == set(vars(probed(0, 0.5).scores)) - {"finite"}
    staged = score_lines(start, probed(0, 0.6), adapted)
    assert [line.key for line in staged] == [selected.key, *SCORE_NAMES], "defects were not measured"
    assert [line.statistics for line in staged[:2]] == [pytest.approx(probed(0, 0.6).selection_score), 0.6]


def test_lost_defects_outweigh_better_retrieval() -> None:
    start, adapted = probed(0, 0.5), probed(30, 0.7)
    found, lost = np.linspace(0.5, 0.8, 40), np.linspace(0.4, 0.7, 40)
    assert final_verdict(result(), start, None, adapted).outcome == "better"
    kept = final_verdict(result(), replace(start, defects_N=lost), None, replace(adapted, defects_N=found))
    assert (kept.outcome, kept.keep) == ("better", "adapted"), "a gain says nothing"
    verdict = final_verdict(result(), replace(start, defects_N=found), None, replace(adapted, defects_N=lost))
    assert (verdict.outcome, verdict.keep) == ("worse", "start")
    assert verdict.reason.startswith("Significant decrease in synthetic-defect few-shot (delta -0.1")
    assert "; limit -0.03): from five examples" in verdict.reason
    assert "Significant increase in crop/quadrant retrieval" in verdict.reason
    known = {"distinct": 500, "after": moved(30, 0.9)}
    assert next_steps(verdict, result(), tiny_recipe(), **known)[0].startswith(LOST_DEFECTS)  # type: ignore[arg-type]
    slightly = final_verdict(result(), replace(start, defects_N=found), None, replace(adapted, defects_N=found - 0.029))
    assert slightly.outcome == "better", "less than three points: what learning may cost"
    unsure = found - 0.04 + 0.05 * (-1.0) ** np.arange(40)  # interval of 1.5 points to each side
    unsure_verdict = final_verdict(result(), replace(start, defects_N=found), None, replace(adapted, defects_N=unsure))
    assert unsure_verdict.outcome == "better", "it may be less than three points"
    few = (replace(one, defects_N=values[:20]) for one, values in ((start, found), (adapted, lost)))
    first, last = few
    assert final_verdict(result(), first, None, last).outcome == "better", "20 images are too few"


def test_defects_lost_by_statistics_count_until_training_regains_them() -> None:
    start, adapted, found = probed(0, 0.5), probed(30, 0.7), np.linspace(0.5, 0.8, 40)

    def verdict(by_statistics: float, by_both: float) -> Verdict:
        statistics = replace(probed(0, 0.6), defects_N=found - by_statistics)
        both = replace(adapted, defects_N=found - by_both)
        return final_verdict(result(), replace(start, defects_N=found), statistics, both)

    worse = verdict(0.02, 0.005)
    assert (worse.outcome, worse.keep) == ("worse", "start")
    assert (
        "; by batch-norm statistics alone delta -0.02, 95 % CI -0.02 to -0.02; limit for batch-norm statistics -0.01)"
        in worse.reason
    )
    assert verdict(0.02, -0.005).outcome == "better", "made up for"
    assert verdict(0.009, 0.02).outcome == "better", "less than a point by statistics, less than three by all"
    alone = replace(adapted, step=0, defects_N=found - 0.02)
    kept = final_verdict(result(), replace(start, defects_N=found), None, alone)
    assert (kept.outcome, kept.keep) == ("worse", "start"), "statistics alone"


def test_the_verdict_splits_the_gain_between_statistics_and_training() -> None:
    verdict = final_verdict(result(), probed(0, 0.5), probed(0, 0.7), probed(30, 0.71))
    assert verdict.keep == "adapted"
    assert [gain.change.mean for gain in verdict.gains] == pytest.approx([0.2, 0.01])
    assert "batch-norm statistics delta +0.2" in details(verdict)
    assert "training delta +0.01" in details(verdict)


def test_statistics_alone_are_kept_by_their_name() -> None:
    verdict = final_verdict(result(), probed(0, 0.5), None, probed(0, 0.7))
    assert (verdict.outcome, verdict.keep) == ("better", "statistics")
    assert [gain.part for gain in verdict.gains] == ["batch-norm statistics"]
    assert "no training step improved on them" in KEEP[verdict.keep]
    assert final_verdict(result(), probed(0, 0.5), None, probed(0, 0.5)).keep == "start"


class OneWeightProbe:
    """Probe of a network with one weight: retrieval rises with it; defects with `pooled+rare` fall above a limit.

    The weight -1 stands for adapted batch-norm statistics, which notice three points more.
    """

    score, images_per_measurement, indices, rows = CROP_QUADRANT, 100, range(200), list(range(200))
    start: Measured | None = None
    last: Measured | None = None

    def __init__(self, limit: float, lost: float = 0.05) -> None:
        self.limit, self.lost = limit, lost

    def measure(self, backbone: torch.nn.Linear, step: int) -> ProbeResult:
        weight = backbone.weight.item()
        noticed_N = np.linspace(0.7, 0.9, 200) - self.lost * (weight > self.limit) + 0.03 * (weight < 0)
        found = replace(probed(step, 0.5 + 0.2 * weight), rare_defects_N=noticed_N)
        found = replace(found, values_N=0.2 * weight + np.linspace(0, 0.01, 200))
        self.last = Measured(found, np.full((200, 2), weight, np.float32))
        self.start = self.start or self.last
        return found


@pytest.mark.parametrize(
    ("limit", "seconds", "alphas", "alpha", "caution"),
    [
        pytest.param(1.0, 1e9, [0.5, 1.0], 1.0, False, id="nothing lost"),
        pytest.param(0.6, 1e9, [0.5, 1.0], 0.5, False, id="not lost halfway"),
        pytest.param(0.4, 1e9, [0.5, 1.0], 1.0, True, id="lost halfway too"),
        pytest.param(0.6, 50.0, [0.5, 1.0], 1.0, True, id="no time left"),
        pytest.param(0.6, 1e9, [1.0], 1.0, True, id="no interpolation wanted"),
    ],
)
def test_weights_that_lose_defects_with_the_default_feature_go_back_halfway(
    monkeypatch: pytest.MonkeyPatch, limit: float, seconds: float, alphas: list[float], alpha: float, *, caution: bool
) -> None:
    start, adapted = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    start.weight.data.fill_(0.0)
    adapted.weight.data.fill_(1.0)
    probe, run = OneWeightProbe(limit), result(probed(0, 0.5), probed(30, 0.7))
    monkeypatch.setattr(select_module, "adapted_backbone", lambda *_: adapted)
    monkeypatch.setattr(select_module, "best_interpolation", lambda *_: (adapted, 1.0, []))  # the plan has none
    requested = tiny_recipe(f"guard.weight_interpolation={alphas}")
    context = SimpleNamespace(
        options=SimpleNamespace(recipe=requested),
        backbone=start,
        reporter=ProgressReporter(),
        teacher=None,
        info=SimpleNamespace(pretrained=False),
        seconds_left=lambda: seconds,
        labels={},
    )
    plan = SimpleNamespace(recipe=tiny_recipe("model.batch_norm=frozen"), labelled=[])
    trained = Trained(run, Path("best.pt"), probe, probe, seconds_per_forward=1.0)  # type: ignore[arg-type]
    selection = select_module.select(context, plan, trained)  # type: ignore[arg-type]
    assert (selection.verdict.outcome, selection.alpha, selection.best_alpha) == ("better", alpha, 1.0)
    assert selection.adapted.weight.item() == alpha  # type: ignore[operator]
    assert selection.sides.adapted_ND[0, 0] == alpha, "the report shows the weights that are kept"
    assert bool(selection.verdict.caution) == caution
    assert ("halfway to the start (alpha 0.5)" in selection.verdict.reason) == (alpha == 0.5)


@pytest.mark.parametrize(
    ("shift", "pretrained", "own", "keep"),
    [
        pytest.param(0.2, True, False, "start", id="like the images of the weights"),
        pytest.param(0.4, True, False, "adapted", id="unlike them"),
        pytest.param(float("nan"), True, False, "adapted", id="no batch norm"),
        pytest.param(0.2, False, False, "adapted", id="random weights"),
        pytest.param(0.2, True, True, "adapted", id="weights of an earlier run"),
    ],
)
def test_a_better_score_on_images_like_those_of_the_start_weights_keeps_the_start(
    monkeypatch: pytest.MonkeyPatch, shift: float, keep: str, *, pretrained: bool, own: bool
) -> None:
    monkeypatch.setattr(select_module, "shift_of", lambda *_: shift)
    context = SimpleNamespace(
        teacher=None, info=SimpleNamespace(pretrained=pretrained), own_weights=own, backbone=torch.nn.Identity()
    )
    probe = SimpleNamespace()
    better = Verdict("better", "adapted", "Significant increase.")
    verdict = select_module._checked_domain(context, probe, better)  # type: ignore[arg-type]
    assert verdict.keep == keep
    assert verdict.outcome == ("no different" if keep == "start" else "better")
    assert ("variances differ by 22 % (limit 38 %)" in verdict.reason) == (keep == "start")
    if keep == "start":
        (advice,) = next_steps(verdict, result(probed(0, 0.5)), tiny_recipe(), distinct=500, after=moved(30, 0.9))
        assert advice.startswith("The trained weights are in adapted/. Label a few images")
        (advice,) = next_steps(verdict, result(probed(0, 0.5)), tiny_recipe(), distinct=500, after=moved(0, 0.9))
        assert advice.startswith("Label a few images"), "no step was selected, so adapted/ was not written"
    same = select_module._checked_domain(context, probe, SAME)  # type: ignore[arg-type]
    assert (same.outcome, same.keep) == (SAME.outcome, SAME.keep)
    advice = " ".join(next_steps(same, result(probed(0, 0.5)), tiny_recipe(), distinct=500, after=moved(30, 1.0)))
    assert ("train for longer" in advice) == (keep == "adapted"), "on images like those of the start it would not help"
    worse = Verdict("worse", "start", "Significant decrease.")
    assert select_module._checked_domain(context, probe, worse) is worse  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lost", "alpha"),
    [
        pytest.param(0.005, 0.5, id="less than by the statistics"),
        pytest.param(-0.03, 1.0, id="regained by training"),
        pytest.param(0.0, 1.0, id="no more halfway"),
    ],
)
def test_training_that_loses_what_the_statistics_notice_goes_back_halfway(
    monkeypatch: pytest.MonkeyPatch, lost: float, alpha: float
) -> None:
    start, adapted, statistics = (torch.nn.Linear(1, 1, bias=False) for _ in range(3))
    for network, weight in ((start, 0.0), (adapted, 1.0), (statistics, -1.0)):
        network.weight.data.fill_(weight)
    monkeypatch.setattr(holdout_comparison, "with_statistics", lambda *_: statistics)
    probe = OneWeightProbe(0.6, lost)
    before = holdout_comparison.measured(probe, start, 0)  # type: ignore[arg-type]
    run = result(probed(0, 0.5), probed(30, 0.7))
    comparison = holdout_comparison.HoldoutComparison(probe, start, before, run, staged=True)  # type: ignore[arg-type]
    full = comparison.compare(adapted, 1.0)  # type: ignore[arg-type]
    found = comparison.lost_by_training(full)
    assert ("instead of 83.0 % with adapted batch-norm statistics alone (delta" in found) == (lost > -0.03)
    kept = comparison.halfway(full, found)
    assert (kept.alpha, kept.verdict.outcome, kept.verdict.caution) == (alpha, "better", "")
    assert ("(alpha 0.5) are kept: with them 80.0 %." in kept.verdict.reason) == (alpha == 0.5)
