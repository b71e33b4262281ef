from itertools import combinations

from dinocli.quality.compared_pairs import implied_pairs, nearest_first


def test_the_nearest_pair_of_each_image_comes_first() -> None:
    pairs = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
    assert [pairs[place] for place in nearest_first(pairs)][:3] == [(0, 1), (0, 2), (0, 3)]
    assert nearest_first([]) == []


def test_a_clump_does_not_come_before_the_pairs_of_other_images() -> None:
    clump = list(combinations(range(40), 2))
    others = [(100 + 2 * number, 101 + 2 * number) for number in range(20)]
    order = nearest_first([*clump, *others])
    assert sorted(order) == list(range(len(clump) + len(others)))
    first = {[*clump, *others][place] for place in order[:60]}
    assert first >= set(others)
    assert {row for pair in first for row in pair} >= set(range(40))


def test_other_pairs_agree_with_those_that_were_compared() -> None:
    compared = [(0, 1), (1, 2), (3, 4), (4, 5)]
    rest = [(0, 2), (3, 5), (0, 3), (0, 9)]
    assert implied_pairs(rest, compared, compared[:2]) == [True, False, False, True]
    assert implied_pairs(rest, compared, compared[:1]) == [False, False, False, False]
    assert implied_pairs([], [], []) == []
