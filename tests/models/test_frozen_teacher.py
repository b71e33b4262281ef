"""A frozen teacher gets views in its own normalisation and size, stays fixed, and gives centred cosines."""

import pytest
import torch
import torch.nn.functional as F

from dinocli.models.create import create_backbone
from dinocli.models.frozen_teacher import FrozenTeacher, TeacherWeights, licence_of
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import WeightsInfo

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def loaded(name: str = "test_convnext") -> TeacherWeights:
    torch.manual_seed(0)
    backbone, info, _ = load_backbone("none", name)
    return TeacherWeights(backbone, info)


def teacher(name: str = "test_convnext", prototypes: int = 5) -> FrozenTeacher:
    return FrozenTeacher(loaded(name), prototypes, MEAN, STD)


def pixels(side: int = 32) -> torch.Tensor:
    return torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(1))


def normalised(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@torch.no_grad()
def test_views_of_the_student_are_seen_as_the_teacher_was_trained() -> None:
    frozen, source = teacher(), loaded()
    expected = source.backbone.eval()(normalised(pixels(), source.info.mean, source.info.std))
    seen = frozen([normalised(pixels(), MEAN, STD)], 2)
    torch.testing.assert_close(seen.features_ND, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(source.backbone(normalised(pixels(), MEAN, STD)), expected, atol=1e-3)


@torch.no_grad()
def test_scores_are_cosines_of_what_the_folder_does_not_share() -> None:
    frozen = teacher()
    frozen.feature_mean.copy_(torch.linspace(-1, 1, frozen.backbone.dim))
    frozen.patch_mean.copy_(torch.linspace(0, 2, frozen.backbone.map_dim))
    seen = frozen([pixels(64)], 2, patches=True)
    features, maps = frozen.raw(pixels(64), patches=True)
    assert maps is not None
    assert seen.projected_NThw is not None
    centred = F.normalize(features - frozen.feature_mean, dim=-1)
    scores = centred @ F.normalize(frozen.prototypes.direction, dim=-1).T
    torch.testing.assert_close(seen.logits_VBK, scores.view(2, 2, 5))
    torch.testing.assert_close(seen.bottleneck_NC, centred)
    torch.testing.assert_close(seen.projected_NThw, maps - frozen.patch_mean.view(-1, 1, 1))
    assert frozen([pixels()], 2).projected_NThw is None


@pytest.mark.parametrize(("side", "own"), [(32, 32), (44, 48), (35, 32)])
def test_a_vision_transformer_gets_whole_patches(side: int, own: int) -> None:
    frozen = teacher("test_vit")
    sizes: list[int] = []
    frozen.backbone.model.patch_embed.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[-1]))
    frozen([pixels(side)], 2)
    assert sizes == [own]


def test_it_never_learns_and_never_leaves_eval_mode() -> None:
    frozen = teacher("test_efficientnet").train()
    assert not any(part.training for part in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    frozen([pixels()], 2)
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())


def test_fitted_state_round_trip_without_the_backbone() -> None:
    one, other = teacher(), teacher()
    one.feature_mean.add_(1.5)
    other.prototypes.direction.mul_(2)
    fitted = one.fitted()
    assert sorted(fitted) == ["feature_mean", "patch_mean", "prototypes.direction"]
    other.restore(fitted)
    assert torch.equal(other.feature_mean, one.feature_mean)
    assert torch.equal(other.prototypes.direction, one.prototypes.direction)
    with pytest.raises(KeyError):
        other.restore({})


@pytest.mark.parametrize(
    ("pretrained", "student", "licence"),
    [
        (False, "unknown", "cc-by-nc-4.0"),
        (True, "mit", "mit; teacher: cc-by-nc-4.0"),
        (True, "cc-by-nc-4.0", "cc-by-nc-4.0"),
    ],
)
def test_the_licence_of_the_teacher_is_kept(pretrained: bool, student: str, licence: str) -> None:
    def info(pretrained: bool, licence: str) -> WeightsInfo:
        backbone = create_backbone("test_convnext")
        sides = (0.5, 0.5, 0.5)
        return WeightsInfo(backbone.name, "", "", licence, 1, 1, sides, sides, 32, pretrained, "timm", {})

    assert licence_of(info(pretrained, student), info(True, "cc-by-nc-4.0")) == licence
