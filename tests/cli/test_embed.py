"""`dinocli embed` as a shell sees it."""

import io
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.artifacts.default_features import newest_features
from dinocli.artifacts.feature_file import open_features
from dinocli.cli.embed import next_commands, search_command
from tests.cli.commands import RANDOM, Result, Shot, in_process, make_images, start_warm, warm
from tests.cli.test_exit_codes import refused
from tests.cli.test_processes import two
from tests.networks import FOUR_BLOCKS

SMALL = (*RANDOM, "--size", "32")


def test_left_out_arguments_are_those_of_the_newest_run(
    finished: Result, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = home / finished.out.strip()
    done = warm("embed", "--out", "feats.npy", "--device", "cpu", cwd=home)
    assert (done.code, done.out) == (0, "feats.npy\n"), done.err
    assert f"weights of {run}" in done.err
    assert f"images of {run}: " in done.err
    manifest = json.loads((run / "run.json").read_text())
    assert {"kind": "features", "path": str(home / "feats.npy")} in manifest["outputs"]
    meta = json.loads((home / "feats.json").read_text())
    assert meta["preprocess"] == manifest["preprocess"]
    assert meta["run"] == str(run)
    assert len(open_features(home / "feats.npy")) == 12
    monkeypatch.chdir(home)
    assert newest_features() == home / "feats.npy"


def test_without_a_run_it_says_what_to_name(images: Path, tmp_path: Path) -> None:
    refused(
        in_process("embed", "--out", "feats.npy", cwd=tmp_path), 4, "no finished run in", "name IMAGES and --weights"
    )
    refused(
        in_process("embed", images, cwd=tmp_path), 4, "no finished run in", "name weights with --weights (a path or a"
    )


def test_the_result_as_json(images: Path, tmp_path: Path) -> None:
    done = warm("embed", images, *SMALL, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["schema"], found["path"], found["rows"], found["shape"]) == (1, "feats.npy", 12, [64])


@pytest.mark.parametrize(
    ("path", "shape", "commands"),
    [
        ("f.npy", (64,), ["dinocli cluster f.npy", "dinocli search IMAGE --in f.npy"]),
        ("a/f.0of4.npy", (64,), ["dinocli embed --merge --out a/f.npy"]),
        ("patches", (-1, -1, 64), []),
        ("grid.npy", (14, 14, 64), []),
    ],
)
def test_the_ending_names_commands_that_take_the_file(path: str, shape: tuple[int, ...], commands: list[str]) -> None:
    assert next_commands(Path(path), shape) == commands


def test_a_file_of_tiles_is_searched_for_a_part(tmp_path: Path) -> None:
    (tmp_path / "f.tiles.csv").touch()
    assert search_command(tmp_path / "f.npy") == f"dinocli search IMAGE --box X,Y,W,H --in {tmp_path}/f.npy"


def test_a_stream_holds_its_positions(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images")
    (folder / "03.png").write_bytes(b"no image")
    running = start_warm("embed", folder, *SMALL, "--out", "-", cwd=tmp_path)
    running.process.join(300)
    assert running.process.exitcode == 0, running.err.read_text()
    rows = np.load(io.BytesIO(running.out.read_bytes()))
    assert rows.shape == (12, 64)
    assert np.isnan(rows).all(1).tolist() == [number == 3 for number in range(12)]
    assert "./03.png: not an image in a known format; its row is NaN" in running.err.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"images", ".streams"}


def test_shards_are_merged_to_the_whole(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images")
    (folder / "05.png").write_bytes(b"no image")
    assert warm("embed", folder, *SMALL, "--out", "whole.npy", cwd=tmp_path).code == 0
    for number in (2, 0):
        done = warm("embed", folder, *SMALL, "--shard", f"{number}/3", "--max-bad", "50%", cwd=tmp_path)
        assert (done.code, done.out) == (0, f"feats.{number}of3.npy\n"), done.err
    refused(
        in_process("embed", "--merge", cwd=tmp_path), 4, "these are the shards 0/3, 2/3, and all shards i/n of one n"
    )
    assert warm("embed", folder, *SMALL, "--shard", "1/3", "--max-bad", "50%", cwd=tmp_path).code == 0
    assert np.isnan(np.load(tmp_path / "feats.1of3.npy")).all(1).tolist() == [False, True, False, False]
    done = warm("embed", "--merge", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (json.loads(done.out)["path"], json.loads(done.out)["root"]) == ("feats.npy", str(folder))
    whole, merged = (open_features(tmp_path / name) for name in ("whole.npy", "feats.npy"))
    np.testing.assert_allclose(merged.rows, whole.rows, rtol=1e-5, atol=1e-5)
    assert merged.names == whole.names
    assert len(merged) == merged.meta["n"] == 11
    assert (tmp_path / "feats.bad.csv").read_text() == (tmp_path / "whole.bad.csv").read_text()
    refused(in_process("embed", "--merge", cwd=tmp_path), 2, "feats.npy already exists")
    done = warm("embed", folder, *SMALL, "--resume", cwd=tmp_path)
    assert (done.code, done.out) == (0, "feats.npy\n"), done.err
    assert "feats.npy is complete already" in done.err


def test_shards_of_different_requests_do_not_mix(images: Path, tmp_path: Path) -> None:
    for number, more in ((0, ()), (1, ("--normalize",))):
        assert warm("embed", images, *SMALL, "--shard", f"{number}/2", *more, cwd=tmp_path).code == 0
    refused(in_process("embed", "--merge", cwd=tmp_path), 4, "differ in normalize: True and False; embed again")


def test_shards_of_other_images_do_not_mix(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "copy")
    next((tmp_path / "copy").rglob("*.png")).unlink()
    for number, folder in ((0, images), (1, tmp_path / "copy")):
        assert warm("embed", folder, *SMALL, "--shard", f"{number}/2", cwd=tmp_path).code == 0
    refused(in_process("embed", "--merge", cwd=tmp_path), 4, "differ in images, their names, sizes or modification")


def test_two_processes_share_one_file(images: Path, tmp_path: Path) -> None:
    assert warm("embed", images, *SMALL, "--out", "alone.npy", cwd=tmp_path).code == 0
    main, other = two("embed", images, *SMALL, cwd=tmp_path)
    assert (main.code, main.out, other.code, other.out) == (0, "feats.npy\n", 0, ""), main.err + other.err
    np.testing.assert_allclose(np.load(tmp_path / "feats.npy"), np.load(tmp_path / "alone.npy"), rtol=1e-5, atol=1e-5)
    assert {path.name for path in tmp_path.glob("feats*")} == {"feats.npy", "feats.json", "feats.paths.txt"}


def test_a_signal_ends_it_in_one_line_and_resume_goes_on(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", 60)
    few = (*SMALL, "--batch-size", "1", "--tokens", "pooled")
    assert warm("embed", folder, *few, "--out", "whole.npy", cwd=tmp_path).code == 0
    shot = Shot(signal.SIGTERM, ".feats.npy.tiles")
    stopped = warm("embed", folder, *few, cwd=tmp_path, shot=shot)
    refused(stopped, 143, "stopped by a signal after ", "of 60; run the same command with --resume to continue")
    assert not (tmp_path / "feats.npy").exists()
    refused(
        warm("embed", folder, *few, "--resume", "--normalize", cwd=tmp_path), 2, "changed: normalize: False -> True"
    )
    done = warm("embed", folder, *few, "--resume", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "continuing after " in done.err
    assert (tmp_path / "feats.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert not list(tmp_path.glob(".feats*"))


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--out", "feats.txt"), 2, "the suffix tells the format; use one of .npy, .npz, .csv, .parquet, .safetensors"),
        (("--tokens", "cls"), 4, f"{FOUR_BLOCKS} has no class token: use --tokens pooled, mean, gem or patch"),
        (("--layers", "9"), 4, f"{FOUR_BLOCKS} has 4 maps, fewer than --layers 9"),
        (("--tokens", "patch", "--out", "feats.csv"), 2, "patch tokens are a grid; use --out NAME.npy"),
        (("--shard", "3/3"), 2, "--shard '3/3' is not i/n"),
        (("--tile", "big"), 2, "--tile 'big'"),
        (("--json", "--out", "-"), 2, "stdout takes --out - or --json, not both"),
        (("--dtype", "int8"), 2, "'--dtype': 'int8' is not one of 'float32', 'float16'; see `dinocli embed --help`"),
    ],
)
def test_invalid_options_are_refused_in_one_line(
    images: Path, tmp_path: Path, more: tuple[str, ...], code: int, words: str
) -> None:
    refused(in_process("embed", images, *SMALL, *more, cwd=tmp_path), code, words)
    assert not list(tmp_path.glob("*feats*"))


def test_a_dry_run_says_the_size_and_writes_nothing(images: Path, tmp_path: Path) -> None:
    done = warm("embed", images, *SMALL, "--tokens", "patch", "--dtype", "float16", "--dry-run", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["images"], found["rows"], found["shape"], found["bytes"]) == (12, 12, [1, 1, 64], 12 * 64 * 2)
    assert found["seconds"] >= 0
    assert {path.name for path in tmp_path.iterdir()} == {".streams"}


def test_tiles_of_a_turned_photograph_are_boxes_of_the_upright_one(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[274] = 6  # to be turned by a quarter: 60 wide and 100 high
    Image.fromarray(pixels).save(folder / "photo.png", exif=turned)
    done = warm("embed", folder, *SMALL, "--tile", "40:8", cwd=tmp_path)
    assert done.code == 0, done.err
    lines = (tmp_path / "feats.tiles.csv").read_text().splitlines()
    assert lines[0] == "path,left,top,width,height"
    assert [tuple(map(int, line.split(",")[1:])) for line in lines[1:]] == [
        (left, top, 40, 40) for top in (0, 32, 60) for left in (0, 20)
    ]
    assert (tmp_path / "feats.paths.txt").read_text() == "./photo.png\n" * 6


def test_patterns_and_a_root_choose_the_names(tmp_path: Path) -> None:
    make_images(tmp_path / "set" / "b", names=["1.png", "1_mask.png", "2.png"])
    make_images(tmp_path / "set" / "@eaDir", names=["1.png"])
    (tmp_path / "set" / "notes.txt").write_text("")
    noted = warm("embed", "set", *SMALL, "--dry-run", "--json", cwd=tmp_path)
    assert noted.code == 0, noted.err
    assert (json.loads(noted.out)["images"], json.loads(noted.out)["root"]) == (3, str(tmp_path / "set"))
    assert "left out: 1 .txt, 1 system folders (@eaDir)" in noted.err
    assert "1 of 3 images are named like masks of others (./b/1_mask.png of ./b/1.png); --exclude GLOB" in noted.err
    done = warm("embed", "set/b", *SMALL, "--exclude", "*_mask.*", "--root", "set", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out)["root"] == str(tmp_path / "set")
    assert (tmp_path / "feats.paths.txt").read_text() == "./b/1.png\n./b/2.png\n"
