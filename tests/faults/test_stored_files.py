"""Damaged and malicious files of dinocli: a command works or prints one line, never an internal error.

`DINOCLI_MUTANTS=20` multiplies the number of damaged copies; all are the same in every run.
"""

import json
import math
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dinocli.artifacts.feature_file import open_features, sidecar
from dinocli.artifacts.feature_formats import WRITERS
from dinocli.artifacts.mask_folder import MaskFolder
from dinocli.artifacts.partial_features import PartialFeatures
from dinocli.artifacts.run_folder import RunFolder, add_output, latest_run
from dinocli.artifacts.segment_journal import SegmentJournal
from dinocli.config.load import load_recipe
from dinocli.config.preprocess import Preprocess
from dinocli.errors import DinocliError, WeightsError
from dinocli.models.create import create_backbone
from dinocli.models.formats import read_tensors
from dinocli.models.timm_folder import save_backbone
from dinocli.models.weights import load_backbone
from dinocli.segmentation.regions import ImageRecord, RegionRecord
from tests.faults.mutants import WHOLE, of_bytes, of_json
from tests.networks import TWO_BLOCKS

TIMES = int(os.environ.get("DINOCLI_MUTANTS", "1"))
ABOUT = Preprocess("full", 0.0, 1.0, False, True, (), 0, (0.5,) * 3, (0.2,) * 3, 64)
WEIGHTS = {"source": "./w.pth", "name": "test_vit", "sha256": "0" * 64, "licence": "unknown", "pool": "cls"}


def tried(path: Path, mutants: Iterable[bytes], use: Callable[[], object]) -> tuple[int, int]:
    """Use a file in every damaged form; return how often it worked, and how often it was refused in one line."""
    worked = refused = longest = 0
    for number, data in enumerate(mutants):
        path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                use()
            worked += 1
        except DinocliError as error:
            refused += 1
            longest = max(longest, len(str(error)))
        except Exception as error:
            kept = path.with_name(f"failed-{number}-{path.name}")
            kept.write_bytes(data)
            pytest.fail(f"{path.name}, mutant {number}: {type(error).__name__}: {error}; {data[:300]!r}")
    assert longest < 2_000
    return worked, refused


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """A feature file with all its neighbours."""
    path = tmp_path / "feats.npy"
    np.save(path, np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32))
    sidecar(path, ".paths.txt").write_text("./a.png\n./b.png\n./c/d.png\n")
    sidecar(path, ".tiles.csv").write_text("left,top,width,height\n" + "0,0,8,8\n" * 3)
    meta = {
        **{"schema": 1, "kind": "features", "n": 3, "dim": 8, "shape": [3, 8], "images": 3, "bad": 0},
        **{"tokens": "pooled", "layers": 1, "normalized": False, "tile": "", "shard": "", "run": ""},
        **{"weights": WEIGHTS, "preprocess": ABOUT.to_dict(), "root": str(tmp_path), "images_per_second": 9.5},
        "request": {"tokens": "pooled"},
    }
    sidecar(path, ".json").write_text(json.dumps(meta))
    return path


def used(path: Path) -> None:
    """Do with a feature file what commands do."""
    file = open_features(path)
    file.flat()
    file.preprocess()
    [file.image(row) for row in range(len(file))]
    assert len(file.names) == len(file.rows)
    assert np.isfinite(np.nan_to_num(file.rows)).all()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", ".safetensors"])
def test_damaged_features_are_refused_in_one_line(suffix: str, features: Path) -> None:
    file = open_features(features)
    rows, names = np.array(file.rows), list(file.names)
    path = features.with_suffix(suffix)
    if suffix != ".npy":
        features.unlink()
        with path.open("wb") as out:
            WRITERS[suffix](out, rows, lambda: iter(names))
        used(path)
    worked, refused = tried(path, [*of_bytes(path.read_bytes(), 60 * TIMES, 1), *WHOLE], lambda: used(path))
    assert refused > 20
    assert worked + refused == 60 * TIMES + len(WHOLE)


@pytest.mark.parametrize("suffix", [".json", ".paths.txt", ".tiles.csv"])
def test_damaged_files_beside_features_are_refused_in_one_line(suffix: str, features: Path) -> None:
    path = sidecar(features, suffix)
    whole = path.read_bytes()
    mutants = [*of_bytes(whole, 60 * TIMES, 2), *WHOLE]
    mutants += of_json(whole, 150 * TIMES, 3) if suffix == ".json" else []
    worked, refused = tried(path, mutants, lambda: used(features))
    assert worked > 0
    assert refused > 20


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run that `runs/latest` names."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(tmp_path / "runs" / "a")
    folder.path.mkdir(parents=True)
    (tmp_path / "runs" / "latest").write_text(f"{folder.path}\n")
    line = {"name": "RankMe", "start": 1.0, "adapted": 2.0}
    outcome = {"verdict": {"keep": "start", "outcome": "worse", "reason": "r"}, "scores": [line], "labelled": [line]}
    folder.write({
        **{"status": "finished", "inputs": ["/images"], "root": "/images", "inputs_hash": "0", "images_listed": 3},
        **{"naming": {"include": ["*.png"], "exclude": [], "root": ""}, "images": 3, "bad": 0},
        **{"request": {"recipe": {}, "minutes": 0.0}, "recipe": {"description": "x"}, "preprocess": ABOUT.to_dict()},
        **{"weights": WEIGHTS, "outputs": [{"kind": "features", "path": "/f.npy"}], "outcome": outcome},
    })  # fmt: skip
    return folder


def used_run() -> None:
    """Do with the newest run what commands do."""
    folder = latest_run()
    manifest = folder.read()
    [Path(output["path"]).is_file() for output in manifest["outputs"] if output["kind"] == "features"]
    [Path(name).exists() for name in (*manifest["inputs"], manifest["root"], manifest["weights"]["source"])]
    Preprocess.from_dict(manifest["preprocess"])
    if manifest["outcome"]:
        [float(line["start"] or 0) for line in manifest["outcome"]["scores"]]
    add_output(folder, "features", Path("b.npy"))


def test_damaged_run_files_are_refused_in_one_line(run: RunFolder) -> None:
    whole = run.manifest.read_bytes()
    mutants = [*of_bytes(whole, 60 * TIMES, 4), *of_json(whole, 150 * TIMES, 5), *WHOLE]
    worked, refused = tried(run.manifest, mutants, used_run)
    assert worked > 3
    assert refused > 50
    run.manifest.write_bytes(whole)
    latest = Path("runs/latest")
    tried(latest, [*of_bytes(latest.read_bytes(), 60 * TIMES, 6), *WHOLE, b"a\0b", b"x" * 10**6], used_run)


def test_a_damaged_config_of_timm_is_refused_in_one_line(tmp_path: Path) -> None:
    backbone, info, _ = load_backbone("none", TWO_BLOCKS)
    save_backbone(tmp_path / "b", backbone, info, ABOUT)
    path = tmp_path / "b" / "config.json"
    whole = json.loads(path.read_text()) | {"model_args": {"global_pool": "token", "img_size": 64}}
    whole["pretrained_cfg"]["input_size"] = [3, 64, 64]
    text = json.dumps(whole).encode()
    mutants = [*of_bytes(text, 15 * TIMES, 7), *of_json(text, 40 * TIMES, 8), *WHOLE]
    _, refused = tried(path, mutants, lambda: load_backbone(str(tmp_path / "b")))
    assert refused > 20


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_weights_are_refused_in_one_line(suffix: str, tmp_path: Path) -> None:
    tensors = create_backbone(TWO_BLOCKS).model.state_dict()
    path = tmp_path / f"w{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save({"teacher": tensors}, path)
    mutants = [*of_bytes(path.read_bytes(), 20 * TIMES, 9), *WHOLE]
    _, refused = tried(path, mutants, lambda: load_backbone(str(path), TWO_BLOCKS))
    assert refused > 10


ODD_TENSORS: dict[str, Any] = {
    "scalar": torch.tensor(1.0),
    "flat": torch.ones(7),
    "empty": torch.empty(0),
    "complex": torch.ones(1, 17, 64, dtype=torch.complex64),
    "integers": torch.ones(64, 3, 16, 16, dtype=torch.int8),
    "sparse": torch.ones(64, 3, 16, 16).to_sparse(),
    "six axes": torch.ones(1, 1, 1, 1, 1, 1),
    "not a number": torch.full((1, 17, 64), float("nan")),
    "a word": "abc",
    "nothing": None,
}


@pytest.mark.parametrize("key", ["pos_embed", "patch_embed.proj.weight", "cls_token", "register_tokens"])
def test_tensors_of_other_kinds_are_refused_in_one_line(key: str, tmp_path: Path) -> None:
    """Of all of them only weights that are not numbers fit; nothing guesses a model from the rest."""
    tensors, path = create_backbone(TWO_BLOCKS).model.state_dict(), tmp_path / "w.pth"
    for number, odd in enumerate(ODD_TENSORS.values()):
        torch.save(tensors | {key: odd}, path)
        name = TWO_BLOCKS if number % 2 else ""
        tried(path, [path.read_bytes()], lambda name=name: load_backbone(str(path), name))  # type: ignore[misc]


def test_a_checkpoint_that_holds_itself_ends(tmp_path: Path) -> None:
    circle: dict[str, Any] = {}
    circle["model"] = circle
    torch.save(circle, tmp_path / "circle.pth")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_tensors(tmp_path / "circle.pth")


def test_damaged_recipes_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    whole = b'extends = ["gentle"]\n[run]\nsteps = 20\n[views]\nblur = [0.5, 0.1, 0.3]\n[optim]\nlr = 1e-4\n'
    odd = [
        f"[run]\nsteps = {value}\n".encode()
        for value in ("true", "9" * 5000, "0x" + "f" * 5000, "-1", "1e999", "nan", "{}")
    ]
    odd += [
        b"a = " + b"[" * 50_000,
        b"a." * 2_000 + b"b = 1",
        b"[" + b"a." * 5_000 + b"b]\nc = 1",
        b"x = '" + b"y" * 10_000_000 + b"'",
    ]
    worked, refused = tried(path, [*of_bytes(whole, 100 * TIMES, 10), *WHOLE, *odd], lambda: load_recipe([str(path)]))
    assert worked > 5
    assert refused > 40
    with pytest.raises(DinocliError, match=r"run\.steps = True: write a number"):
        load_recipe(settings=["run.steps=true"])


def test_damaged_journals_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocli.journal.COMMIT_SECONDS", math.inf)
    request = {"tokens": "pooled"}

    def parts(resume: bool) -> PartialFeatures:
        return PartialFeatures(tmp_path / "f.npy", request, (2,), "float32", resume=resume)

    part = parts(resume=False)
    part.add([np.ones(2, np.float32)], [(0, 0, 1, 1)], 1, [("./b.png", "broken")])
    part.commit()
    part.close()
    whole = part.journal.path.read_bytes()
    head, line = whole.splitlines()
    mutants = [
        *of_bytes(whole, 60 * TIMES, 11),
        *(head + b"\n" + bad + b"\n" for bad in of_json(line, 60 * TIMES, 12)),
        *WHOLE,
    ]
    tried(part.journal.path, mutants, lambda: parts(resume=True).close())

    region = RegionRecord(1, 4, (0, 0, 2, 2), 0.5)
    record = ImageRecord("./a.png", "masks/a.png", 4, 4, 0.5, "", {"iou": 0.5}, [region])
    folder = MaskFolder(tmp_path / "masks")
    folder.begin()
    log = SegmentJournal(folder, request, resume=False)
    log.add(0, record)
    log.add_bad(1, "./b.png", "broken")
    whole = folder.journal.read_bytes()
    head, line, _ = whole.splitlines()
    mutants = [
        *of_bytes(whole, 60 * TIMES, 13),
        *(head + b"\n" + bad + b"\n" for bad in of_json(line, 60 * TIMES, 14)),
        *WHOLE,
    ]
    tried(folder.journal, mutants, lambda: [*SegmentJournal(folder, request, resume=True)])
