"""`dinocli cluster` as a shell sees it."""

import base64
import io
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinocli.artifacts.run_folder import RunFolder, add_output, mark_latest
from dinocli.cli.app import main
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.inputs import ReadOptions
from tests.cli.commands import RANDOM, make_images, warm
from tests.networks import FOUR_BLOCKS
from tests.tasks.cluster.sets import make_set

QUOTE = '"'
QUICK = ("--duplicates", "0.99")
"""With a cosine for duplicates no pixels are compared."""

HOSTILE = '"><script>alert(1)<!--[red].png'


@pytest.fixture
def feats(tmp_path: Path) -> Path:
    return make_set(tmp_path, hostile=HOSTILE)


def test_stdout_is_the_table_and_stderr_all_the_rest(feats: Path, tmp_path: Path) -> None:
    done = warm("cluster", feats, "-k", "2", "--link-dir", "groups", "--sheet", "s.png", cwd=tmp_path)
    assert (done.code, done.out) == (0, "clusters.csv\n"), done.err
    assert "medoid" in done.err
    assert "2 files are exact copies" in done.err
    assert "groups of copies" in done.err, "beside the groups of images"
    assert HOSTILE.replace('"', '""') in (tmp_path / "clusters.csv").read_text()
    assert any(path.name == HOSTILE for path in (tmp_path / "groups").rglob("*"))
    assert "<script>alert(1)" not in (tmp_path / "report.html").read_text()
    assert (tmp_path / "s.png").is_file()


def test_json_is_one_object(feats: Path, tmp_path: Path) -> None:
    done = warm("cluster", feats, *QUICK, "--json", "-q", "--labels", "folder", "--report", "none", cwd=tmp_path)
    assert done.code == 0, done.err
    assert all(line.startswith("warning: ") for line in done.err.splitlines())
    data = json.loads(done.out)
    assert data["schema"] == 1
    assert data["images"] == 20
    assert data["agreement"]["folder"].keys() == {"NMI", "ARI", "accuracy"}
    table = data["label_counts"]["folder"]
    assert table["labels"] == ["bright", "dark"]
    assert [sum(column) for column in zip(*table["counts"], strict=True)] == [10, 10]
    assert [sum(row) for row in table["counts"]] == [group["size"] for group in data["clusters"]]
    assert not (tmp_path / "report.html").exists()


def test_agreement_says_how_many_images_have_a_label(feats: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,kind\n" + "".join(f"./bright/{n:02}.png,b\n" for n in range(4)))
    done = warm("cluster", feats, *QUICK, "--labels", "labels.csv", "--report", "none", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "(4 of 20 images have a label)" in done.err


def test_left_out_features_are_those_of_the_newest_run(
    feats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder(Path("runs/one"))
    run.clear()
    run.write({"status": "finished"})
    mark_latest(run)
    nothing = warm("cluster", cwd=tmp_path)
    assert nothing.code == 4
    assert "dinocli embed" in nothing.err
    add_output(run, "features", feats)
    done = warm("cluster", *QUICK, "-k", "2", "--report", "none", cwd=tmp_path)
    assert done.code == 0, done.err
    assert str(feats) in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-k", "many"), 2, "auto"),
        (("-k", "99"), 2, "more groups than there are images (20)"),
        (("--method", "dbscan"), 2, "hdbscan"),
        (("--labels", "no.csv"), 3, "no.csv"),
        (("--duplicates", "-1"), 2, "give auto, a cosine or 0"),
        (("--range", "full", "--page", "1"), 2, "--range, --page cannot change the features"),
    ],
)
def test_errors_are_one_line_with_a_code(
    feats: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = warm("cluster", feats, *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "clusters.csv").exists()


def test_a_second_time_needs_force(feats: Path, tmp_path: Path) -> None:
    options = ("cluster", feats, *QUICK, "-k", "2", "--report", "none", "--link-dir", "groups")
    assert warm(*options, cwd=tmp_path).code == 0
    again = warm(*options, cwd=tmp_path)
    assert again.code == 2
    assert "--force" in again.err
    assert warm(*options, "--force", cwd=tmp_path).code == 0


def test_labels_are_counted_in_each_group(feats: Path, tmp_path: Path) -> None:
    names = feats.with_name("feats.paths.txt").read_text().splitlines()
    lines = [f'"{name.replace(QUOTE, QUOTE * 2)}",[b]hot[/b],' for name in names]
    (tmp_path / "l.csv").write_text("\n".join(["path,[i]kind,empty", *lines]))
    done = warm("cluster", feats, *QUICK, "-k", "14", "--labels", "l.csv", "--report", "none", cwd=tmp_path)
    assert done.code == 0, done.err
    header, row = next((a, b) for a, b in pairwise(done.err.splitlines()) if a.startswith("[i]kind  "))
    assert header.split()[1:] == [*"012345678", "others", "images"]
    label, *counts, total = row.split()
    assert label == "[b]hot[/b]"
    assert sum(map(int, counts)) == int(total) == 20
    assert "empty: no image has a label" in done.err


def test_without_umap_the_exit_code_is_that_of_a_missing_extra(
    feats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr(sys, "argv", ["dinocli", "cluster", str(feats), "--map", "umap", "--out", str(tmp_path / "c")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    assert "pip install 'dinocli[umap]'" in capfd.readouterr().err


def thumbnails(page: Path) -> list[NDArray[np.uint8]]:
    """Take the pictures out of a page, in the order of its images."""
    found = json.loads(re.findall(r'"thumbnail":(\{[^}]*\})', page.read_text())[0])
    files = [base64.b64decode((found["prefix"] + rest).partition("base64,")[2]) for rest in found["rest"]]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in files]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of 16 bits that use a fiftieth of the range: cut to 8 bits they were white, shifted black."""
    folder = tmp_path_factory.mktemp("deep") / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = 1000 + rng.integers(0, 1300, (40, 48))
        pixels[:, : 3 * number] = 1100
        Image.fromarray(pixels.astype(np.uint16)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_images_of_16_bits_are_embedded_grouped_and_shown(deep: Path, tmp_path: Path) -> None:
    options = (*RANDOM, "-k", "2", *QUICK, "--batch-size", "3", "--max-bad", "1", "--json")
    done = warm("cluster", deep, *options, cwd=tmp_path)
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert (data["images"], data["features"], data["weights"]) == (8, None, FOUR_BLOCKS)
    assert (tmp_path / "clusters.csv").read_text().count("\n./") == 8
    shown = thumbnails(tmp_path / "report.html")
    assert len(shown) == 8
    for number, picture in enumerate(shown):
        assert 60 < picture[:, 3 * number + 4 :].mean() < 180
        assert picture[:, 3 * number + 4 :].std() > 30
        assert number == 0 or picture[:, : 3 * number - 2].mean() < 40
    wide = warm("cluster", deep, *options, "--range", "full", "--force", cwd=tmp_path)
    assert wide.code == 0, wide.err
    assert max(picture.max() for picture in thumbnails(tmp_path / "report.html")) < 20


def test_every_option_of_reading_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(tmp_path, 1)
    seen: list[ClusterOptions] = []
    monkeypatch.setattr("dinocli.tasks.cluster.cluster_dry_run.dry_run", lambda job, *rest: seen.append(job))
    monkeypatch.setattr("dinocli.cli.facts.show_plan", lambda *told, **more: None)
    options = "--range minmax --channels 0,2 --page 3 --z max --roi 1,2,3,4 --max-bad 5% --workers 0 --batch-size 7"
    options += " --weights none"
    monkeypatch.setattr(sys, "argv", ["dinocli", "cluster", str(tmp_path), "--dry-run", *options.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert seen[0].read == ReadOptions(
        range="minmax", channels=(0, 2), page=3, z="max", roi="1,2,3,4", max_bad="5%", workers=0
    )
    assert seen[0].batch_size == 7
    assert seen[0].read.given() == ["--range", "--channels", "--page", "--z", "--roi", "--max-bad", "--workers"]
    assert ReadOptions().given() == []


def test_too_many_unreadable_images_are_an_error(deep: Path, tmp_path: Path) -> None:
    refused = warm("cluster", deep, *RANDOM, "-k", "2", "--max-bad", "0", cwd=tmp_path)
    assert refused.code == 3
    assert "broken.png" in refused.err
    assert not (tmp_path / "clusters.csv").exists()


def test_dry_run_writes_nothing(feats: Path, deep: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    done = warm("cluster", feats, "--dry-run", "--link-dir", "groups", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.endswith(", report.html, groups\n")
    assert done.out.startswith("images\t20\nwidth\t8\nmethod\tkmeans\nk\tauto\n")
    images = warm("cluster", deep, *RANDOM, "-k", "2", "--max-bad", "1", "-n", "--json", cwd=tmp_path)
    data = json.loads(images.out)
    assert (data["images"], data["width"], data["k"]) == (9, 64, 2)
    assert data["seconds_embedding"] > 0
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != ".streams"] == before


def test_tiles_are_shown_each_for_itself(feats: Path, tmp_path: Path) -> None:
    names = feats.with_name("feats.paths.txt").read_text().splitlines()
    np.save(feats, np.repeat(np.load(feats)[:4], 2, axis=0))
    about = json.loads(feats.with_suffix(".json").read_text())
    feats.with_suffix(".json").write_text(json.dumps(about | {"n": 8, "shape": [8, *about["shape"][1:]]}))
    feats.with_name("feats.paths.txt").write_text("".join(f"{name}\n" * 2 for name in names[:4]))
    boxes = "0,0,16,24\n16,0,16,24\n" * 4
    feats.with_name("feats.tiles.csv").write_text("left,top,width,height\n" + boxes)
    for name in names[:4]:
        half = np.zeros((24, 32), np.uint8)
        half[:, 16:] = 220
        Image.fromarray(half).save(tmp_path / "images" / name)
    done = warm("cluster", feats, "-k", "2", "--duplicates", "0", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "copies" not in done.err, "they were not searched"
    assert "tiles are not checked" in done.err
    lines = (tmp_path / "clusters.csv").read_text().splitlines()
    assert lines[0].endswith(",left,top,width,height,cluster_name")
    assert [line.split(",", 1)[0] for line in lines[1:]] == [name for name in names[:4] for _ in range(2)]
    assert all(",16,0,16,24," in line for line in lines[2::2])
    assert [round(picture.mean(), -1) for picture in thumbnails(tmp_path / "report.html")] == [0, 220] * 4
    links = warm("cluster", feats, "-k", "2", "--link-dir", "g", "--report", "none", "--force", cwd=tmp_path)
    assert links.code == 2
    assert "whole images" in links.err
