"""`dinocli segment` as a shell sees it."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.artifacts.mask_folder import PARTIAL_FOLDER
from tests.cli.commands import RANDOM, Result, Shot, in_process, make_images, warm
from tests.cli.test_exit_codes import refused
from tests.guide import check_in_guide

SMALL = (*RANDOM, "--size", "64")
HOSTILE = ("[red]x[bold].png", "=1+1.png", "<img src=x onerror=alert(1)>.png", "a b.png", "--out.png", "ü.png")


def test_left_out_arguments_are_those_of_the_newest_run(finished: Result, home: Path) -> None:
    run = home / finished.out.strip()
    done = warm("segment", "--out", "masks", "--size", "64", "--device", "cpu", cwd=home)
    assert (done.code, done.out) == (0, "masks\n"), done.err
    assert f"weights of {run}" in done.err
    assert f"images of {run}: " in done.err
    assert "method " in done.err
    assert len(list((home / "masks" / "masks").iterdir())) == 12
    assert {"kind": "masks", "path": str(home / "masks")} in json.loads((run / "run.json").read_text())["outputs"]


def test_json_is_one_object_on_stdout(images: Path, tmp_path: Path) -> None:
    done = warm("segment", images, *SMALL, "-m", "kmeans", "-k", "3", "--out", "out", "--json", cwd=tmp_path)
    answer = json.loads(done.out)
    assert done.code == 0
    assert (answer["schema"], answer["method"]["name"], answer["images"], answer["bad"]) == (1, "kmeans", 12, 0)
    assert answer["method"]["parameters"]["segments"] == 3
    assert answer["root"] == str(images)
    assert done.out.count("\n") == 1


def test_hostile_names_arrive_everywhere(tmp_path: Path) -> None:
    make_images(tmp_path / "in", names=list(HOSTILE))
    asked = ("--overlay", "--soft", "--npy", "--yolo", "--coco", "out/c.json")
    done = warm("segment", "in", *SMALL, "-m", "pca", "--maps", "--out", "out", *asked, cwd=tmp_path)
    assert done.code == 0, done.err
    written = {"masks": [".png"], "overlays": [".jpg"], "soft": [".npy", ".png"], "labels": [".txt"]}
    for folder, suffixes in written.items():
        expected = {name.removesuffix(".png") + suffix for name in HOSTILE for suffix in suffixes}
        assert {path.name for path in (tmp_path / "out" / folder).iterdir()} == expected
    (tmp_path / "out" / "c.json").rename(tmp_path / "c.json")
    check_in_guide(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x onerror" not in page
    assert {image["file_name"] for image in json.loads((tmp_path / "c.json").read_text())["images"]} == set(HOSTILE)


def test_two_names_that_differ_by_suffix(tmp_path: Path) -> None:
    make_images(tmp_path / "in", names=["a.png", "a.jpg"])
    assert warm("segment", "in", *SMALL, "-m", "kmeans", "-k", "2", "--out", "out", cwd=tmp_path).code == 0
    assert {path.name for path in (tmp_path / "out" / "masks").iterdir()} == {"a.png.png", "a.jpg.png"}


def test_ctrl_c_leaves_whole_files_and_resume_ends_it(tmp_path: Path) -> None:
    make_images(tmp_path / "in", 60)
    command = ("segment", "in", *SMALL, "-m", "kmeans", "-k", "2", "--sample", "4", "--out", "out")
    shot = Shot(signal.SIGINT, f"out/{PARTIAL_FOLDER}/masks/03.png")
    stopped = warm(*command, cwd=tmp_path, shot=shot)
    assert stopped.code == 130, stopped.err
    assert "--resume" in stopped.err
    assert not (tmp_path / "out" / "segment.json").exists()
    for path in (tmp_path / "out" / PARTIAL_FOLDER / "masks").iterdir():
        assert np.asarray(Image.open(path)).shape == (40, 48)
    done = warm(*command, "--resume", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "continuing after" in done.err
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 60


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--method", "tokncut"), 2, ("--method", "'tokncut' is not one of")),
        (("--method", "attention"), 2, ("has no attention",)),
        (("--method", "kmeans", "--objects", "2"), 2, ("--objects belongs to --method tokencut",)),
        (("--stride", "8"), 2, ("cannot take a smaller stride",)),
        (("--tile", "512x64"), 2, ("--tile '512x64'", "512:64")),
        (("--method", "tokencut", "--tile", "64:8"), 2, ("needs the whole image",)),
        (("--truth", "none"), 3, ("no such file or folder",)),
        (("--propagate", "none.png"), 3, ("none.png",)),
    ],
)
def test_contradicting_options_are_refused_in_one_line(
    images: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    refused(in_process("segment", images, *SMALL, "--out", "out", *arguments, cwd=tmp_path), code, *words)
    assert not (tmp_path / "out" / "masks").exists()


def test_a_result_is_not_overwritten(images: Path, tmp_path: Path) -> None:
    command = ("segment", images, *SMALL, "-m", "kmeans", "-k", "2", "--out", "out")
    assert warm(*command, cwd=tmp_path).code == 0
    refused(warm(*command, cwd=tmp_path), 2, "out already exists", "--resume", "--force")
    assert warm(*command, "--force", cwd=tmp_path).code == 0
    assert "complete already" in warm(*command, "--resume", cwd=tmp_path).err


def test_the_folder_has_to_be_named(images: Path, tmp_path: Path) -> None:
    done = in_process("segment", images, cwd=tmp_path)
    assert done.code == 2
    assert "--out" in done.err


def test_a_dry_run_writes_nothing(images: Path, tmp_path: Path) -> None:
    done = warm("segment", images, *SMALL, "--tile", "64:8", "--out", "out", "--dry-run", cwd=tmp_path)
    assert done.code == 0, done.err
    told = dict(line.split("\t") for line in done.out.splitlines())
    assert (told["images"], told["method"], told["canvas"], told["grid"]) == ("12", "anomaly", "64x64", "8x8")
    assert not (tmp_path / "out").exists()
    refused(
        warm("segment", images, *SMALL, "--method", "x", "--out", "out", "-n", cwd=tmp_path),
        2,
        "--method",
        "'x' is not one of",
    )


def test_a_detector_answers_a_script(images: Path, tmp_path: Path) -> None:
    fitted = ("segment", images, *SMALL, "-m", "anomaly", "--out", "out", "--save-detector", "detector")
    assert warm(*fitted, cwd=tmp_path).code == 0
    asked = f"{images / '03.png'}\nnone.png\n".encode()
    done = warm("segment", "-", "--detector", "detector", "--device", "cpu", cwd=tmp_path, stdin=asked)
    assert done.code == 0, done.err
    first, second = map(json.loads, done.out.splitlines())
    assert (first["schema"], first["image"]) == (1, str(images / "03.png"))
    assert first["good"] == (first["regions"] == [])
    assert 0 <= first["score"] <= 1
    assert (second["image"], set(second)) == ("none.png", {"schema", "image", "error"})
    again = warm("segment", "--from", "out", "--out", "again", "--threshold", "0.2", "--json", cwd=tmp_path)
    assert again.code == 0, again.err
    assert json.loads(again.out)["method"]["parameters"]["threshold"] == 0.2
    refused(in_process("segment", images, "--from", "out", "--out", "x", cwd=tmp_path), 2, "--from out settles IMAGES")
