"""The patch distance against a loop over positions."""

import pytest
import torch

from dinocli.dino.distillation import patch_distance


def maps(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_patches_are_compared_place_by_place_on_the_coarser_grid() -> None:
    student, teacher = maps(2, 5, 4, 6, seed=0), maps(2, 5, 2, 3, seed=1)
    slow = []
    for image in range(2):
        for row in range(2):
            for column in range(3):
                cell = student[image, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean(dim=(1, 2))
                slow.append(1 - float(torch.cosine_similarity(cell, teacher[image, :, row, column], dim=0)))
    assert float(patch_distance(student, teacher)) == pytest.approx(sum(slow) / len(slow), rel=1e-5)
    assert float(patch_distance(teacher, student)) == pytest.approx(sum(slow) / len(slow), rel=1e-5)


def test_the_scale_of_a_patch_does_not_count_and_its_direction_does() -> None:
    one = maps(2, 5, 3, 3, seed=2)
    assert float(patch_distance(one, 4 * one)) == pytest.approx(0, abs=1e-6)
    assert float(patch_distance(one, -one)) == pytest.approx(2, abs=1e-6)
