import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.engine import rare_features as module
from dinocli.engine.rare_features import RareFeatures, RareFit
from dinocli.engine.rare_parts import SCORE_WEIGHT, joined_parts, rare_share, with_scores
from dinocli.errors import WeightsError
from dinocli.models.create import create_backbone
from dinocli.models.rarity_maps import rarity_maps
from dinocli.quality.cosine import mean_cosine
from dinocli.quality.whitening import FLOOR, MEAN_WEIGHT

IMAGES = 14


def maps(images: int = IMAGES, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """Return pooled features, and maps with a large common part."""
    random = torch.Generator().manual_seed(seed)
    shapes = ((images, 7), (images, 5, 4, 4), (images, 6, 2, 2))
    pooled, fine, coarse = (2 + torch.randn(shape, generator=random) for shape in shapes)
    return pooled, {"fine": fine, "coarse": coarse}


def names(images: int = IMAGES) -> list[str]:
    return [f"./{number}.png" for number in range(images)]


def fitted(kind: str, batch: int = 5) -> tuple[RareFeatures, np.ndarray]:
    pooled, both = maps()
    fit = RareFit(kind)
    for first in range(0, IMAGES, batch):
        part = slice(first, first + batch)
        fit.add(pooled[part], {name: map_BDhw[part] for name, map_BDhw in both.items()}, names()[part])
    return fit.finish()


def test_the_feature_is_made_of_whitened_unit_parts_and_anomaly_scores() -> None:
    features, rows = fitted("pooled+rare")
    pooled, both = maps()
    numbers = torch.arange(IMAGES)
    share = features.share
    units = F.normalize(pooled, dim=1)
    assert share == pytest.approx(rare_share(mean_cosine(pooled.numpy())))
    rarity = {name: features.banks[name].rarity(both[name], numbers) for name in ("fine", "coarse")}
    rare = [F.normalize(features.banks[name].pool(both[name], rarity[name]), dim=1) for name in rarity]
    joined = torch.cat([(1 - share) ** 0.5 * units, *((share / 2) ** 0.5 * part for part in rare)], 1).double().numpy()
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), 1, rtol=1e-6)
    moments = np.cov(joined.T, ddof=0) + MEAN_WEIGHT * np.outer(joined.mean(0), joined.mean(0))
    energy, axes = np.linalg.eigh(moments / (FLOOR * joined.var(0).sum()))
    slow = joined @ (axes / np.sqrt(energy.clip(0) + 1)) @ axes.T
    slow /= np.linalg.norm(slow, axis=1, keepdims=True)
    scores = torch.stack([rarity_Bhw.flatten(1).max(1).values for rarity_Bhw in rarity.values()], 1).numpy()
    weighted = (SCORE_WEIGHT * share * (scores - scores.mean(0))).clip(-0.5, 0.5)
    slow = np.concatenate([slow, weighted], 1)
    slow /= np.linalg.norm(slow, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, slow, atol=1e-5)
    np.testing.assert_allclose(features.of_maps(pooled, both, numbers).numpy(), slow, atol=1e-5)


def test_rare_features_do_not_depend_on_batches() -> None:
    one, other = fitted("pooled+rare", batch=1), fitted("pooled+rare", batch=14)
    np.testing.assert_allclose(one[1], other[1], atol=1e-6)


def test_rare_alone_leaves_the_pooled_feature_out() -> None:
    features, rows = fitted("rare")
    assert rows.shape == (IMAGES, 5 + 6 + 2)
    pooled, both = maps()
    found = features.of_maps(torch.zeros_like(pooled), both, torch.arange(IMAGES))
    np.testing.assert_allclose(found.numpy(), rows, atol=1e-6)


def test_an_image_of_the_folder_is_known_by_its_name() -> None:
    features, rows = fitted("rare")
    pooled, both = maps()
    assert features.numbers(["./3.png", "./new.png", "./0.png"]).tolist() == [3, -1, 0]
    unknown = features.of_maps(pooled, both)
    assert np.abs(unknown.numpy() - rows).max() > 0.01  # with its own patches in the bank an image is not rare


def test_anomaly_scores_tell_images_with_one_unusual_patch() -> None:
    random = torch.Generator().manual_seed(0)
    usual_2D = torch.randn(2, 16, generator=random)
    kind_Bhw = torch.randint(2, (40, 4, 4), generator=random)
    map_BDhw = usual_2D[kind_Bhw].movedim(3, 1) + 0.05 * torch.randn(40, 16, 4, 4, generator=random)
    map_BDhw[::4, :, 1, 2] = torch.randn(10, 16, generator=random)
    fit = RareFit("rare")
    fit.add(torch.zeros(40, 7), {"fine": map_BDhw, "coarse": map_BDhw}, names(40))
    scores, defective = fit.finish()[1][:, -2:], np.arange(40) % 4 == 0
    assert scores[defective].min() > 0 > scores[~defective].max()


def test_scores_of_images_unlike_all_others_leave_most_to_their_content() -> None:
    content_BP = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.1, 0.0]]), dim=1)
    rows = with_scores(content_BP, torch.tensor([[1.9, 1.9], [1.9, 1.9], [0.4, 0.4]]), torch.tensor([0.4, 0.4]), 1.0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    assert rows[0] @ rows[1] < 0.5 < rows[0] @ rows[2]  # another odd image, and a usual one of the same content


def test_a_state_without_scores_gives_the_features_of_its_version(tmp_path: Path) -> None:
    features, rows = fitted("pooled+rare")
    older = replace(features, mean_F=torch.empty(0))
    from dinocli.quality.rarity_file import save_banks

    metadata = {"kind": "pooled+rare", "share": repr(features.share), "images": json.dumps(dict(features.images))}
    save_banks(tmp_path / "old.safetensors", features.banks, others=vars(features.whitening), metadata=metadata)
    again = RareFeatures.load(tmp_path / "old.safetensors")
    pooled, both = maps()
    found = again.of_maps(pooled, both, again.numbers(names()))
    assert again.width == older.width == found.shape[1] == rows.shape[1] - 2
    parts = rows[:, :-2] / np.linalg.norm(rows[:, :-2], axis=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), parts, atol=1e-6)


def test_similar_images_give_weight_to_rare_patches() -> None:
    random = torch.Generator().manual_seed(0)
    noise = F.normalize(torch.randn(200, 64, generator=random), dim=1)
    common = F.normalize(torch.randn(1, 64, generator=random), dim=1)
    mixed = [common * weight + noise * (1 - weight) for weight in (0.0, 0.3, 0.5, 0.7, 1.0)]
    shares = [rare_share(mean_cosine(images.numpy())) for images in mixed]
    assert shares == sorted(shares)
    assert shares[0] < 0.01
    assert shares[2] == pytest.approx(0.5, abs=0.05)  # mean cosine of one half
    assert 0.99 < shares[-1] < 1


def test_adapted_weights_keep_the_share_of_their_start() -> None:
    pooled, both = maps()
    fit = RareFit("pooled+rare", similarity_change=-0.2)
    fit.add(pooled, both, names())
    assert fit.finish()[0].share == pytest.approx(rare_share(mean_cosine(pooled.numpy()) + 0.2))


def test_the_pooled_part_of_rows_comes_back() -> None:
    features, rows = fitted("pooled+rare")
    pooled, _ = maps()
    found = features.pooled_part(torch.from_numpy(rows))
    torch.testing.assert_close(found, F.normalize(pooled, dim=1), rtol=0, atol=1e-5)
    assert fitted("rare")[0].pooled_part(torch.from_numpy(fitted("rare")[1])).shape == (IMAGES, 0)


def test_non_finite_rows_have_no_effect_on_others() -> None:
    pooled, both = maps()
    fit = RareFit("pooled+rare")
    fit.add(pooled, both, names())
    clean, rows = fit.finish()
    fit = RareFit("pooled+rare")
    fit.add(pooled, both, names())
    fit.add(pooled[:1] * torch.nan, {name: x[:1] * torch.nan for name, x in both.items()}, ["./broken.png"])
    spoiled, more = fit.finish()
    np.testing.assert_allclose(more[:-1], rows, atol=1e-6)
    assert np.isnan(more[-1]).all()
    assert spoiled.share == pytest.approx(clean.share)


def test_memory_of_the_fit_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled, both = maps()
    image_bytes = sum(x[0].nbytes for x in both.values())
    monkeypatch.setattr(module, "MIN_STORED", 5)
    for most, large, stored in ((3, 0, 3), (3, 4, 4), (3, 99, 5), (7, 99, 7), (0, 0, 2)):
        monkeypatch.setattr(module, "MAX_MAP_BYTES", most * image_bytes)
        monkeypatch.setattr(module, "MAX_LARGE_MAP_BYTES", large * image_bytes)
        for batch in (1, 2, IMAGES):  # also where the first batch is too large
            fit = RareFit("pooled+rare")
            for start in range(0, IMAGES, batch):
                part = slice(start, start + batch)
                fit.add(pooled[part], {name: x[part] for name, x in both.items()}, names()[part])
            features, rows = fit.finish()
            assert len(rows) == stored
            assert len(set(features.banks["fine"].image_M.tolist())) == IMAGES


def test_the_state_comes_back_from_its_file(tmp_path: Path) -> None:
    features, rows = fitted("pooled+rare")
    features.save(tmp_path / "a.safetensors")
    again = RareFeatures.load(tmp_path / "a.safetensors")
    pooled, both = maps()
    found = again.of_maps(pooled, both, again.numbers(names()))
    np.testing.assert_allclose(found.numpy(), rows, atol=1e-6)
    assert again.digest() == features.digest() != fitted("rare")[0].digest()
    from dinocli.quality.rarity_file import save_banks

    save_banks(tmp_path / "b.safetensors", features.banks)
    with pytest.raises(WeightsError, match="cannot be read as the state of a feature with rare patches"):
        RareFeatures.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: replace(whole, kind="pooled"),
        lambda whole: replace(whole, kind="rare"),
        lambda whole: replace(whole, mean_F=torch.zeros(7)),
        lambda whole: replace(whole, banks={"fine": whole.banks["fine"]}),
        lambda whole: replace(whole, whitening=replace(whole.whitening, axes_SP=whole.whitening.axes_SP[:, :5])),
        lambda whole: replace(whole, whitening=replace(whole.whitening, axes_SP=whole.whitening.axes_SP[:5])),
        lambda whole: replace(whole, whitening=replace(whole.whitening, scale_S=-whole.whitening.scale_S)),
    ],
)
def test_a_damaged_state_is_refused(tmp_path: Path, damage: Callable[[RareFeatures], RareFeatures]) -> None:
    features = damage(fitted("pooled+rare")[0])
    features.save(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"a\.safetensors cannot be read as the state"):
        RareFeatures.load(tmp_path / "a.safetensors")


@torch.inference_mode()
def test_half_precision_of_the_network_leaves_the_distances_alone() -> None:
    torch.manual_seed(0)
    backbone, x = create_backbone("test_vit").eval(), torch.randn(6, 3, 64, 64)
    fit = RareFit("rare")
    fit.add(*rarity_maps(backbone, x), names(6))
    features, _ = fit.finish()
    with torch.autocast("cpu", torch.bfloat16):
        half = features.compute(backbone, x)
        pooled, both = rarity_maps(backbone, x)
    whole = {name: map_BDhw.float() for name, map_BDhw in both.items()}
    torch.testing.assert_close(half, features.of_maps(pooled.float(), whole), rtol=0, atol=1e-6)
    assert joined_parts(features.banks, 1.0, pooled, whole)[0].dtype == torch.float32
