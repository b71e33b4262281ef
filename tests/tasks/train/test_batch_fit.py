"""A batch size that memory allows: cut where it was left to us, named where it was asked for."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from dinocli.config.load import with_values
from dinocli.engine.step_memory import StepMemory
from dinocli.errors import OutOfMemory
from dinocli.progress import ProgressReporter
from dinocli.tasks.train import batch_fit
from dinocli.tasks.train.batch_fit import advising_batch_size, batch_size_advice, fit_batch_to_memory, limit_batch
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train import train
from dinocli.tasks.train.train_context import TrainContext
from tests.engine.learners import tiny_recipe
from tests.tasks.drive import Ears, job
from tests.textures import write_textures


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_textures(tmp_path_factory.mktemp("images"), each=14, side=40)  # 42


@pytest.fixture(scope="module")
def context(images: Path) -> TrainContext:
    options = job(images, Path("unused"), ["run.batch_size=auto"])
    return setup(options, list_images(options, None), ProgressReporter())


def asking(context: TrainContext, batch: object, ears: Ears | None = None) -> TrainContext:
    recipe = with_values(context.options.recipe, {"run.batch_size": batch})
    asked = replace(context, options=replace(context.options, recipe=recipe), reporter=ears or ProgressReporter())
    return replace(asked, recipe=asked.resolved(recipe))


def fit(context: TrainContext, usable: float) -> TrainContext:
    memory = StepMemory(fixed=100, per_image=10, usable=usable)
    return limit_batch(context, memory)


def test_a_folder_needs_a_batch_and_memory_cuts_it(context: TrainContext) -> None:
    ears = Ears()
    assert asking(context, "auto").recipe.run.batch_size == 21, "half of the folder"
    assert fit(asking(context, "auto", ears), 1e6).recipe.run.batch_size == 21
    assert ears.lines == []
    found = fit(asking(context, "auto", ears), 230)
    assert found.recipe.run.batch_size == 12
    assert "batch size 12, the largest that fits" in ears.lines[0]
    assert found.recipe.run.steps == context.recipe.run.steps


def test_max_takes_what_fits_up_to_half_of_the_folder(context: TrainContext) -> None:
    ears = Ears()
    assert fit(asking(context, "max", ears), 1e6).recipe.run.batch_size == 21
    assert fit(asking(context, "max", ears), 190).recipe.run.batch_size == 8
    assert "batch size 8: up to 8 fit" in ears.lines[1]


def test_a_batch_that_was_asked_for_stays_and_a_line_says_what_fits(context: TrainContext) -> None:
    ears = Ears()
    found = fit(asking(context, 24, ears), 240)
    assert found.recipe.run.batch_size == 24
    assert "--batch-size 12 would fit; so would --set optim.grad_accum_steps=2" in ears.warnings[0]
    assert not fit(asking(context, 8, ears), 190).max_batch
    assert len(ears.warnings) == 1


def test_a_batch_that_needs_far_more_than_the_memory_is_refused(context: TrainContext) -> None:
    with pytest.raises(OutOfMemory, match=r"needs about .*: --batch-size 8 would fit"):
        fit(asking(context, 24), 190)


def test_the_decoded_images_of_all_slices_count(context: TrainContext) -> None:
    sliced = with_values(asking(context, 42).recipe, {"optim.grad_accum_steps": 21})
    one = StepMemory(fixed=100, per_image=10, usable=1e6, canvas=2)
    assert batch_fit.step_bytes(context.world, sliced, one) == 100 + 2 * 10 + 3 * 42 * 2
    measured = batch_fit.measure_memory(context, context.recipe)
    canvases = context.loader(with_values(context.recipe, {"run.batch_size": 2})).steps(0, 1)
    assert measured.canvas == next(canvases)[0].pixels_BCHW.nbytes / 2


def test_nothing_is_measured_where_there_is_plenty(context: TrainContext, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asking(context, "auto")
    assert fit_batch_to_memory(asked) is asked
    monkeypatch.setattr(batch_fit, "usable_bytes", lambda *_: 0.3e9)
    monkeypatch.setattr(batch_fit, "measure_memory", lambda *_: StepMemory(0, 1e8, 0.3e9))
    assert fit_batch_to_memory(asked) is asked, "one step of two images shows that this network needs far less"
    monkeypatch.setattr(batch_fit, "upper_bound", lambda *_: 0.4e9)
    assert fit_batch_to_memory(asked).recipe.run.batch_size == 3


def test_a_batch_fits_the_measured_memory(context: TrainContext, monkeypatch: pytest.MonkeyPatch) -> None:
    one = batch_fit.measure_memory(context, context.recipe)
    usable = one.bytes_for(8)
    monkeypatch.setattr(batch_fit, "usable_bytes", lambda *_: usable)
    assert fit_batch_to_memory(asking(context, "max")).recipe.run.batch_size == 8


@pytest.mark.parametrize(
    ("batch", "slices", "most", "fits", "others"),
    [(64, 1, 24, 24, 4), (64, 2, 32, 32, 4), (7, 1, 2, 2, 7)],
)
@pytest.mark.parametrize(
    ("batch_norm", "words"),
    [("frozen", "with the same batch"), ("train", "with batch norm and KoLeo by slices")],
)
def test_error_messages_offer_batch_sizes_and_slices_that_fit(
    batch: int, slices: int, most: int, fits: int, others: int, batch_norm: str, words: str
) -> None:
    own = (f"run.batch_size={batch}", f"optim.grad_accum_steps={slices}", "head.batch_norm=false")
    recipe = tiny_recipe(*own, f"model.batch_norm={batch_norm}")
    found = f"--batch-size {fits} would fit; so would --set optim.grad_accum_steps={others}, {words}"
    assert batch_size_advice(recipe, most, slices) == found


@pytest.mark.parametrize(
    "error",
    [
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_missing_memory_names_what_fits(
    context: TrainContext, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_fit, "measure_memory", lambda *_: StepMemory(100, 10, 190))
    asked = asking(context, 24)
    words = "out of memory with 24 images at once: --batch-size 8 would fit"
    with pytest.raises(OutOfMemory, match=words), advising_batch_size(asked, asked.recipe):
        raise error
    with pytest.raises(ValueError, match="another"), advising_batch_size(asked, asked.recipe):
        raise ValueError("another")


@pytest.mark.parametrize("measured", [MemoryError(), StepMemory(100, 200, 190)])
def test_no_batch_size_is_named_where_none_fits(
    context: TrainContext, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: Any) -> StepMemory:
        if isinstance(measured, MemoryError):
            raise measured
        return cast(StepMemory, measured)

    monkeypatch.setattr(batch_fit, "measure_memory", measure)
    asked = asking(context, 24)
    words = r"smallest batch: .*global_size.*out_dim"
    with pytest.raises(OutOfMemory, match=words) as caught, advising_batch_size(asked, asked.recipe):
        raise MemoryError
    assert "--batch-size" not in str(caught.value)


def test_a_run_that_runs_out_of_memory_says_so(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("dinocli.tasks.train.train._train", short)
    settings = ("run.batch_size=16", "guard.probe_images=8", "head.init=random", "dino.center_batches=0")
    with pytest.raises(OutOfMemory, match="--batch-size 8 would fit; so would"):
        train(job(images, tmp_path / "run", settings))


def test_a_continued_run_keeps_its_batch(context: TrainContext) -> None:
    resumed = replace(asking(context, "max"), survey=None)
    assert fit_batch_to_memory(resumed) is resumed
