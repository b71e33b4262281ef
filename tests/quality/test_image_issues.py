import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dinocli.quality.image_issues import find_issues
from dinocli.quality.image_statistics import ImageStatistics, image_statistics, robust_scores

Picture = NDArray[np.uint8]


def photo(seed: int, level: float = 0.5, spread: float = 0.18, blur: float = 0.0) -> Picture:
    random = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(random.normal(size=(96, 128)), 6)
    sharp = random.normal(size=(96, 128)) * 0.15
    grey = level + spread * (soft / soft.std() + sharp)
    if blur:
        grey = ndimage.gaussian_filter(grey, blur)
    return np.repeat((grey.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


PHOTOS = [photo(seed) for seed in range(40)]
ODD = {
    "blank": np.full((96, 128, 3), 90, np.uint8),
    "dark": photo(50, 0.08, 0.04),
    "bright": photo(51, 0.93, 0.03),
    "blurred": photo(52, blur=5),
    "low_entropy": np.where(photo(53) > 127, 255, 0).astype(np.uint8),
}


def issues(pictures: list[Picture]) -> list[tuple[int, str]]:
    statistics = [image_statistics(picture) for picture in pictures]
    sizes = [picture.shape[:2] for picture in pictures]
    return [(issue.row, issue.kind) for issue in find_issues(statistics, sizes)]


@pytest.mark.parametrize("kind", ODD)
def test_images_with_issues_are_named(kind: str) -> None:
    assert (40, kind) in issues([*PHOTOS, ODD[kind]])


def test_usual_images_have_no_issue() -> None:
    assert issues(PHOTOS) == []


def test_no_issue_in_a_folder_of_similar_images() -> None:
    assert issues([photo(seed, 0.08, 0.04) for seed in range(20)]) == []
    assert issues([photo(seed, blur=5) for seed in range(20)]) == []
    faint = [np.where(photo(seed) > 127, 61, 60).astype(np.uint8) for seed in range(20)]
    assert issues(faint) == [], "low contrast is usual"


@pytest.mark.parametrize("blank", [1, 30, 100])
def test_images_of_one_value_are_blank_whatever_their_number(blank: int) -> None:
    found = issues([ODD["blank"]] * blank + PHOTOS + [ODD["dark"]])
    assert found == [*((row, "blank") for row in range(blank)), (blank + 40, "dark")]
    assert issues([ODD["blank"]] * blank) == [(row, "blank") for row in range(blank)]


def test_odd_sizes_and_unreadable_images() -> None:
    one = image_statistics(PHOTOS[0])
    sizes = [(100, 100 + number) for number in range(10)]
    found = find_issues([one] * 12 + [None], [*sizes, (100, 400), (1000, 1000), None])
    assert [(issue.row, issue.kind) for issue in found] == [
        (10, "odd_aspect"),
        (11, "odd_size"),
        (12, "unreadable"),
    ]
    assert found[0].value == 4
    assert find_issues([], []) == []


def test_frequent_portrait_images_are_no_issue() -> None:
    sizes = [(300, 400)] * 40 + [(400, 300)] * 8 + [(100, 400)]
    found = find_issues([image_statistics(PHOTOS[0])] * 49, sizes)
    assert [issue.row for issue in found if issue.kind == "odd_aspect"] == [48]


def test_image_statistics_by_hand() -> None:
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 255
    one: ImageStatistics = image_statistics(half)
    assert (one.mean, one.contrast, one.entropy, one.saturation) == (0.5, 0.5, 1.0, 0.0)
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert (image_statistics(red).saturation, image_statistics(red).red_green) == (1.0, 1.0)
    np.testing.assert_allclose(robust_scores(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))[4], 2 / 1.4826)
    assert robust_scores(np.ones(4)).tolist() == [0] * 4
