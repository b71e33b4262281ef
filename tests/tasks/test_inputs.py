from dataclasses import replace
from typing import Any

import pytest

from dinocli.config.load import load_recipe
from dinocli.errors import UsageError
from dinocli.models.weights_info import WeightsInfo
from dinocli.tasks.inputs import ImageOptions, ReadOptions
from dinocli.tasks.train.train_options import TrainOptions

INFO = WeightsInfo(
    name="vit_small_patch16_224.dino",
    source="./dino.pth",
    sha256="0123456789abcdef" * 4,
    licence="apache-2.0",
    matched=150,
    total=150,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    size=224,
    pretrained=True,
    pool="cls",
    model_args={},
)


def test_the_start_is_described_with_its_licence_and_hash() -> None:
    assert INFO.describe() == (
        "vit_small_patch16_224.dino from ./dino.pth: 150 of 150 tensors, sha256 0123456789ab, licence apache-2.0"
    )
    assert replace(INFO, source=INFO.name).describe().startswith("vit_small_patch16_224.dino: 150 of 150")
    fresh = replace(INFO, pretrained=False)
    assert fresh.describe() == "vit_small_patch16_224.dino from scratch, random weights"


def test_a_model_that_timm_builds_otherwise_by_that_name_says_how() -> None:
    changed = replace(INFO, name="vit_small_patch16_dinov3", model_args={"global_pool": "token"})
    assert changed.describe().startswith("vit_small_patch16_dinov3 (global_pool=token) from ")


def test_names_of_a_run_hold_where_the_user_gave_none() -> None:
    stored = {"naming": {"include": ["*.png"], "exclude": ["masks"], "root": "/data", "window": 512}}
    assert ReadOptions().naming(stored) == stored["naming"]
    assert ReadOptions(exclude=("b",)).naming(stored)["exclude"] == ("b",)
    assert ReadOptions().naming({}) == {"include": (), "exclude": (), "root": "", "window": 0}


@pytest.mark.parametrize("found", [[], iter(())])
def test_an_empty_list_of_inputs_does_not_mean_the_newest_run(found: Any) -> None:
    with pytest.raises(UsageError, match="inputs is an empty list"):
        ImageOptions(found)
    assert ImageOptions().inputs == ()


@pytest.mark.parametrize("max_bad", ["0.3", "101%", "many"])
def test_max_bad_and_range_are_checked_before_any_image_is_read(max_bad: str) -> None:
    with pytest.raises(UsageError, match=f"--max-bad '{max_bad}' is not known; use a percentage"):
        ReadOptions(max_bad=max_bad)
    with pytest.raises(UsageError, match="--range 'wide'"):
        ReadOptions(range="wide")


@pytest.mark.parametrize("name", ["cache", "max_bad", "range", "roi"])
def test_settings_of_reading_are_checked_before_weights_are_loaded(name: str) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} '?foo'?"):
        TrainOptions(("images",), load_recipe((), (f"data.{name}=foo",)))
