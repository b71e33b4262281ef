"""Alpha-BN mixes stored statistics with those of the user's images and changes nothing else."""

import copy

import torch
from torch import Tensor, nn

from dinocli.models.alpha_bn import ALPHA, PRIOR_IMAGES, adapt_statistics
from dinocli.models.create import create_backbone


def images(count: int = 4) -> Tensor:
    return 2 + 3 * torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def first_norm(backbone: nn.Module) -> nn.BatchNorm2d:
    return next(module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d))


def test_the_first_norm_gets_mean_and_variance_of_the_first_convolution_mixed_with_its_own() -> None:
    backbone = create_backbone("test_resnet")
    conv, norm = backbone.model.conv1[0], first_norm(backbone)
    assert norm.running_mean is not None
    norm.running_mean.fill_(7.0)
    with torch.no_grad():
        seen = conv(images())
    share = ALPHA / 2
    adapt_statistics(backbone, [images()], distinct=PRIOR_IMAGES)
    torch.testing.assert_close(norm.running_mean, (1 - share) * 7.0 + share * seen.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, (1 - share) * 1.0 + share * seen.var((0, 2, 3)))


def test_a_later_norm_sees_what_the_layers_before_it_give_with_their_new_statistics() -> None:
    backbone = create_backbone("test_resnet")
    first, second = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)][:2]
    for norm in (first, second):
        assert norm.running_mean is not None
        norm.running_mean.fill_(7.0)
    adapt_statistics(backbone, [images()], distinct=10**9)
    seen: list[Tensor] = []
    hook = second.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        backbone.eval()(images())
    hook.remove()
    assert second.running_mean is not None
    torch.testing.assert_close(second.running_mean, (1 - ALPHA) * 7.0 + ALPHA * seen[0].mean((0, 2, 3)))


def test_weight_of_new_statistics_grows_with_the_number_of_images() -> None:
    moved = {}
    for distinct in (1, 1_000_000):
        backbone = create_backbone("test_resnet")
        norm = first_norm(backbone)
        assert norm.running_mean is not None
        norm.running_mean.fill_(100.0)
        adapt_statistics(backbone, [images()], distinct)
        moved[distinct] = float((100.0 - norm.running_mean).mean()) / 100
    assert 0 < moved[1] < 0.05
    assert moved[1_000_000] > 0.9 * ALPHA


def test_equal_batches_give_what_one_large_batch_gives() -> None:
    whole, parts = create_backbone("test_efficientnet"), create_backbone("test_efficientnet")
    parts.load_state_dict(whole.state_dict())
    adapt_statistics(whole, [images(8)], 10**9)
    adapt_statistics(parts, [images(8)[:4], images(8)[4:]], 10**9)
    mean, other = first_norm(whole).running_mean, first_norm(parts).running_mean
    torch.testing.assert_close(mean, other)


def test_weights_modes_and_counters_stay_and_frozen_norms_are_adapted() -> None:
    backbone = create_backbone("test_efficientnet", drop_path=0.5)
    backbone.freeze_batch_norm()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    modes = [module.training for module in backbone.modules()]
    adapt_statistics(backbone, [images()], 100)
    changed = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if key.endswith(("running_mean", "running_var"))}
    assert modes == [module.training for module in backbone.modules()]


def test_a_network_without_batch_norm_and_a_folder_without_images_change_nothing() -> None:
    for name, distinct in (("test_convnext", 100), ("test_resnet", 0)):
        backbone = create_backbone(name)
        before = {key: value.clone() for key, value in backbone.state_dict().items()}
        adapt_statistics(backbone, [images()], distinct)
        assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_one_value_per_channel_does_not_change_the_variance() -> None:
    """A batch of one image, so small that the last maps have one pixel."""
    backbone = create_backbone("test_resnet").eval()
    small = nn.functional.interpolate(images(5), size=8)
    assert backbone.patch_tokens(small).shape[2:] == (1, 1)
    four = copy.deepcopy(backbone)
    adapt_statistics(backbone, [small[:4], small[4:]], 5)
    adapt_statistics(four, [small[:4]], 5)
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(value.isfinite().all() for value in backbone.buffers())
    *_, last = (module for module in four.modules() if isinstance(module, nn.BatchNorm2d))
    torch.testing.assert_close(norms[-1].running_var, last.running_var)
