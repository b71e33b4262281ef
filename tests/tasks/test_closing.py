"""What is said at the end, from made-up looks."""

import numpy as np
import pytest

from dinocli.engine.probe import Look
from dinocli.engine.train import RunResult
from dinocli.quality.verdict import Scores
from dinocli.tasks.closing import SCORES, final_verdict, score_lines


def look(step: int, mrr: float, *, finite: bool = True, rank: float = 20.0) -> Look:
    return Look(step, Scores(0.8, rank, 1.0, mrr, mrr, 1.0, finite), np.full(40, mrr) + np.linspace(0, 0.01, 40))


def result(*looks: Look, trouble: str = "") -> RunResult:
    return RunResult(30, 1.0, [], list(looks), trouble)


def test_the_best_look_is_never_the_start_and_the_latest_of_equals() -> None:
    assert result(look(0, 0.9), look(10, 0.5), look(20, 0.6), look(30, 0.6)).best.step == 30
    assert result(look(0, 0.9), look(10, 0.7), look(20, 0.6)).best.step == 10


def test_a_look_that_is_not_finite_is_never_the_best() -> None:
    broken = look(20, float("nan"), finite=False)
    for looks in ((look(0, 0.5), broken, look(30, 0.4)), (look(0, 0.5), look(30, 0.4), broken)):
        assert result(*looks).best.step == 30


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
    verdict = final_verdict(result(), look(0, 0.5), look(30, mrr, rank=rank))
    assert (verdict.outcome, verdict.keep) == (outcome, keep)


def test_a_stopped_run_keeps_the_start_however_good_its_best_look() -> None:
    verdict = final_verdict(result(trouble="the loss went away"), look(0, 0.5), look(10, 0.9))
    assert (verdict.outcome, verdict.keep) == ("worse", "start")
    assert verdict.reason == "The guard stopped the run at step 30: the loss went away."


def test_every_score_gets_a_line() -> None:
    lines = score_lines(look(0, 0.5), look(30, 0.7))
    assert [line.name for line in lines] == [*SCORES.values()]
    assert (lines[0].start, lines[0].adapted) == (0.5, 0.7)
    assert set(SCORES) == set(vars(look(0, 0.5).scores)) - {"finite"}
