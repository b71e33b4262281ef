import numpy as np
import torch

from dinocli.models.backbone import Backbone
from dinocli.models.create import create_backbone
from dinocli.models.features import extract


def _convnet() -> Backbone:
    torch.manual_seed(0)
    return create_backbone("resnet10t")


def test_equals_one_image_at_a_time() -> None:
    backbone = _convnet()
    batches = [torch.randn(n, 3, 64, 64) for n in (3, 1, 2)]
    found = extract(backbone, iter(batches), autocast=None)
    with torch.no_grad():
        expected = torch.cat([backbone.eval()(image[None]) for batch in batches for image in batch])
    assert found.dtype == np.float32
    assert found.shape == (6, 512)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_sizes_may_differ_between_batches() -> None:
    found = extract(create_backbone("vit_tiny_patch16_224"), [torch.randn(1, 3, s, s) for s in (32, 48)], autocast=None)
    assert found.shape == (2, 192)


def test_leaves_the_network_as_it_was() -> None:
    backbone = _convnet()
    backbone.model.layer1.eval()
    modes = [module.training for module in backbone.modules()]
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    extract(backbone, [torch.randn(2, 3, 64, 64)], autocast=None)
    assert [module.training for module in backbone.modules()] == modes
    assert True in modes
    assert False in modes
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


def test_autocast_computes_in_the_type_given() -> None:
    backbone = _convnet()
    batch = torch.randn(4, 3, 64, 64)
    full = extract(backbone, [batch], autocast=None)
    half = extract(backbone, [batch], autocast=torch.bfloat16)
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    assert np.abs(full - half).max() < 0.05 * np.abs(full).max()


def test_no_batch_gives_no_row() -> None:
    assert extract(_convnet(), [], autocast=None).shape == (0, 512)
