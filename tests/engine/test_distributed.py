"""Helpers for several processes; `tests/tasks/test_resume.py` compares whole runs."""

import pytest
import torch
import torch.distributed as dist

from dinocli.engine.distributed import (
    World,
    all_reduce_sum,
    any_rank,
    check_gpus,
    from_main,
    join,
    leave,
    main_first,
    open_world,
)
from dinocli.errors import UsageError


def test_a_single_process_needs_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = join("cpu")
    assert world == World(rank=0, size=1)
    assert world.is_main
    assert not dist.is_initialized()
    tensor = torch.arange(3.0)
    assert all_reduce_sum(tensor) is tensor
    assert torch.equal(tensor, torch.arange(3.0))
    assert (any_rank(True), any_rank(False)) == (True, False)
    assert from_main(lambda: "word") == main_first(lambda: "word") == "word"
    leave()


def test_only_the_first_process_is_the_main_one() -> None:
    assert [World(rank, 3).is_main for rank in range(3)] == [True, False, False]


def test_error_names_missing_variables_of_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    for name in ("RANK", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="WORLD_SIZE=4 and no RANK, MASTER_PORT: unset it"):
        open_world("cpu")


@pytest.mark.parametrize(
    ("name", "value"), [("LOCAL_RANK", "abc"), ("WORLD_SIZE", "-1"), ("RANK", "1.5"), ("MASTER_PORT", "9" * 20)]
)
def test_error_names_variables_that_are_not_numbers(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1" if name == "LOCAL_RANK" else "2")
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"the environment has {name}='{value}', which is not a number"):
        open_world("cpu")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("auto", "--gpus 4: torch sees 2 GPUs; use --gpus 2, or --device cpu"),
        ("cuda", "--gpus 4: torch sees 2 GPUs"),
        ("cuda:1", "--gpus 4 takes GPUs 0 to 3: leave --device cuda:1 out"),
    ],
)
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, device: str, words: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=words):
        check_gpus(4, device)
    check_gpus(4, "cpu")
    if device != "cuda:1":
        check_gpus(2, device)
