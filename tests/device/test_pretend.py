"""The pretend device refuses and counts what a GPU would."""

import pytest
import torch
import torch.nn.functional as F

from tests.device.pretend import DeviceTensor, PretendDevice


def test_its_arithmetic_is_the_cpus(pretend: PretendDevice) -> None:
    layer, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
    layer(x).square().sum().backward()
    wanted = layer.weight.grad
    layer.zero_grad()
    layer.to(pretend.device)
    assert layer.weight.device == pretend.device
    layer(x.to(pretend.device)).square().sum().backward()
    assert wanted is not None
    assert isinstance(layer.weight.grad, DeviceTensor)
    torch.testing.assert_close(layer.weight.grad.held, wanted)


def test_mixed_devices_are_refused(pretend: PretendDevice) -> None:
    there = torch.ones(3, device=pretend.device)
    with pytest.raises(RuntimeError, match="on the same device"):
        there + torch.ones(3)
    assert (there + torch.tensor(1.0)).sum().item() == 6  # a single value of the host is a number


def test_copies_and_waits_are_told_apart(pretend: PretendDevice) -> None:
    there = torch.ones(3).to(pretend.device, non_blocking=True)
    assert (sum(pretend.copies.values()), sum(pretend.waits.values())) == (1, 0)
    torch.ones(3).to(pretend.device)
    torch.tensor([1.0], device=pretend.device)
    assert (sum(pretend.copies.values()), sum(pretend.waits.values())) == (3, 2)
    for read in (
        lambda: there.sum().item(),
        lambda: bool(there.any()),
        lambda: there.cpu(),
        lambda: there.nonzero(),
        lambda: there[there > 0],
        lambda: there[torch.tensor([1])],
    ):
        pretend.forget()
        read()
        assert pretend.waits, read


def test_kernels_are_counted_and_views_are_none(pretend: PretendDevice) -> None:
    there = torch.ones(2, 3, device=pretend.device)
    pretend.forget()
    there.view(3, 2).mT[1:].unsqueeze(0)
    assert not pretend.kernels
    there.mul_(2).add(1)
    assert sum(pretend.kernels.values()) == 2


def test_a_list_of_tensors_is_one_kernel_only_if_they_agree(pretend: PretendDevice) -> None:
    lists = [[torch.ones(size, device=pretend.device) for size in (2, 3)] for _ in range(2)]
    scalars = [torch.ones((), device=pretend.device) for _ in range(2)]
    pretend.forget()
    torch._foreach_mul_(lists[0], lists[1])
    assert sum(pretend.kernels.values()) == 1
    pretend.forget()
    torch._foreach_mul_(lists[0], scalars)
    assert sum(pretend.kernels.values()) == 2


def test_attention_is_one_kernel_and_autocast_casts(pretend: PretendDevice) -> None:
    q = torch.randn(1, 2, 5, 4, device=pretend.device)
    pretend.forget()
    with torch.autocast(pretend.device.type, torch.bfloat16):
        assert F.scaled_dot_product_attention(q, q, q).dtype == torch.bfloat16
    assert pretend.kernels == {"_to_copy": 3, "_scaled_dot_product_fused_attention_overrideable": 1}
