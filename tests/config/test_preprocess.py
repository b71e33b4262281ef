import json
from dataclasses import FrozenInstanceError

import pytest

from dinocli.config.preprocess import PAGES, Preprocess, parse_channels
from dinocli.errors import UsageError, WeightsError

RECORD = Preprocess(
    range_policy="percentile",
    range_low=12.5,
    range_high=4095.0,
    deep=True,
    grey=False,
    channels=(2, 0, 1),
    page=3,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    size=224,
)


def test_preprocess_survives_json() -> None:
    back = Preprocess.from_dict(json.loads(json.dumps(RECORD.to_dict())))
    assert back == RECORD
    assert back.channels == (2, 0, 1), "a tuple again, not a list"


def test_keys_of_later_versions_are_left_out_and_missing_ones_are_an_error() -> None:
    data = RECORD.to_dict() | {"gamma": 2.2}
    assert Preprocess.from_dict(data) == RECORD
    del data["mean"]
    with pytest.raises(WeightsError, match="mean"):
        Preprocess.from_dict(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("size", value) for value in (0, -1, 10**9, 10**400, "224", 224.5, True, None, [224])],
        *[("std", value) for value in ([0.2, 0.2], [0.2, 0.2, 0.0], [0.2, 0.2, float("nan")], "abc", [1, 1, "1"])],
        *[("channels", value) for value in ([-1], [1.5], [None], "0", {"0": 1})],
        *[("range_low", value) for value in (float("inf"), 1e9, None)],
        ("deep", 1),
    ],
)
def test_a_record_that_no_image_can_be_read_by_is_refused(key: str, value: object) -> None:
    with pytest.raises(WeightsError, match="the stored preprocessing cannot be read") as caught:
        Preprocess.from_dict(RECORD.to_dict() | {key: value})
    assert len(str(caught.value)) < 400


def test_preprocess_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        RECORD.size = 96  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0,)),
        ("0,2, 3", (0, 2, 3)),
        ("page", PAGES),
        ("C:DAPI,GFP,2", ("C:DAPI", "GFP", 2)),
    ],
)
def test_channels_are_numbers_names_or_pages(text: str, expected: tuple[int | str, ...]) -> None:
    assert parse_channels(text) == expected


@pytest.mark.parametrize("text", ["", "0,,1", "-1", "0,page", "page,page"])
def test_invalid_channels_are_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="--channels"):
        parse_channels(text)
