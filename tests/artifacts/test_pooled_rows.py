import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dinocli.artifacts.feature_file import open_features
from dinocli.errors import WeightsError
from dinocli.models.create import create_backbone
from dinocli.quality.cosine import unit_rows
from dinocli.tasks.cluster.cluster import cluster
from dinocli.tasks.cluster.cluster_inputs import members_of, open_members
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.cluster.drifted_batch import drift_of, open_batch
from dinocli.tasks.embed.embed import embed
from dinocli.tasks.evaluate.evaluate import evaluate
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from tests.tasks.drive import Ears
from tests.tasks.embed.drive import job, write_images

KINDS = {"pooled": "pooled", "both": "pooled+rare", "rare": "rare"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder embedded in three ways, another one like two of them, and a picture that is there twice."""
    home = tmp_path_factory.mktemp("pooled_rows")
    torch.manual_seed(0)
    save_file(create_backbone("test_convnext").model.state_dict(), home / "w.safetensors")
    folder = write_images(home / "images", 12)
    (folder / "011.png").write_bytes((folder / "000.png").read_bytes() + b"\0")
    new = write_images(home / "new", 6)
    for name, kind in KINDS.items():
        embed(job(folder, home / f"{name}.npy", kind, weights=str(home / "w.safetensors"), size=64))
        own: dict[str, Any] = {"weights": "", "model": "", "size": 0, "like": str(home / f"{name}.npy")}
        embed(job(new, home / f"{name}_new.npy", **own))
    return home


def test_the_pooled_features_of_the_rows_come_back(home: Path) -> None:
    rows = unit_rows(np.array(open_features(home / "pooled.npy").rows))
    np.testing.assert_allclose(open_features(home / "both.npy").pooled_ND, rows, atol=1e-5)
    new = unit_rows(np.array(open_features(home / "pooled_new.npy").rows))
    np.testing.assert_allclose(open_features(home / "both_new.npy").pooled_ND, new, atol=1e-5)


def test_rows_without_a_pooled_part_stay(home: Path) -> None:
    for name in ("pooled", "rare"):
        file = open_features(home / f"{name}.npy")
        assert file.pooled_ND is file.rows


def test_a_missing_state_is_reported(home: Path, tmp_path: Path) -> None:
    for ending in ("npy", "json", "paths.txt"):
        (tmp_path / f"both.{ending}").write_bytes((home / f"both.{ending}").read_bytes())
    file, reporter = open_features(tmp_path / "both.npy"), Ears()
    assert members_of(file, reporter).pooled_ND is file.rows
    assert "both.rare.safetensors is missing" in reporter.warnings[0]


def test_copies_odd_images_and_drift_are_judged_on_pooled_features(home: Path, tmp_path: Path) -> None:
    found = []
    for name in ("pooled", "both"):
        out, file = tmp_path / f"{name}.csv", str(home / f"{name}.npy")
        options = ClusterOptions((file,), str(out), k=2, report="none", checks=False, select=4)
        cluster(options, Ears())
        with out.open(newline="") as table:
            scores = [float(row["outlier"]) for row in csv.DictReader(table)]
        selected = (tmp_path / f"{name}.selected.txt").read_text()
        pairs = (tmp_path / f"{name}.duplicates.csv").read_text().splitlines()[1:]
        members = open_members(options, Ears(), None)
        drift = drift_of(open_batch(home / f"{name}_new.npy", members, Ears()), members, [], Ears()).features
        found.append((scores, [drift.accuracy, drift.mmd], [line.split(",")[:2] for line in pairs], selected))
    pooled, both = found
    np.testing.assert_allclose(pooled[0], both[0], atol=1e-2)
    np.testing.assert_allclose(pooled[1], both[1], atol=1e-3)
    assert pooled[2:] == both[2:]
    assert ["./000.png", "./011.png"] in pooled[2]


def test_near_duplicates_and_verdict_are_of_pooled_features(home: Path) -> None:
    kept = ("near_duplicates", "crop_quadrant_retrieval", "alignment")
    found = []
    for name in ("pooled", "both"):
        table = evaluate(EvaluateOptions((str(home / f"{name}.npy"),), views=1, device="cpu")).table
        found.append({row.key: row.value for row in table if row.key in kept})
    assert found[0]["near_duplicates"] == pytest.approx(2 / 12)
    assert set(found[0]) == set(kept)
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_comparison_of_different_tokens_is_reported(home: Path) -> None:
    reporter = Ears()
    options = EvaluateOptions((str(home / "both.npy"),), baseline=str(home / "pooled.npy"), views=0)
    evaluate(options, reporter)
    assert any("made with different --tokens pooled+rare and pooled" in line for line in reporter.warnings)


def test_a_damaged_state_is_an_error(home: Path, tmp_path: Path) -> None:
    for ending in ("npy", "json", "paths.txt"):
        (tmp_path / f"both.{ending}").write_bytes((home / f"both.{ending}").read_bytes())
    (tmp_path / "both.rare.safetensors").write_bytes(b"torn")
    with pytest.raises(WeightsError, match="embed the folder again"):
        members_of(open_features(tmp_path / "both.npy"), Ears())
