"""The metrics file and the rules of the guard, with synthetic steps: K = 64, ln K = 4.16."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dinocli.engine.collapse import advice, best_of
from dinocli.engine.monitor import NON_FINITE_IN_A_ROW, Monitor, Timing
from dinocli.engine.step_schedule import StepValues
from dinocli.quality.probe_result import ProbeResult, Scores

LN_K = math.log(64)
NOW = StepValues(1e-3, 2e-3, 0.04, 0.1, 0.04, 0.9, backbone_learns=True, prototypes_learn=True)
HEALTHY = (3.0, 2.0, 3.5, 1.0, 1.0)  # loss, entropy, entropy of the mean target, gradient norm, finite
UNIFORM = (LN_K, LN_K, LN_K, 0.1, 1.0)
ONE_HOT = (0.01, 0.0, 0.01, 0.1, 1.0)
BALANCED = (0.5, 0.01, LN_K, 0.1, 1.0)  # certain for each image, different between images
SKIPPED = (3.0, 2.0, 3.5, math.inf, 0.0)


def monitor(path: Path | None = None, *, armed_at: int = 0, window: int = 3) -> Monitor:
    return Monitor(path, prototypes=64, batch_size=8, armed_at=armed_at, window=window)


def feed(guard: Monitor, *steps: tuple[float, ...], first: int = 1) -> str:
    for number, values in enumerate(steps, first):
        guard.add(number, torch.tensor(values), NOW, Timing(0.5, 0.1))
    guard.flush()
    return guard.stop_reason


def probed(step: int, *, std: float = 0.8, rank: float = 20.0, finite: bool = True) -> ProbeResult:
    return ProbeResult(step, Scores(std, rank, 1.0, 0.5, 0.6, 1.0, finite), np.array([1.0, 0.5]))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("values", "word"), [(UNIFORM, "uniform collapse"), (ONE_HOT, "one-hot collapse")])
def test_a_collapse_counts_after_its_minimum_duration(values: tuple[float, ...], word: str) -> None:
    assert feed(monitor(), *[values] * 2) == ""
    assert feed(monitor(), values, values, HEALTHY, values, values) == "", "it has to last without a break"
    assert word in feed(monitor(), *[values] * 3)


@pytest.mark.parametrize("values", [UNIFORM, ONE_HOT])
def test_a_collapse_before_the_guard_is_armed_does_not_count(values: tuple[float, ...]) -> None:
    guard = monitor(armed_at=5)
    assert feed(guard, *[values] * 7) == "", "steps 6 and 7 are only two"
    assert feed(guard, values, first=8) != ""


@pytest.mark.parametrize(
    "values",
    [
        HEALTHY,
        BALANCED,
        (1.05 * LN_K, 0.99 * LN_K, LN_K, 1.0, 1.0),  # near-uniform targets that the student misses
        (LN_K, 0.97 * LN_K, LN_K, 1.0, 1.0),
        (0.5, 0.03 * LN_K, 0.05, 1.0, 1.0),
    ],
)
def test_healthy_runs_are_left_alone(values: tuple[float, ...]) -> None:
    assert feed(monitor(), *[values] * 20) == ""


@pytest.mark.parametrize("values", [SKIPPED, (math.nan, 2.0, 3.5, 1.0, 1.0)])
def test_three_non_finite_steps_in_a_row_are_enough_armed_or_not(values: tuple[float, ...]) -> None:
    few = NON_FINITE_IN_A_ROW - 1
    assert feed(monitor(armed_at=99), *[values] * few, HEALTHY, *[values] * few) == ""
    assert "not finite" in feed(monitor(armed_at=99), *[values] * NON_FINITE_IN_A_ROW)


def test_a_gradient_scaler_may_search_for_its_place() -> None:
    def scaled(loss: float, scale: float) -> tuple[float, ...]:
        return (loss, *SKIPPED[1:], scale)

    def young() -> Monitor:
        return Monitor(None, prototypes=64, batch_size=8, armed_at=99, window=3, extras=["loss_scale"])

    falling = [scaled(3.0, 2.0**power) for power in range(11, 0, -1)]
    assert feed(young(), *falling) == ""
    assert "not finite" in feed(young(), *falling, *[scaled(3.0, 0.5)] * NON_FINITE_IN_A_ROW), "it cannot fall further"
    assert "not finite" in feed(young(), *[scaled(math.nan, 2048.0)] * NON_FINITE_IN_A_ROW), "no scale helps here"
    guard = young()
    feed(guard, *falling[:2])
    assert [row["loss_scale"] for row in guard.rows] == [2048.0, 1024.0]


@pytest.mark.parametrize(("std", "rank", "words"), [(0.1, 20.0, "std fell from 0.8 to 0.1"), (0.8, 4.0, "20 to 4")])
def test_features_that_degrade_in_two_probes_are_a_collapse(std: float, rank: float, words: str) -> None:
    guard = monitor(armed_at=10)
    guard.begin(probed(0))
    for seen in (probed(10, std=std, rank=rank), probed(20), probed(30, std=std, rank=rank)):
        guard.add_probe(seen)
    assert guard.stop_reason == "", "one bad probe may be chance"
    guard.add_probe(probed(40, std=std, rank=rank))
    assert "features collapsed" in guard.stop_reason
    assert words in guard.stop_reason


def test_features_are_compared_with_the_best_that_there_was() -> None:
    """Adapted batch norm doubles the dimensions used by the initial features; losing them again is a collapse."""
    guard = monitor(armed_at=10)
    guard.begin(probed(0, rank=20.0))
    for seen in (probed(0, rank=45.0), probed(20, rank=21.0), probed(30, rank=21.0)):
        guard.add_probe(seen)
    assert "45 to 21" in guard.stop_reason


def test_a_probe_result_with_half_of_the_dimensions_lost_is_no_candidate() -> None:
    def scored(step: int, rank: float, score: float) -> ProbeResult:
        return replace(probed(step, rank=rank), values_N=np.array([score]))

    results = [scored(0, 20, 0.1), scored(0, 45, 0.5), scored(10, 22, 0.9), scored(20, 40, 0.7), scored(30, 10, 1.0)]
    found = best_of(results)
    assert found is not None
    assert found.step == 20
    assert best_of(results[:3]) is results[1]
    assert best_of(results[:1]) is None


@pytest.mark.parametrize(("rank", "stalls_at"), [(20.0, 40), (9.0, 25)])
def test_patience_counts_from_the_best_step_or_else_from_the_arming_of_the_guard(rank: float, stalls_at: int) -> None:
    """With `guard.stop=false` a run whose every probe lost half of the dimensions has no best step to count from."""
    guard = monitor(armed_at=5)
    guard.begin(probed(0))
    stalled = {0: guard.stalled(20)}
    for step in (10, 20, 25, 30, 40):
        guard.add_probe(replace(probed(step, rank=rank), values_N=np.array([1.0 if step <= 20 else 0.5])))
        stalled[step] = guard.stalled(20)
    assert [step for step, ended in stalled.items() if ended] == [step for step in stalled if step >= stalls_at]
    assert not guard.stalled(100), "1 is off"


def test_features_are_compared_with_the_start_and_not_before_the_guard_is_armed() -> None:
    guard = monitor(armed_at=100)
    guard.begin(probed(0, std=0.2, rank=6.0))
    for step in (10, 20, 30):
        guard.add_probe(probed(step, std=0.01, rank=1.0))
    assert guard.stop_reason == ""
    healthy = monitor()
    healthy.begin(probed(0, std=0.2, rank=6.0))
    for step in (10, 20, 30):
        healthy.add_probe(probed(step, std=0.1, rank=4.0))
    assert healthy.stop_reason == "", "small, but so was the start"


def test_features_that_are_not_finite_stop_the_run() -> None:
    guard = monitor()
    guard.begin(probed(0))
    guard.add_probe(probed(10))
    guard.add_probe(probed(20, finite=False))
    assert "not finite" in guard.stop_reason


def test_rows_hold_the_shares_and_settings_of_their_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    guard = monitor(path)
    path.write_text("of an older run\n")
    guard.begin(probed(0))
    feed(guard, HEALTHY, SKIPPED)
    start, row, skipped = lines(path)
    assert start["step"] == 0
    assert row == {
        "step": 1,
        "loss": 3.0,
        "entropy": pytest.approx(2.0 / LN_K),
        "kl": 1.0,
        "marginal_entropy": pytest.approx(3.5 / LN_K),
        "grad_norm": 1.0,
        "skipped": False,
        "lr": 1e-3,
        "head_lr": 2e-3,
        "weight_decay": 0.04,
        "teacher_temp": 0.04,
        "momentum": 0.9,
        "seconds": 0.5,
        "data_wait": 0.1,
        "images_per_second": 16.0,
    }
    assert skipped["skipped"] is True
    assert skipped["grad_norm"] is None, "JSON has no infinity"


def test_nothing_is_written_before_the_flush(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    guard = monitor(path)
    guard.begin(probed(0))
    guard.add(1, torch.tensor(HEALTHY), NOW, Timing(0.5, 0.1))
    assert len(lines(path)) == 1
    assert guard.last_step == 0
    assert [row["step"] for row in guard.flush()] == [1]
    assert guard.flush() == []
    assert len(lines(path)) == 2
    assert guard.last_step == 1


def test_restore_truncates_the_file_and_restores_the_state(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    guard = monitor(path)
    guard.begin(probed(0))
    feed(guard, HEALTHY, UNIFORM, UNIFORM)
    guard.add_probe(probed(3))
    state = json.loads(json.dumps(guard.state()))
    feed(guard, HEALTHY, HEALTHY, first=4)
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # killed in the middle of a line
    again = monitor(path)
    again.restore(state, 3)
    assert [row["step"] for row in lines(path)] == [0, 1, 2, 3, 3]
    assert [row["step"] for row in again.rows] == [1, 2, 3]
    assert [seen.step for seen in again.probe_results] == [0, 3]
    assert np.array_equal(again.probe_results[1].values_N, [1.0, 0.5])
    assert "uniform" in feed(again, UNIFORM, first=4), "the two uniform steps before count"


def test_other_processes_write_nothing_and_decide_the_same(tmp_path: Path) -> None:
    silent = monitor(None)
    silent.begin(probed(0))
    assert "uniform" in feed(silent, *[UNIFORM] * 3)
    assert [*tmp_path.iterdir()] == []


def test_every_stop_reason_has_advice() -> None:
    reasons = [feed(monitor(), *[values] * 3) for values in (UNIFORM, ONE_HOT, SKIPPED)]
    words = [advice(reason) for reason in reasons]
    assert len(set(words)) == 3
    assert "teacher_momentum" in words[1]
    assert "fp32" in words[2]
    assert "learning rate" in advice("the features collapsed: rankme fell from 20 to 4")
    assert "run.precision=fp32" in advice("the teacher gives features that are not finite")
