"""Networks with other channels than RGB: adapted, saved, loaded and refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import adapt_input_conv

from dinocli.config.preprocess import first_channels
from dinocli.errors import WeightsError
from dinocli.models.timm_folder import save_backbone
from dinocli.models.transformers_folder import write_transformers
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import plain_preprocess

NAME = "test_vit"  # and its first layer
FIRST = "patch_embed.proj.weight"


@pytest.fixture(scope="module")
def of_rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rgb") / "rgb.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(NAME).state_dict(), path)
    return path


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_the_first_convolution_of_rgb_becomes_what_timm_makes_of_it(of_rgb: Path, channels: int) -> None:
    wanted, _, _ = load_backbone(str(of_rgb), NAME)
    found, info, _ = load_backbone(str(of_rgb), NAME, in_chans=channels)
    own, others = found.model.state_dict(), wanted.model.state_dict()
    assert torch.equal(own.pop(FIRST), adapt_input_conv(channels, others.pop(FIRST)))
    assert all(torch.equal(own[key], others[key]) for key in others)
    assert (found.in_chans, info.model_args["in_chans"], info.matched) == (channels, channels, info.total)
    assert len(info.mean) == len(info.std) == channels
    with torch.no_grad():
        assert found.eval()(torch.rand(2, channels, 64, 64)).shape == (2, found.dim)


def test_three_channels_change_nothing(of_rgb: Path) -> None:
    plain, info, _ = load_backbone(str(of_rgb), NAME)
    asked, told, _ = load_backbone(str(of_rgb), NAME, in_chans=3)
    assert told == info
    assert "in_chans" not in info.model_args
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), asked.parameters(), strict=True))


def test_a_folder_of_many_channels_is_the_same_network_in_timm_and_here(of_rgb: Path, tmp_path: Path) -> None:
    backbone, info, _ = load_backbone(str(of_rgb), NAME, in_chans=5)
    about = replace(plain_preprocess(info), channels=first_channels(5))
    save_backbone(tmp_path / "five", backbone, info, about)
    again, found, stored = load_backbone(str(tmp_path / "five"))
    twin = timm.create_model(f"local-dir:{tmp_path / 'five'}", pretrained=True)
    images = torch.rand(2, 5, 160, 160)
    with torch.no_grad():
        wanted = backbone.eval()(images)
        assert torch.equal(again.eval()(images), wanted)
        assert torch.equal(twin.eval()(images), wanted)
    assert (found.mean, found.std) == (info.mean, info.std)
    assert stored == about.to_dict()
    assert timm.data.resolve_model_data_config(twin)["input_size"] == (5, 160, 160)


def test_weights_of_other_channels_than_are_read_are_refused_with_the_option(of_rgb: Path, tmp_path: Path) -> None:
    backbone, info, _ = load_backbone(str(of_rgb), NAME, in_chans=4)
    save_backbone(tmp_path / "four", backbone, info, plain_preprocess(info))
    save_file(backbone.model.state_dict(), tmp_path / "four.safetensors")
    message = "takes 4 channels, and {} are read: name 4, such as --channels 0,1,2,3$"
    for wanted in (3, 5):
        with pytest.raises(WeightsError, match=message.format(wanted)):
            load_backbone(str(tmp_path / "four"), in_chans=wanted)
        with pytest.raises(WeightsError, match=message.format(wanted)):
            load_backbone(str(tmp_path / "four.safetensors"), NAME, in_chans=wanted)
    same, _, _ = load_backbone(str(tmp_path / "four.safetensors"), NAME, in_chans=4)
    assert torch.equal(same.model.state_dict()[FIRST], backbone.model.state_dict()[FIRST])


def test_transformers_folders_are_rgb_only(of_rgb: Path, tmp_path: Path) -> None:
    backbone, info, _ = load_backbone(str(of_rgb), NAME, in_chans=4)
    with pytest.raises(WeightsError, match="processors read RGB, these weights 4 channels: use --format timm"):
        write_transformers(tmp_path / "out", backbone, plain_preprocess(info))
    assert not (tmp_path / "out").exists()
