"""The decision to compile; the compiler is replaced, because it takes a minute."""

import copy
import time

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from dinocli.engine import compilation
from dinocli.engine.build import set_stage
from dinocli.engine.compilation import COMPILE_SECONDS, MAX_SAVING, compile_learner, settle_compile
from dinocli.engine.device import Precision
from dinocli.engine.step import Learner, train_step
from dinocli.models.features import extract
from tests.device.test_step import learner_on
from tests.engine.learners import batch_of, tiny_learner

CUDA = Precision(torch.device("cuda", 0), "bf16", "fused")


class Clock:
    """A clock in which plain and compiled steps take given times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plain: float, compiled: float) -> None:
        self.now, self.seconds, self.compiled = 0.0, plain, compiled
        self.made: list[Learner] = []
        monkeypatch.setattr("dinocli.engine.compilation.time.monotonic", lambda: self.now)
        monkeypatch.setattr(compilation, "compile_learner", self._compile)
        monkeypatch.setattr(compilation, "_synchronize", lambda _: None)

    def _compile(self, _: Learner) -> None:
        self.seconds = self.compiled

    def trial(self) -> Learner:
        learner = tiny_learner()
        learner.precision = CUDA
        self.made.append(learner)
        return learner

    def step(self, _: Learner) -> None:
        self.now += self.seconds


def test_no_trial_if_off_or_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 1.0, 0.1)
    assert settle_compile(False, 10_000, clock.trial, clock.step) == (False, "")
    assert not clock.made
    assert settle_compile("auto", 10_000, tiny_learner, clock.step) == (False, "")
    assert clock.now == 0


@pytest.mark.parametrize(
    ("steps", "compiled", "decided", "words"),
    [
        (int(COMPILE_SECONDS / MAX_SAVING) - 1, 0.1, False, "too few to compile for"),
        (int(COMPILE_SECONDS / MAX_SAVING) + 1, 0.1, True, "0.1 s a step instead of 1 s"),
        (10_000, 0.95, False, "no step faster"),
    ],
)
def test_auto_compiles_if_it_saves_time(
    monkeypatch: pytest.MonkeyPatch, steps: int, compiled: float, decided: bool, words: str
) -> None:
    clock = Clock(monkeypatch, 1.0, compiled)
    found, said = settle_compile("auto", steps, clock.trial, clock.step)
    assert found is decided
    assert words in said


def test_a_failing_compiler_falls_back_to_plain_execution() -> None:
    def no_compiler(_: Learner) -> None:
        raise RuntimeError("No working C++ compiler found\nlong story")

    found, said = settle_compile(True, 5, tiny_learner, no_compiler)
    assert not found
    assert said.endswith("continuing without it: No working C++ compiler found")


def test_networks_are_compiled_but_not_the_backbones_that_probes_call() -> None:
    learner = tiny_learner()
    compile_learner(learner)
    for network in (learner.student, learner.teacher):
        assert network._compiled_call_impl is not None
        assert network.backbone._compiled_call_impl is None
    assert copy.deepcopy(learner.student)._compiled_call_impl is None
    assert not any("_orig_mod" in name for name in learner.student.state_dict())
    begin = time.monotonic()
    assert learner.views._begin.__name__ == "begin_views"
    assert not hasattr(learner.views._begin, "_torchdynamo_orig_callable")
    learner.precision = CUDA
    compile_learner(learner)
    assert hasattr(learner.views._begin, "_torchdynamo_orig_callable")
    assert time.monotonic() - begin < 60, "nothing was compiled before its first call"


def test_the_trial_covers_both_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run spends most of its steps in the second, and must not meet the compiler in its middle."""
    clock, stages = Clock(monkeypatch, 1.0, 0.1), list[bool]()

    def trial() -> Learner:
        learner = clock.trial()
        set_stage(learner, backbone_learns=False)
        return learner

    def step(learner: Learner) -> None:
        stages.append(learner.student.backbone_learns)
        clock.step(learner)

    assert settle_compile("auto", 10_000, trial, step)[0]
    assert stages == [True, True, True, True, True, False]


@pytest.mark.slow
def test_a_network_has_one_graph_a_stage_and_probes_have_none() -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    learners = [learner_on(torch.device("cpu"), precision="bf16") for _ in range(2)]
    compile_learner(learners[1])
    with torch.compiler.set_stance(force_backend=counter):
        for step, backbone_learns in enumerate((False, False, True, True)):
            for learner in learners:
                set_stage(learner, backbone_learns=backbone_learns)
                extract(learner.teacher.backbone, [torch.randn(2 + step, 3, 32, 32)], autocast=None)
            plain, compiled = (train_step(learner, batch_of(4, seed=step), step).values_N for learner in learners)
            torch.testing.assert_close(compiled, plain)
    assert counter.frame_count == 3, "teacher; student in both stages"
