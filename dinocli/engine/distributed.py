"""Several processes, as started by `torchrun`. With one process every function here is a no-op.

Stop decisions have to be collective (`any_rank`): a process that leaves on its own hangs the others.
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
from dinocli.errors import UsageError

T = TypeVar("T")

PATIENCE = timedelta(hours=24)
"""How long processes wait for the main one while it decodes a large folder. torch's own ten minutes would end the run;
one that dies is noticed by the launcher, not by waiting."""


@dataclass(frozen=True)
class World:
    """Rank and size of the process group.

    Args:
        rank: Rank of this process; only rank 0 writes files and reports.
        size: Number of processes.
        local_rank: Rank on this machine; also the index of the GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def join(device: str) -> World:
    """Join the process group that `torchrun` announced in the environment, if it did.

    Args:
        device: `cpu` uses gloo, `cuda` NCCL with gloo for what lies on the CPU.

    Raises:
        UsageError: The environment announces only a part of it, as a batch system or an old shell may.
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
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    return World(dist.get_rank(), size, environment_number("LOCAL_RANK", 0))


def environment_number(name: str, usual: int) -> int:
    """Read one of the numbers that `torchrun` hands over.

    Args:
        name: Of the environment variable.
        usual: Value if the variable is unset or empty.

    Raises:
        UsageError: The value is not an integer of at least 0.
    """
    text = os.environ.get(name, "").strip() or str(usual)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"the environment has {name}={text!r}, which is no number: unset it, or let torchrun set it")
    return int(text)


def open_world(device: str) -> tuple[World, torch.device]:
    """Pick the device of this process and join the other processes."""
    chosen = pick_device(device, environment_number("LOCAL_RANK", 0))
    return join(chosen.type), chosen


def leave() -> None:
    """Leave the process group; harmless where there is none."""
    if dist.is_initialized():
        dist.destroy_process_group()


def add_up(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place, and return it."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def any_rank(flag: bool) -> bool:
    """Say whether the flag is set in any process."""
    if not dist.is_initialized():
        return flag
    return bool(add_up(torch.tensor(float(flag))).item() > 0)


def from_main(work: Callable[[], T]) -> T:
    """Do some work in the main process alone and return its result in every process.

    An error is raised in every process. Otherwise the others fail with different errors, and the launcher reports any
    of them.
    """
    if not dist.is_initialized():
        return work()
    box: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            box[0] = work()
        except Exception as error:
            box[1] = error
    dist.broadcast_object_list(box, src=0)
    result, failure = box
    if failure is not None:
        raise failure
    return cast(T, result)


def spread(tensors: Iterable[Tensor]) -> None:
    """Give tensors the main process's values in every process, in place."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def check_gpus(processes: int, device: str) -> None:
    """Refuse more processes than there are GPUs, before any of them starts.

    Args:
        processes: Of `--gpus`.
        device: Of `--device`; `cpu` takes any number of them.

    Raises:
        UsageError: There are fewer, or one of them is named for all processes.
    """
    if device == "cpu":
        return
    count = torch.cuda.device_count()
    if device.startswith("cuda:"):
        raise UsageError(f"--gpus {processes} takes GPUs 0 to {processes - 1}: leave --device {device} out")
    if processes > count:
        raise UsageError(f"--gpus {processes}: torch sees {count} GPUs; use --gpus {max(count, 1)}, or --device cpu")


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `dinocli ARGUMENTS` in several processes of this machine with torch's own elastic launcher.

    The launcher itself always exits with 1 after a failure; this returns the main process's exit code.

    Args:
        processes: One per GPU.
        arguments: The command line without the program's name and without `--gpus`.

    Returns:
        Exit code of rank 0, or of the first that failed; 128 and its number after a signal, which all have got.
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
    try:
        elastic_launch(config, sys.executable)("-m", "dinocli", *arguments)
    except ChildFailedError as error:
        failure = error.failures.get(0) or error.get_first_failure()[1]
        return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
    except SignalException as ended:
        return 128 + int(ended.sigval)
    return 0


def main_first(work: Callable[[], T]) -> T:
    """Run work in the main process first, so that the others find what it downloaded or cached."""
    if not dist.is_initialized():
        return work()
    done: list[T] = []
    from_main(lambda: done.append(work()))
    return done[0] if done else work()
