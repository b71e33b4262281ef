"""The public DINO and DINOv2 code beside ours, where checkouts are given by path; elsewhere these tests are skipped.

    git clone https://github.com/facebookresearch/dino && git clone https://github.com/facebookresearch/dinov2
    DINOCLI_DINO=./dino DINOCLI_DINOV2=./dinov2 pytest tests/parity

The largest difference of each comparison is listed at the end; docs/parity.md has the table.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

MEASURED: dict[str, float] = {}


def checkout(variable: str, file: str) -> Path:
    """The folder that an environment variable names, or a reason to skip."""
    folder = Path(os.environ.get(variable, "")).resolve()
    if not os.environ.get(variable):
        pytest.skip(f"set {variable} to a checkout of the public code")
    if not (folder / file).is_file():
        pytest.fail(f"{variable}={folder} holds no {file}")
    return folder


def imported(folder: Path, names: list[str]) -> Iterator[list[Any]]:
    """Import modules of a checkout, and forget them afterwards: they have names such as `utils`."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]


@pytest.fixture(scope="session")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The public DINO: `main_dino`, `utils` and `vision_transformer`, in a process group of one for its loss."""
    folder = checkout("DINOCLI_DINO", "main_dino.py")
    meeting = tmp_path_factory.mktemp("group") / "file"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    for modules in imported(folder, ["main_dino", "utils", "vision_transformer"]):
        yield SimpleNamespace(**{module.__name__: module for module in modules})
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def dinov2() -> Iterator[SimpleNamespace]:
    """The public DINOv2: `vits`, `losses`, `heads` and `schedules`, without xFormers."""
    folder = checkout("DINOCLI_DINOV2", "dinov2/models/vision_transformer.py")
    os.environ["XFORMERS_DISABLED"] = "1"
    names = ["models.vision_transformer", "loss", "layers.dino_head", "utils.utils"]
    for vits, losses, heads, schedules in imported(folder, [f"dinov2.{name}" for name in names]):
        yield SimpleNamespace(vits=vits, losses=losses, heads=heads, schedules=schedules)


@pytest.fixture
def near(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Assert that two tensors or lists differ by at most so much anywhere, and note by how much they do."""

    def check(theirs: Any, ours: Any, most: float, what: str = "") -> None:
        one, other = (torch.as_tensor(values, dtype=torch.float64).detach() for values in (theirs, ours))
        assert one.shape == other.shape
        assert one.numel()
        assert one.abs().max() > 0
        gap = float((one - other).abs().max())
        name = f"{request.node.name}{f' ({what})' if what else ''}"
        MEASURED[name] = max(gap, MEASURED.get(name, 0.0))
        assert gap <= most, f"{name}: {gap:.3g}"

    return check


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if MEASURED:
        terminalreporter.section("largest differences to the public code")
    for name, gap in MEASURED.items():
        terminalreporter.line(f"{gap:9.2g}  {name}")
