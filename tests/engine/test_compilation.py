"""The decision to compile; the compiler is replaced, because it takes a minute."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from dinocli.data.loader import Batch
from dinocli.engine import compilation
from dinocli.engine.build import set_stage
from dinocli.engine.compilation import (
    COMPILE_SECONDS,
    MAX_SAVING,
    choose_compile,
    compile_learner,
    step_with_fallback,
)
from dinocli.engine.distributed import World
from dinocli.engine.initialize import fill_center
from dinocli.engine.precision import Precision
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
    assert choose_compile(False, 10_000, clock.trial, clock.step) == (False, "")
    assert not clock.made
    assert choose_compile("auto", 10_000, tiny_learner, clock.step) == (False, "")
    assert clock.now == 0


@pytest.mark.parametrize(
    ("steps", "compiled", "decided", "words"),
    [
        (int(COMPILE_SECONDS / MAX_SAVING) - 1, 0.1, False, "too few for compilation"),
        (int(COMPILE_SECONDS / MAX_SAVING) + 1, 0.1, True, "0.1 s a step instead of 1 s"),
        (10_000, 0.95, False, "does not make a step faster"),
    ],
)
def test_auto_compiles_if_it_saves_time(
    monkeypatch: pytest.MonkeyPatch, steps: int, compiled: float, decided: bool, words: str
) -> None:
    clock = Clock(monkeypatch, 1.0, compiled)
    found, said = choose_compile("auto", steps, clock.trial, clock.step)
    assert found is decided
    assert words in said


def test_a_failing_compiler_falls_back_to_plain_execution() -> None:
    def no_compiler(_: Learner) -> None:
        raise RuntimeError("No working C++ compiler found\nlong story")

    found, said = choose_compile(True, 5, tiny_learner, no_compiler)
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
    assert learner.multicrop._begin.__name__ == "begin_views"
    assert not hasattr(learner.multicrop._begin, "_torchdynamo_orig_callable")
    learner.precision = CUDA
    compile_learner(learner)
    assert hasattr(learner.multicrop._begin, "_torchdynamo_orig_callable")
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

    assert choose_compile("auto", 10_000, trial, step)[0]
    assert stages == [True, True, True, True, True, False]


class FailingStep:
    """`train_step` whose compiled code fails in the middle of step 1, once the first slice has left its gradients."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.error, self.stances = error, list[str]()
        monkeypatch.setattr(compilation, "train_step", self)
        monkeypatch.setattr("torch.compiler.set_stance", self._stance)

    def __call__(self, learner: Learner, slices: list[Batch], step: int) -> torch.Tensor:
        if step == 1 and not self.stances:
            learner.updater.backward(learner.student([torch.randn(4, 3, 32, 32)], 1).logits_VBK.mean())
            raise self.error
        return train_step(learner, slices, step)

    @contextlib.contextmanager
    def _stance(self, name: str) -> Iterator[None]:
        self.stances.append(name)
        yield


def test_a_compiled_step_that_fails_is_taken_again_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, compiled, said = tiny_learner(), tiny_learner(), list[str]()
    compiled.compilation = "on"
    failing = FailingStep(monkeypatch, RuntimeError("CppCompileError: no space\nlong story"))
    for step in range(3):
        expected = train_step(plain, batch_of(4, 2, seed=step), step)
        found = step_with_fallback(compiled, batch_of(4, 2, seed=step), step, said.append)
        assert torch.equal(found, expected)
    for name, tensor in plain.student.state_dict().items():
        assert torch.equal(compiled.student.state_dict()[name], tensor), name
    assert said == ["step 2: torch.compile failed, continuing without it: CppCompileError: no space"]
    assert failing.stances == ["force_eager"] * 2, "the failed step again, and the one after it"


@pytest.mark.parametrize(
    ("compilation", "world", "error"),
    [
        ("off", World(), RuntimeError("a bug")),
        ("on", World(), torch.OutOfMemoryError("CUDA out of memory")),
        ("on", World(size=2), RuntimeError("CppCompileError")),
    ],
)
def test_other_failures_are_raised(
    monkeypatch: pytest.MonkeyPatch, compilation: Literal["off", "on"], world: World, error: Exception
) -> None:
    learner, said = tiny_learner(), list[str]()
    learner.compilation, learner.world = compilation, world
    failing = FailingStep(monkeypatch, error)
    with pytest.raises(type(error), match=str(error)):
        step_with_fallback(learner, batch_of(4), 1, said.append)
    assert (said, failing.stances) == ([], [])


@pytest.mark.slow
def test_code_of_the_compiler_that_fails_at_a_later_step(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    calls = 0

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        def run(*inputs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == 4:  # the student's graph in the second step
                raise RuntimeError("an illegal instruction")
            return graph(*inputs)

        return run

    plain, compiled = tiny_learner(), tiny_learner()
    compile_learner(compiled)
    said: list[str] = []
    with torch.compiler.set_stance(force_backend=backend):
        for step in range(3):
            expected = train_step(plain, batch_of(4, seed=step), step)
            found = step_with_fallback(compiled, batch_of(4, seed=step), step, said.append)
            torch.testing.assert_close(found, expected)
    assert said == ["step 2: torch.compile failed, continuing without it: an illegal instruction"]
    assert calls == 4


@pytest.mark.slow
def test_a_run_uses_the_graphs_of_the_trial_also_for_the_centre() -> None:
    torch._dynamo.reset()
    counter, learners = CompileCounter(), [learner_on(torch.device("cpu"), precision="bf16") for _ in range(2)]
    for learner in learners:
        compile_learner(learner)
    with torch.compiler.set_stance(force_backend=counter):
        train_step(learners[0], batch_of(4), 0)
        assert counter.frame_count == 2
        fill_center(learners[1], Ready(), 1)  # type: ignore[arg-type]
        train_step(learners[1], batch_of(4), 0)
    assert counter.frame_count == 2


class Ready:
    """A substitute for a loader."""

    def steps(self, first: int, last: int) -> Iterator[list[Batch]]:
        return (batch_of(4, seed=step) for step in range(first, last))


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
            plain, compiled = (train_step(learner, batch_of(4, seed=step), step) for learner in learners)
            torch.testing.assert_close(compiled, plain)
    assert counter.frame_count == 3, "teacher; student in both stages"
