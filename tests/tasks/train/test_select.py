"""What is said at the end, from made-up looks."""

from dataclasses import replace

import numpy as np
import pytest

from dinocli.engine.loop import RunResult
from dinocli.engine.probe import ProbeResult
from dinocli.quality.selection_scores import CHOICES
from dinocli.quality.verdict import Scores, Verdict
from dinocli.tasks.train.advice import next_steps
from dinocli.tasks.train.report_page import ScoreLine
from dinocli.tasks.train.select import SCORES, final_verdict, score_lines
from tests.engine.learners import tiny_recipe

MRR = CHOICES["retrieval_mrr"]


def look(step: int, mrr: float, *, finite: bool = True, rank: float = 20.0) -> ProbeResult:
    return ProbeResult(step, Scores(0.8, rank, 1.0, mrr, mrr, 1.0, finite), np.full(40, mrr) + np.linspace(0, 0.01, 40))


def result(*looks: ProbeResult, trouble: str = "") -> RunResult:
    return RunResult(30, 1.0, [], list(looks), trouble)


def best_step(*looks: ProbeResult) -> int:
    best = result(*looks).best
    assert best is not None
    return best.step


def test_the_best_look_is_never_the_start_and_the_latest_of_equals() -> None:
    assert best_step(look(0, 0.9), look(10, 0.5), look(20, 0.6), look(30, 0.6)) == 30
    assert best_step(look(0, 0.9), look(10, 0.7), look(20, 0.6)) == 10
    assert result(look(0, 0.9)).best is None


def test_a_look_that_is_not_finite_is_never_the_best() -> None:
    broken = look(20, float("nan"), finite=False)
    for looks in ((look(0, 0.5), broken, look(30, 0.4)), (look(0, 0.5), look(30, 0.4), broken)):
        assert best_step(*looks) == 30
    assert result(look(0, 0.5), broken).best is None


@pytest.mark.parametrize(
    ("mrr", "rank", "outcome", "keep"),
    [
        (0.7, 20.0, "better", "adapted"),
        (0.5, 20.0, "no different", "start"),
        (0.3, 20.0, "worse", "start"),
        (0.7, 3.0, "worse", "start"),
    ],
)
def test_the_verdict_compares_the_two_looks(mrr: float, rank: float, outcome: str, keep: str) -> None:
    verdict = final_verdict(result(), look(0, 0.5), look(30, mrr, rank=rank), MRR)
    assert (verdict.outcome, verdict.keep) == (outcome, keep)


def test_a_stopped_run_keeps_the_start_however_good_its_best_look() -> None:
    verdict = final_verdict(result(trouble="the loss went away"), look(0, 0.5), look(10, 0.9), MRR)
    assert (verdict.outcome, verdict.keep) == ("worse", "start")
    assert verdict.reason == "The guard stopped the run at step 30: the loss went away."


BETTER, SAME, WORSE = (
    Verdict("better", "adapted", "."),
    Verdict("no different", "start", "."),
    Verdict("worse", "start", "."),
)


@pytest.mark.parametrize(
    ("verdict", "distinct", "best", "likeness", "mrr", "words"),
    [
        (SAME, 500, 20, 0.999, 0.5, "hardly moved: train for longer (--steps 90), or faster (--set optim.lr=0.003)"),
        (SAME, 500, 30, 0.9, 0.5, "The last look was the best: train for longer (--steps 90)"),
        (SAME, 500, 20, 0.5, 0.5, "went too far: lower the learning rate (--set optim.lr=0.0003)"),
        (WORSE, 500, 20, 0.999, 0.5, "went too far"),
        (SAME, 40, 20, 0.9, 0.5, "40 different images"),
        (SAME, 500, 20, 0.9, 0.95, "let them judge (--labels)"),
        (SAME, 500, 20, 0.9, 0.5, "Look at views.png"),
    ],
)
def test_a_no_comes_with_what_to_try_next(
    verdict: Verdict, distinct: int, best: int, likeness: float, mrr: float, words: str
) -> None:
    recipe = tiny_recipe("run.steps=30")
    found = next_steps(verdict, result(look(0, mrr)), recipe, distinct=distinct, best_step=best, likeness=likeness)
    assert any(words in sentence for sentence in found)
    assert "views.png" in found[-1]
    assert len(found) <= 3


def test_more_training_is_asked_for_in_the_words_that_cut_it_short() -> None:
    def words(minutes: float) -> str:
        recipe = tiny_recipe("run.steps=30")
        looks = result(look(0, 0.5))
        return next_steps(SAME, looks, recipe, distinct=500, best_step=30, likeness=0.9, minutes=minutes)[0]

    assert "(--steps 90)" in words(0)
    assert "(--minutes 6)" in words(2)


def test_a_best_look_before_the_weights_moved_away_does_not_ask_for_more() -> None:
    """The head's warm-up leaves the backbone as it was; what came after it was worse."""
    moved = replace(look(20, 0.4), scores=replace(look(20, 0.4).scores, cka_to_start=0.8))
    looks = result(look(0, 0.5), look(10, 0.5), moved)
    found = next_steps(SAME, looks, tiny_recipe(), distinct=500, best_step=10, likeness=1.0)
    assert found[0].startswith("The weights went too far")


def test_batch_norm_that_moved_before_the_first_step_is_no_sign_of_going_too_far() -> None:
    statistics = replace(look(0, 0.5), scores=replace(look(0, 0.5).scores, cka_to_start=0.8))
    looks = result(look(0, 0.5), statistics, look(10, 0.5))
    found = next_steps(SAME, looks, tiny_recipe(), distinct=500, best_step=10, likeness=0.999)
    assert found[0].startswith("The weights have hardly moved")


def test_a_yes_comes_without_advice() -> None:
    found = next_steps(BETTER, result(look(0, 0.5)), tiny_recipe(), distinct=9, best_step=30, likeness=1.0)
    assert found == []


def test_every_score_gets_a_line() -> None:
    start, adapted = look(0, 0.5), look(30, 0.7)
    chosen, *lines = score_lines(start, adapted, MRR)
    assert chosen == ScoreLine(MRR.label, start.score, adapted.score)
    assert [line.name for line in lines] == [*SCORES.values()]
    assert (lines[0].start, lines[0].adapted) == (0.5, 0.7)
    assert set(SCORES) == set(vars(look(0, 0.5).scores)) - {"finite"}
