import numpy as np
import pytest
import torch
from torch import Tensor

from dinocli.errors import DataError
from dinocli.quality import rarity as module
from dinocli.quality.rarity import NOT_IN_BANK, BankBuilder, MemoryBank, nearest_distance

IMAGES, WIDTH, SIDE = 9, 5, 4


def maps(images: int = IMAGES, seed: int = 0) -> Tensor:
    """Return random maps whose channels differ in mean and scale."""
    values = torch.randn(images, WIDTH, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    scale = torch.tensor([1.0, 10, 0.1, 3, 1])[:, None, None]
    return values * scale + 2 * scale


def built(maps_BDhw: Tensor, size: int = 4096, batch: int = 4, order: str = "forward") -> MemoryBank:
    builder = BankBuilder(size)
    numbers = torch.arange(len(maps_BDhw)) if order == "forward" else torch.arange(len(maps_BDhw)).flip(0)
    for part in torch.split(numbers, batch):
        builder.add(maps_BDhw[part], part)
    return builder.finish()


def slow_rarity(maps_BDhw: Tensor, order: int = 3) -> np.ndarray:
    """Compute the definition patch by patch, with all patches in the bank."""
    grid = maps_BDhw.double().numpy()
    flat = grid.transpose(0, 2, 3, 1).reshape(-1, WIDTH)
    standard = (flat - flat.mean(0)) / flat.std(0)
    units = (standard / np.linalg.norm(standard, axis=1, keepdims=True)).reshape(len(grid), -1, WIDTH)
    found = np.empty(units.shape[:2])
    for image, patches in enumerate(units):
        others = np.delete(units, image, 0).reshape(-1, WIDTH)
        for place, patch in enumerate(patches):
            found[image, place] = np.sort(1 - others @ patch)[order - 1]
    return found.reshape(len(grid), SIDE, SIDE)


@pytest.mark.parametrize("order", [1, 3, 20])
def test_rarity_equals_the_slow_loop(order: int) -> None:
    x = maps()
    found = built(x).rarity(x, torch.arange(IMAGES), order)
    np.testing.assert_allclose(found.numpy(), slow_rarity(x, order), atol=2e-6)


def test_rarity_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    x, bank = maps(), built(maps())
    whole = bank.rarity(x, torch.arange(IMAGES))
    monkeypatch.setattr(module, "_BLOCK_VALUES", 2 * SIDE**2 * len(bank.patches_MD))
    torch.testing.assert_close(bank.rarity(x, torch.arange(IMAGES)), whole)


def test_patches_of_the_image_itself_do_not_count() -> None:
    x, bank = maps(), built(maps())
    assert bank.rarity(x, torch.arange(IMAGES), 1).min() > 1e-4
    assert bank.rarity(x, torch.full((IMAGES,), NOT_IN_BANK), 1).abs().max() < 1e-6
    torch.testing.assert_close(bank.rarity(x), bank.rarity(x, torch.full((IMAGES,), NOT_IN_BANK)))


def test_the_temperature_is_in_standard_deviations_of_the_rarity() -> None:
    x, bank = maps(), built(maps())
    rarity = slow_rarity(x)
    assert bank.spread.item() == pytest.approx(rarity.std(), rel=1e-4)
    logits = rarity.reshape(IMAGES, -1) / (0.7 * rarity.std())
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.einsum("bdp,bp->bd", x.flatten(2).numpy(), weights)
    found = bank.rarity(x, torch.arange(IMAGES))
    np.testing.assert_allclose(bank.pool(x, found).numpy(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bank.weights(found, 1e6), torch.full_like(found, 1 / SIDE**2), rtol=1e-4, atol=1e-4)


def test_a_rare_patch_gets_the_weight() -> None:
    base = torch.randn(1, WIDTH, 1, 1, generator=torch.Generator().manual_seed(1))
    x = base + 0.1 * maps(40, seed=2)
    x[7, :, 2, 1] -= 40
    bank = built(x)
    rarity = bank.rarity(x, torch.arange(40))
    assert rarity.flatten().argmax().item() == 7 * SIDE**2 + 2 * SIDE + 1
    weights = bank.weights(rarity)
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(40))
    assert weights[7, 2, 1] == weights[7].max()


def test_the_sample_depends_on_nothing_but_seed_and_images() -> None:
    x = maps(60)
    one, other = built(x, 100), built(x, 100, batch=7, order="backward")
    torch.testing.assert_close(one.patches_MD, other.patches_MD)
    assert one.image_M.equal(other.image_M)
    assert one.patches_MD.shape == (100, WIDTH)
    another = BankBuilder(100, seed=1)
    another.add(x, torch.arange(60))
    assert not another.finish().image_M.equal(one.image_M)


def test_every_patch_is_equally_likely_to_be_kept() -> None:
    counts = np.zeros(50)
    for seed in range(60):
        builder = BankBuilder(80, seed)
        for part in torch.split(torch.arange(50), 10):
            builder.add(torch.zeros(10, 1, 4, 4), part)
        counts += np.bincount(builder._image_M, minlength=50)
    assert counts.sum() == 60 * 80
    assert counts.std() < 2 * np.sqrt(60 * 80 / 50)  # about 10 for a binomial distribution
    assert abs(counts[:25].sum() - counts[25:].sum()) < 4 * np.sqrt(60 * 80)


def test_memory_does_not_grow_with_the_stream() -> None:
    builder = BankBuilder(50)
    for number in range(30):
        builder.add(maps(4, seed=number), torch.arange(4) + 4 * number)
        assert len(builder._raw_MD) <= 50
        assert builder._raw_MD.untyped_storage().nbytes() <= 50 * WIDTH * 4
    assert len(set(builder.finish().image_M.tolist())) > 10


def test_a_constant_channel_and_copies_give_numbers() -> None:
    x = maps()
    x[:, 1] = 7
    assert built(x).rarity(x, torch.arange(IMAGES)).isfinite().all()
    copies = maps(1).expand(6, -1, -1, -1)
    bank = built(copies)
    rarity = bank.rarity(copies, torch.arange(6))
    torch.testing.assert_close(rarity, torch.zeros(6, SIDE, SIDE), atol=1e-5, rtol=0)
    assert bank.pool(copies, rarity).isfinite().all()


def test_non_finite_patches_stay_out_of_the_bank() -> None:
    x = maps()
    broken = torch.cat([x, torch.full_like(x[:1], torch.nan)])
    torch.testing.assert_close(built(broken).patches_MD, built(x).patches_MD)


def test_grids_of_several_sizes_are_one_stream() -> None:
    builder = BankBuilder()
    builder.add(torch.randn(2, WIDTH, 3, 4), torch.arange(2))
    builder.add(torch.randn(2, WIDTH, 5, 2), torch.arange(2) + 2)
    bank = builder.finish()
    assert bank.rarity(torch.randn(1, WIDTH, 6, 3)).shape == (1, 6, 3)


def test_few_other_images_are_used() -> None:
    bank, image_M = torch.eye(4), torch.tensor([0, 0, 1, 1])
    patches_BPD = torch.tensor([[[1, 0, 0, 0], [0, 0, 1, 0]], [[0, 0, 0.6, 0.8], [1, 0, 0, 0]]])
    found = nearest_distance(patches_BPD, torch.tensor([0, 2]), bank, image_M, 3)
    torch.testing.assert_close(found, torch.tensor([[1.0, 1], [1, 1]]))
    second = nearest_distance(patches_BPD, torch.tensor([0, 2]), bank, image_M, 2)
    torch.testing.assert_close(second, torch.tensor([[1.0, 1], [0.4, 1]]))
    alone = nearest_distance(patches_BPD[:1], torch.tensor([0]), bank[:2], image_M[:2])
    assert alone.tolist() == [[2, 2]]


def test_one_image_is_refused() -> None:
    builder = BankBuilder()
    builder.add(maps(1), torch.tensor([0]))
    with pytest.raises(DataError, match="no others"):
        builder.finish()


def test_patches_of_nan_are_left_out_of_bank_and_mean() -> None:
    maps_BDhw = maps()
    part_BDhw = maps_BDhw[:, :, :, : maps_BDhw.shape[3] // 2]
    holed_BDhw = maps_BDhw.clone()
    holed_BDhw[:, :, :, maps_BDhw.shape[3] // 2 :] = torch.nan
    holed, part = built(holed_BDhw), built(part_BDhw)
    assert len(holed.patches_MD) == len(part.patches_MD)
    numbers = torch.arange(IMAGES)
    whole = part.pool(part_BDhw, part.rarity(part_BDhw, numbers))
    torch.testing.assert_close(holed.pool(holed_BDhw, holed.rarity(holed_BDhw, numbers)), whole)
