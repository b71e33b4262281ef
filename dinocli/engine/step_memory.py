# mypy: disable-error-code="no-untyped-call"
"""Memory of a training step, measured in three small steps and extrapolated linearly to other batch sizes."""

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

SMALL_BATCH, LARGE_BATCH = 2, 6
"""Images of the measured steps: their difference gives the memory per image."""

PROCESS_OVERHEAD = {"cuda": 1.15, "cpu": 1.4}
"""Memory of the process per byte of tensors: fragmentation of the allocator and workspaces of kernels. Measured on a
CPU, where freed memory is kept: 1.2 to 1.45; estimated on a GPU."""

USABLE_SHARE = 0.85
"""Share of the free memory that a run may use."""

BATCHES_IN_MEMORY = 3
"""Batches of decoded images at the same time: one in use, one queued and one in progress (`Loader.steps`)."""

MAX_BYTES_PER_PIXEL = 32 << 10
"""Upper bound of the memory of a step per pixel of its views. Measured: 1.1 kB for an EfficientNet-Lite0, 0.5 kB for a
ViT-Ti; 34 values per token, width and block (Korthikanti et al. 2022) give 30 kB for a ViT-g."""


class LiveBytes(TorchDispatchMode):
    """Counts the live bytes of the tensors created within a `with` block.

    The counts are deterministic, unlike the memory of the process, which depends on its history.

    Attributes:
        now: Live bytes.
        peak: Maximum of the live bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._storages: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if not func.is_view and not func._schema.is_mutable:  # views and in-place operations allocate nothing
            for value in (output,) if isinstance(output, Tensor) else tree_leaves(output):
                if isinstance(value, Tensor):
                    self._add(value.untyped_storage())
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return

        def freed(_: Any) -> None:
            self.now -= size
            del self._storages[key]

        self._storages[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


@dataclass(frozen=True)
class StepMemory:
    """Memory of a step in addition to the networks, bytes.

    Args:
        fixed: Memory of gradients and optimizer state, independent of the batch size.
        per_image: Memory of the activations and views of an image.
        usable: Memory that tensors may take on the device.
        canvas: Memory of a decoded image in a batch.
    """

    fixed: float
    per_image: float
    usable: float
    canvas: float = 0.0

    def bytes_for(self, images: int, slices: int = 1) -> int:
        """Return the memory of a step.

        Args:
            images: Number of images at once: those of one slice.
            slices: Number of slices of a step. Their decoded images are in memory together.
        """
        return int(self.fixed + images * self._per_image_at_once(slices))

    def fits(self, processes: int, slices: int = 1) -> int:
        """Return the largest batch size that fits; 0 if none does.

        Args:
            processes: Number of processes that share a batch.
            slices: Number of slices per process.

        Returns:
            `processes` x `slices` times a power of two, or 1.5 times that: small changes of the free memory rarely
            change it.
        """
        parts = processes * slices
        images: float = (self.usable - self.fixed) / self._per_image_at_once(slices)
        if images < 1:
            return 0
        power: int = 2 ** math.floor(math.log2(images))
        return parts * (3 * power // 2 if power >= SMALL_BATCH and 3 * power <= 2 * images else power)

    def _per_image_at_once(self, slices: int) -> float:
        return self.per_image + slices * BATCHES_IN_MEMORY * self.canvas


def usable_bytes(device: torch.device, processes: int) -> float:
    """Return the memory that tensors may take on a device; infinite if the free memory is unknown.

    Args:
        device: Device of the run.
        processes: Number of processes on this machine, which share the memory of a CPU.
    """
    free = free_bytes(device) if device.type == "cuda" else (free_memory() or math.inf) / processes
    return free * USABLE_SHARE / PROCESS_OVERHEAD[device.type]


def upper_bound(learner: Learner, loader: Loader, images: int, slices: int = 1) -> float:
    """Return an upper bound of the memory of a step, bytes, from one step of `SMALL_BATCH` images.

    That step allocates at least its activations, the gradients and, at its end, the optimizer state.

    Args:
        learner: As for `measure_step_memory`.
        loader: As for `measure_step_memory`.
        images: Number of images at once.
        slices: Number of slices of a step.
    """
    set_stage(learner, backbone_learns=True)
    ((small_batch,),) = loader.steps(0, 1)
    canvases = images * slices * BATCHES_IN_MEMORY * _canvas_bytes(small_batch)
    return _peak(learner, small_batch, 0)[1] * (1 + max(1.0, images / SMALL_BATCH)) + canvases


def measure_step_memory(learner: Learner, loader: Loader, usable: float) -> StepMemory:
    """Measure the memory of a step with a temporary learner.

    Args:
        learner: Before its first step, for one process and one slice per step.
        loader: Source of the images, with a batch size of `SMALL_BATCH`.
        usable: Result of `usable_bytes` before the learner was built.
    """
    set_stage(learner, backbone_learns=True)
    ((small_batch,),) = loader.steps(0, 1)
    large_batch = _repeated(small_batch, LARGE_BATCH // SMALL_BATCH)
    first, _ = _peak(learner, small_batch, 0)  # allocates the optimizer state, which stays
    (gradients, small), (_, large) = (
        _peak(learner, batch, step) for step, batch in enumerate((small_batch, large_batch), 1)
    )
    per_image = max(1.0, (large - small) / (LARGE_BATCH - SMALL_BATCH))
    fixed = max(0.0, first - gradients + small - SMALL_BATCH * per_image)
    return StepMemory(fixed, per_image, usable, _canvas_bytes(small_batch))


def _canvas_bytes(batch: Batch) -> float:
    return batch.pixels_BCHW.nbytes / len(batch.rows)


def _repeated(batch: Batch, times: int) -> Batch:
    pixels, sizes = batch.pixels_BCHW, batch.sizes_B2
    return Batch(pixels.repeat(times, 1, 1, 1), sizes.repeat(times, 1), batch.start, batch.rows * times)


def _peak(learner: Learner, batch: Batch, step: int) -> tuple[int, int]:
    """Return the bytes that a step leaves allocated, and its peak."""
    device, learner.batch_size = learner.precision.device, len(batch.rows)
    if device.type != "cuda":
        with LiveBytes() as live:
            train_step(learner, [batch], step)
        return live.now, live.peak
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    train_step(learner, [batch], step)
    return torch.cuda.memory_allocated(device) - before, torch.cuda.max_memory_allocated(device) - before
