"""The same promises on a real GPU, where there is one: `make gpu`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dinocli.engine.compilation import compile_learner
from dinocli.engine.step import train_step
from dinocli.engine.step_profile import ProfiledLoader
from dinocli.tasks.embed.embed import embed
from tests.augment.test_multicrop import canvases, everything
from tests.device.test_multicrop import views_of
from tests.device.test_step import EVERYTHING, learner_on, steps
from tests.engine.learners import batch_of
from tests.engine.test_step_profile import Batches
from tests.tasks.drive import Ears
from tests.tasks.embed.drive import job, write_images

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
    pytest.mark.filterwarnings("ignore"),  # what torch's compiler and its detector of waits have to say
]


@pytest.mark.parametrize("compiled", [False, True])
def test_views_are_those_of_the_cpu_within_the_rounding_of_tensor_cores(compiled: bool) -> None:
    crop = everything()
    wanted = views_of(crop, canvases())
    if compiled:
        crop.compile()
    for one, other in zip(wanted, views_of(crop, canvases().cuda()), strict=True):
        error = (one - other.cpu()) * torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
        assert float(error.square().mean()) < 10**-5.5


def test_nothing_in_a_step_waits() -> None:
    """torch itself raises where the host would wait."""
    device = torch.device("cuda", 0)
    learner = learner_on(device, *EVERYTHING, precision="bf16")
    steps(learner, 2, device)
    (batch,) = batch_of(4)
    there = replace(batch, pixels_BCHW=batch.pixels_BCHW.to(device))
    torch.cuda.set_sync_debug_mode("error")
    try:
        figures = [train_step(learner, [there], step) for step in (2, 3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(torch.stack(figures)[:, 4].all())


@pytest.mark.parametrize(("precision", "compiled"), [("fp32", False), ("bf16", False), ("fp16", False), ("bf16", True)])
def test_a_step_learns_what_the_cpu_learns(precision: str, compiled: bool) -> None:
    device = torch.device("cuda", 0)
    learner = learner_on(device, precision=precision)
    if compiled:
        compile_learner(learner)
    wanted = torch.stack(steps(learner_on(torch.device("cpu")), 3, torch.device("cpu")))[:, :3]
    found = torch.stack(steps(learner, 3, device))[:, :3].cpu()
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0.02)


def test_the_profile_names_the_kernels_of_every_part() -> None:
    """Those of the backward pass too, which another thread launches."""
    device = torch.device("cuda", 0)
    learner, ears = learner_on(device, precision="bf16"), Ears()
    there = [[replace(part, pixels_BCHW=part.pixels_BCHW.to(device)) for part in batch_of(4, seed=n)] for n in range(6)]
    profiled = ProfiledLoader(Batches(there), None, ears)  # type: ignore[arg-type]
    for step, slices in enumerate(profiled.steps(0, 6)):
        train_step(learner, slices, step)
    assert "kernels on the device:" in ears.lines
    assert all(seconds > 0 for seconds in profiled.seconds.values()), profiled.seconds
    assert profiled.seconds["backward"] > 0.3 * profiled.seconds["student"]


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_embed_gives_the_rows_of_the_cpu(tmp_path: Path, keep_aspect: bool) -> None:
    folder = write_images(tmp_path / "images", 6, mixed=True)
    found = []
    for device in ("cpu", "cuda"):
        embed(job(folder, tmp_path / f"{device}.npy", device=device, keep_aspect=keep_aspect))
        found.append(np.load(tmp_path / f"{device}.npy"))
    np.testing.assert_allclose(found[1], found[0], atol=1e-2)
