# mypy: disable-error-code="no-untyped-call"
"""How much memory a training step takes: measured in three small steps, a straight line for every other batch size."""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dinocli.data.loader import Batch, Loader
from dinocli.data.memory_budget import free_memory
from dinocli.data.resident import free_bytes
from dinocli.engine.build import set_stage
from dinocli.engine.step import Learner, train_step

FEW, MORE = 2, 6
"""Images of the measured steps: what they differ by grows with the batch, the rest does not."""

GROWTH = {"cuda": 1.15, "cpu": 1.4}
"""What a process grows by for each byte in tensors: gaps of the allocator, memory of the kernels. Measured on a CPU,
where freed memory is kept: 1.2 to 1.45; on a GPU it is reasoned."""

HEADROOM = 0.85
"""Share of the free memory that a run may plan with."""

MOST_PER_PIXEL = 32 << 10
"""Bytes that a step takes for each pixel of its views, rounded far up. Measured: 1.1 kB for an EfficientNet-Lite0, 0.5
kB for a ViT-Ti; 34 values a token, width and block (Korthikanti et al. 2022) make 30 kB for a ViT-g."""


class LiveBytes(TorchDispatchMode):
    """Counts, inside a `with` block, the bytes of tensors that were made there and are still held.

    The counts are those of the computation, the same on every run: what a process grows by depends on its past.

    Attributes:
        now: Bytes held.
        peak: Most bytes held at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._storages: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view and not func._schema.is_mutable:  # else it is memory that was there already
            for value in (found,) if isinstance(found, Tensor) else tree_leaves(found):
                if isinstance(value, Tensor):
                    self._add(value.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return

        def gone(_: Any) -> None:
            self.now -= size
            del self._storages[key]

        self._storages[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


@dataclass(frozen=True)
class StepMemory:
    """Memory of a step beside the networks, bytes.

    Args:
        fixed: Of gradients and the optimizer's state, whatever the batch is.
        per_image: Of the activations and views of an image.
        usable: Of the device, for tensors.
    """

    fixed: float
    per_image: float
    usable: float

    def of(self, images: int) -> int:
        """Return the memory of a step with this many images at once."""
        return int(self.fixed + images * self.per_image)

    def fits(self, parts: int = 1) -> int:
        """Return the largest batch that fits, 0 for none.

        Args:
            parts: Processes and slices that a batch is cut into; each has to fit.

        Returns:
            `parts` times a power of two, or one and a half times it: a little more or less free memory rarely makes
            another batch.
        """
        images: float = (self.usable - self.fixed) / self.per_image
        if images < 1:
            return 0
        power: int = 2 ** math.floor(math.log2(images))
        return parts * (3 * power // 2 if power >= FEW and 3 * power <= 2 * images else power)


def usable_bytes(device: torch.device, processes: int = 1) -> float:
    """Return what tensors may take of a device's free memory; infinite where that cannot be known.

    Args:
        device: Where.
        processes: Of this machine; on a CPU they share its memory.
    """
    free = free_bytes(device) if device.type == "cuda" else (free_memory() or math.inf) / processes
    return free * HEADROOM / GROWTH[device.type]


def measure_step_memory(learner: Learner, loader: Loader, usable: float) -> StepMemory:
    """Take small steps with a learner that is thrown away.

    Args:
        learner: Before its first step, of one process and one slice a step.
        loader: Gives the images; its batch size is `FEW`.
        usable: Of `usable_bytes`, before the learner was built.
    """
    set_stage(learner, backbone_learns=True)
    ((few,),) = loader.steps(0, 1)
    many = _repeated(few, MORE // FEW)
    first, _ = _peak(learner, few, 0)  # the optimizer's state comes into being, and stays
    (gradients, small), (_, large) = (_peak(learner, batch, step) for step, batch in enumerate((few, many), 1))
    per_image = max(1.0, (large - small) / (MORE - FEW))
    return StepMemory(max(0.0, first - gradients + small - FEW * per_image), per_image, usable)


def _repeated(batch: Batch, times: int) -> Batch:
    pixels, sizes = batch.pixels_BCHW, batch.sizes_B2
    return Batch(pixels.repeat(times, 1, 1, 1), sizes.repeat(times, 1), batch.start, batch.rows * times)


def _peak(learner: Learner, batch: Batch, step: int) -> tuple[int, int]:
    """Return the bytes that a step leaves behind, and the most that it held."""
    device, learner.batch_size = learner.precision.device, len(batch.rows)
    if device.type != "cuda":
        with LiveBytes() as live:
            train_step(learner, [batch], step)
        return live.now, live.peak
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    train_step(learner, [batch], step)
    return torch.cuda.memory_allocated(device) - before, torch.cuda.max_memory_allocated(device) - before
