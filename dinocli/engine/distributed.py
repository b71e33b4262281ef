"""Process group of `torchrun`: collective operations, which are no-ops with one process.

Decisions to stop must be collective (`any_rank`): if one process leaves alone, the others hang.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from dinocli.cores import split_threads
from dinocli.engine.device import pick_device
from dinocli.engine.parent_process import LAUNCHER, end_with_launcher
from dinocli.errors import UsageError

T = TypeVar("T")

TIMEOUT = timedelta(hours=24)
"""Timeout of collectives: processes wait while the main one decodes a large folder, for which torch's default of ten
minutes is too short. A process that dies is detected by the launcher."""


@dataclass(frozen=True)
class World:
    """Rank and size of the process group.

    Args:
        rank: Rank of this process; only rank 0 writes files and reports.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def join(device: str) -> World:
    """Join the process group of `torchrun`, if the environment defines one.

    Args:
        device: `cpu` uses gloo; `cuda` NCCL, with gloo for CPU tensors.

    Raises:
        UsageError: The environment defines it only partly.
    """
    size = environment_number("WORLD_SIZE", 1)
    if size == 1:
        return World()
    for name in ("RANK", "MASTER_PORT"):
        environment_number(name, 0)
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing and not dist.is_initialized():
        raise UsageError(
            f"the environment has WORLD_SIZE={size} and no {', '.join(missing)}: unset it, or let torchrun set them all"
        )
    end_with_launcher()
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    return World(dist.get_rank(), size)


def environment_number(name: str, default: int) -> int:
    """Read an integer of `torchrun` from the environment.

    Args:
        name: Name of the environment variable.
        default: Value if the variable is unset or empty.

    Raises:
        UsageError: The value is not an integer of at least 0.
    """
    text = os.environ.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(
            f"the environment has {name}={text!r}, which is not a number: unset it, or let torchrun set it"
        )
    return int(text)


def open_world(device: str) -> tuple[World, torch.device]:
    """Choose the device of this process and join the process group."""
    chosen = pick_device(device, environment_number("LOCAL_RANK", 0))
    return join(chosen.type), chosen


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place, and return it."""
    if dist.is_initialized() and dist.get_world_size() > 1:  # gloo would copy it from a GPU and wait for it
        dist.all_reduce(tensor)
    return tensor


def any_rank(flag: bool) -> bool:
    """Return whether the flag is set in any process."""
    if not dist.is_initialized():
        return flag
    return bool(all_reduce_sum(torch.tensor(float(flag))).item() > 0)


def from_main(work: Callable[[], T]) -> T:
    """Run a function in the main process only and return its result in every process.

    An exception is raised in every process; otherwise the others would fail with other errors, and the launcher would
    report any of them.
    """
    if not dist.is_initialized():
        return work()
    result_and_error: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            result_and_error[0] = work()
        except Exception as error:
            result_and_error[1] = error
    dist.broadcast_object_list(result_and_error, src=0)
    result, failure = result_and_error
    if failure is not None:
        raise failure
    return cast(T, result)


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Broadcast tensors from the main process to all processes, in place."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def check_gpus(processes: int, device: str) -> None:
    """Raise `UsageError` if there are fewer GPUs than processes, before any process starts.

    Args:
        processes: Value of `--gpus`.
        device: Value of `--device`; `cpu` allows any number of processes.

    Raises:
        UsageError: There are fewer GPUs, or `--device` names a single one.
    """
    if device == "cpu":
        return
    count = torch.cuda.device_count()
    if device.startswith("cuda:"):
        raise UsageError(f"--gpus {processes} takes GPUs 0 to {processes - 1}: leave --device {device} out")
    if processes > count:
        raise UsageError(f"--gpus {processes}: torch sees {count} GPUs; use --gpus {max(count, 1)}, or --device cpu")


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `dinocli ARGUMENTS` in several processes on this machine with torch's elastic launcher.

    The launcher itself exits with 1 after any failure; this returns the exit code of the main process.

    Args:
        processes: Number of processes, one per GPU.
        arguments: Command line without the program name and without `--gpus`.

    Returns:
        Exit code of rank 0, or else of the first process that failed; 128 + number after a signal.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(os.getpid()),
        max_restarts=0,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
    )
    split_threads(os.environ, processes)
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        elastic_launch(config, sys.executable)("-m", "dinocli", *arguments)
    except ChildFailedError as error:
        failure = error.failures.get(0) or error.get_first_failure()[1]
        return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
    except SignalException as ended:
        return 128 + int(ended.sigval)
    return 0


def main_first(work: Callable[[], T]) -> T:
    """Run a function in the main process first, then in the others, which find its downloads and caches."""
    if not dist.is_initialized():
        return work()
    done: list[T] = []
    from_main(lambda: done.append(work()))
    return done[0] if done else work()
