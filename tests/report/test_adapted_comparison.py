"""Pictures and groups of two networks, from synthetic features and a real run's report."""

import io

import numpy as np
from PIL import Image

from dinocli.report.adapted_comparison import Sides, _colours, group_table
from dinocli.report.neighbour_pictures import _lead, nearest_places
from dinocli.report.sheet import sheet_png


def test_neighbours_are_the_nearest_without_the_image_itself() -> None:
    features = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    for place, found in zip((3, 17), nearest_places(features, [3, 17], 5), strict=True):
        by_hand = sorted((i for i in range(40) if i != place), key=lambda i: -float(units[i] @ units[place]))
        assert found == by_hand[:5]


def test_the_share_of_neighbours_with_the_label_is_computed_by_hand() -> None:
    start, adapted = [[1, 2], [0, 2], [1, 0], [0, 1]], [[1, 3], [0, 2], [3, 1], [2, 0]]
    words = _lead([start, adapted], ["cat", "cat", "dog", ""], 2)
    assert "2 nearest neighbours of 3 labelled images, 33.3 %" in words
    assert words.endswith("by the start weights, 33.3 % by the adapted weights.")
    assert _lead([start, adapted], ["cat", "cat", "", ""], 2) == "", "one label alone says nothing"
    assert _lead([start, adapted], [""] * 4, 2) == ""


def test_colours_are_one_fit_for_both_networks() -> None:
    """The same patch gets the same colour on both sides, and another one another."""
    random = np.random.default_rng(0)
    start = random.standard_normal((2, 4, 4, 12)).astype(np.float32)
    adapted = start.copy()
    adapted[0] = start[0, ::-1]
    one, other = _colours(start, adapted)
    assert np.array_equal(one[1], other[1])
    assert np.array_equal(one[0], other[0][::-1])
    assert not np.array_equal(one[0], other[0])
    assert len(np.unique(one[0].reshape(-1, 3), axis=0)) == 16, "a patch, a colour"
    flat = _colours(np.ones((1, 2, 2, 5), np.float32), np.ones((1, 2, 2, 5), np.float32))
    assert not flat[0][0].any(), "nothing differs, nothing is shown"


def test_stable_groups_agree_and_changed_ones_do_not() -> None:
    random = np.random.default_rng(0)
    centres = 10 * random.standard_normal((3, 16))
    labels = np.arange(60) % 3
    clear = (centres[labels] + random.standard_normal((60, 16))).astype(np.float32)
    moved = (centres[labels[random.permutation(60)]] + random.standard_normal((60, 16))).astype(np.float32)
    table = group_table(Sides([*range(60)], clear, moved), seed=0)
    (_, start, adapted), (_, largest, _), (_, agree, _) = table.rows
    assert start == adapted == 1.0
    assert largest == 1 / 3
    assert float(agree) < 0.3
    same = group_table(Sides([*range(60)], clear, clear), seed=0)
    assert same.rows[2][1] == 1.0


def test_a_sheet_is_a_picture() -> None:
    black = np.zeros((20, 10, 3), np.uint8)
    image = Image.open(io.BytesIO(sheet_png([[black, black]], column_labels=["a", "b"], row_labels=["x"], cell=32)))
    assert image.width > 64
