import pytest
import torch
import torch.nn.functional as F

from dinocli.models.positions import resample_position


def test_equals_bicubic_without_antialias_written_out() -> None:
    position = torch.randn(1, 1 + 14 * 14, 8)
    patches = position[:, 1:].reshape(14, 14, 8).permute(2, 0, 1)[None]
    scale = ((6 + 0.1) / 14, (5 + 0.1) / 14)
    expected = F.interpolate(patches, scale_factor=scale, mode="bicubic", antialias=False)
    found = resample_position(position, (14, 14), (6, 5), prefix=1, antialias=False)
    assert found.shape == (1, 1 + 30, 8)
    assert torch.equal(found[:, 0], position[:, 0])
    assert torch.equal(found[0, 1:].T.reshape(8, 6, 5), expected[0])


def test_antialias_is_another_result() -> None:
    position = torch.randn(1, 37 * 37, 4)
    plain, smooth = (resample_position(position, (37, 37), (7, 7), prefix=0, antialias=a) for a in (False, True))
    assert smooth.std() < 0.6 * plain.std()  # averaging noise over 5x5 patches


def test_same_grid_is_the_same_tensor() -> None:
    position = torch.randn(1, 5, 3)
    assert resample_position(position, (2, 2), (2, 2), prefix=1, antialias=False) is position


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("side", [1, 6, 7, 13, 15, 28, 37, 64])
def test_constant_stays_constant_on_every_grid(side: int, antialias: bool) -> None:
    position = torch.full((1, 14 * 14, 2), 0.7)
    found = resample_position(position, (14, 14), (side, side + 1), prefix=0, antialias=antialias)
    torch.testing.assert_close(found, torch.full((1, side * (side + 1), 2), 0.7))


def test_gradient_reaches_every_position() -> None:
    position = torch.randn(1, 1 + 4 * 4, 2, requires_grad=True)
    resample_position(position, (4, 4), (8, 8), prefix=1, antialias=False).sum().backward()  # type: ignore[no-untyped-call]
    assert position.grad is not None
    assert (position.grad != 0).all()
