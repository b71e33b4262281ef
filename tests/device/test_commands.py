"""What commands do on a device: nothing may stay on the CPU, or leave the device before its time."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dinocli.config.preprocess import Preprocess
from dinocli.data.canvas import Canvas
from dinocli.engine.square_resize import squares, squashed
from dinocli.models.create import create_backbone
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.search.search import search
from dinocli.tasks.search.search_options import SearchOptions
from tests.device.pretend import DeviceTensor, PretendDevice
from tests.tasks.embed.drive import job, write_images

ROOT = Path(__file__).resolve().parents[2]
ABOUT = Preprocess("full", 0.0, 255.0, False, False, (), 0, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 16)


@pytest.mark.parametrize("ready", [False, True])
def test_squares_of_mixed_sizes_keep_their_order(pretend: PretendDevice, ready: bool) -> None:
    rng = np.random.default_rng(0)
    sizes = [(20, 30), (24, 18), (20, 30), (31, 17)]
    canvases: list[Canvas] = [rng.integers(0, 256, (3, *size), dtype=np.uint8) for size in sizes]
    given = [squashed(canvas, (16, 16)) for canvas in canvases] if ready else canvases
    wanted = squares(given, ABOUT, torch.device("cpu"))
    pretend.forget()
    found = squares(given, ABOUT, pretend.device)
    assert isinstance(found, DeviceTensor)
    torch.testing.assert_close(found.held, wanted, atol=1e-5, rtol=0)
    for place, canvas in enumerate(given):
        torch.testing.assert_close(squares([canvas], ABOUT, torch.device("cpu"))[0], wanted[place], atol=1e-5, rtol=0)


@pytest.mark.parametrize("how", ["plain", pytest.param("keep_aspect", marks=pytest.mark.slow), "tile", "patch"])
def test_embed_on_a_device_gives_the_rows_of_the_cpu(
    pretend: PretendDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = write_images(tmp_path / "images", 6, mixed=True)
    ways: dict[str, dict[str, Any]] = {"keep_aspect": {"keep_aspect": True}, "tile": {"tile": "32"}}
    ways["patch"] = {"kind": "patch"}
    found = {}
    for device in ("cpu", "pretend"):
        if device == "pretend":
            monkeypatch.setattr("dinocli.tasks.embed.embed_setup.pick_device", lambda *_: pretend.device)
        out = tmp_path / f"{device}{'' if how == 'patch' else '.npy'}"
        embed(job(folder, out, **ways.get(how, {})))
        files = sorted(out.glob("*.npy")) if out.is_dir() else [out]
        found[device] = [np.load(file) for file in files]
    assert found["cpu"]
    for one, other in zip(found["cpu"], found["pretend"], strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)


def test_search_on_a_device_finds_what_it_finds_on_the_cpu(
    pretend: PretendDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_images(tmp_path / "images", 5, mixed=True)
    weights = tmp_path / "weights.safetensors"
    save_file(create_backbone("test_convnext").model.state_dict(), str(weights))
    embed(job(folder, tmp_path / "feats.npy", weights=str(weights)))
    query = write_images(tmp_path / "new", 6, mixed=True) / "005.png"
    asked = SearchOptions((str(query),), str(tmp_path / "feats.npy"), 5, device="cpu")
    ((_, wanted),) = search(asked).answers
    monkeypatch.setattr("dinocli.artifacts.feature_model.pick_device", lambda *_: pretend.device)
    pretend.forget()
    ((_, found),) = search(asked).answers
    assert [hit.name for hit in found] == [hit.name for hit in wanted]
    assert [hit.cosine for hit in found] == pytest.approx([hit.cosine for hit in wanted], abs=1e-4)
    assert sum(pretend.kernels.values()) > 20, "the query was embedded there"


@pytest.mark.slow
def test_whole_commands_leave_nothing_on_the_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.device.whole_commands", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert not done.returncode, done.stdout
    assert done.stdout.count("passed: ") > 40
