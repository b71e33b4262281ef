"""Every feature format, read back by dinocli and by the format's usual library."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dinocli.artifacts import feature_formats
from dinocli.artifacts.feature_file import FEATURE_SUFFIXES, open_features
from dinocli.artifacts.feature_formats import check_free
from dinocli.errors import UsageError, WeightsError
from dinocli.tasks.embed.embed import embed
from tests.tasks.embed.drive import job, write_images

NAMES = ['a, "b".png', "z=1.png", "ü.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("formats") / "images", 3)
    for path, name in zip(sorted(folder.iterdir()), NAMES, strict=True):
        path.rename(folder / name)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The features as `.npy`, by their type."""
    home = tmp_path_factory.mktemp("plain")
    for dtype in ("float32", "float16"):
        (home / dtype).mkdir()
        embed(job(folder, home / dtype / "plain.npy", dtype=dtype))
    return {dtype: home / dtype / "plain.npy" for dtype in ("float32", "float16")}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("suffix", FEATURE_SUFFIXES)
def test_all_formats_hold_the_same(
    folder: Path, plain: dict[str, Path], tmp_path: Path, suffix: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_formats, "BLOCK_BYTES", 300)  # two or one rows a block
    embed(job(folder, tmp_path / f"feats{suffix}", dtype=dtype))
    expected, found = open_features(plain[dtype]), open_features(tmp_path / f"feats{suffix}")
    np.testing.assert_array_equal(found.rows.astype(dtype), expected.rows)
    assert expected.rows.dtype == dtype
    assert found.names == expected.names == [f"./{name}" for name in NAMES]
    assert found.meta["n"] == 3
    assert (tmp_path / "feats.paths.txt").read_text() == "".join(f"{name}\n" for name in expected.names)


def test_pandas_pyarrow_numpy_and_safetensors_read_every_format(
    folder: Path, plain: dict[str, Path], tmp_path: Path
) -> None:
    import pandas  # not in each process that collects tests
    from pyarrow import parquet

    rows = np.load(plain["float32"], mmap_mode="r")
    for suffix in FEATURE_SUFFIXES[1:]:
        embed(job(folder, tmp_path / f"{suffix[1:]}{suffix}"))
    names = [f"./{name}" for name in NAMES]
    table = pandas.read_csv(tmp_path / "csv.csv", index_col="path")
    assert list(table.index) == names
    np.testing.assert_array_equal(table.to_numpy(np.float32), rows)
    with np.load(tmp_path / "npz.npz") as arrays:
        np.testing.assert_array_equal(arrays["features"], rows)
        assert arrays["paths"].tolist() == names
    np.testing.assert_array_equal(load_file(tmp_path / "safetensors.safetensors")["features"], rows)
    columns = parquet.read_table(tmp_path / "parquet.parquet").to_pydict()
    assert columns["path"] == names
    np.testing.assert_array_equal(np.array(columns["features"], np.float32), rows)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_patch_tokens_are_one_array(folder: Path, tmp_path: Path, suffix: str) -> None:
    embed(job(folder, tmp_path / f"feats{suffix}", kind="patch", size=96))
    found = open_features(tmp_path / f"feats{suffix}")
    assert found.rows.shape == (3, 3, 3, 64)
    assert found.meta["shape"] == [3, 3, 3, 64]
    embed(job(folder, tmp_path / "mean.npy", kind="mean", size=96))
    np.testing.assert_allclose(found.rows.mean((1, 2)), np.load(tmp_path / "mean.npy"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", ["\ufeff./a.png\r\n./b.png\r\n", "./a.png\n./b.png"])
def test_names_that_an_editor_has_saved(tmp_path: Path, text: str) -> None:
    np.save(tmp_path / "f.npy", np.ones((2, 3), np.float32))
    (tmp_path / "f.paths.txt").write_text(text, encoding="utf-8", newline="")
    assert open_features(tmp_path / "f.npy").names == ["./a.png", "./b.png"]


def test_a_text_file_named_npy_gets_no_advice_to_trust_it(tmp_path: Path) -> None:
    (tmp_path / "f.npy").write_text("1 2 3\n")
    with pytest.raises(WeightsError) as caught:
        open_features(tmp_path / "f.npy")
    assert "trust" not in str(caught.value)


def test_force_replaces_no_description_of_another_file(tmp_path: Path) -> None:
    for name in ("f.npy", "f.json"):
        (tmp_path / name).write_text("{}")
    check_free(tmp_path / "f.npy", force=True)
    with pytest.raises(UsageError, match=r"f\.npy already exists and f\.json describes it"):
        check_free(tmp_path / "f.csv", force=True)
    (tmp_path / "f.csv").write_text("path,cluster\n")  # by `cluster f.npy --out f.csv`
    check_free(tmp_path / "f.npy", force=True)


def test_an_array_that_is_an_image_is_refused_with_the_way_to_read_it(tmp_path: Path) -> None:
    np.save(tmp_path / "five.npy", np.zeros((64, 72, 5), np.float32))
    with pytest.raises(WeightsError, match=r"shape \(64, 72, 5\), no features: .* give its folder, or a list"):
        open_features(tmp_path / "five.npy")
