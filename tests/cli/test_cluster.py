"""`dinocli cluster` as a shell sees it."""

import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from dinocli.tasks.run_folder import RunFolder, add_output, mark_latest
from tests.cli.commands import warm
from tests.tasks.cluster.sets import make_set

QUOTE = '"'
HOSTILE = '"><script>alert(1)<!--[red].png'


@pytest.fixture
def feats(tmp_path: Path) -> Path:
    return make_set(tmp_path, hostile=HOSTILE)


def test_stdout_is_the_table_and_stderr_all_the_rest(feats: Path, tmp_path: Path) -> None:
    done = warm("cluster", feats, "-k", "2", "--link-dir", "groups", "--sheet", "s.png", cwd=tmp_path)
    assert (done.code, done.out) == (0, "clusters.csv\n"), done.err
    assert "medoid" in done.err
    assert "2 files are copies" in done.err
    assert HOSTILE.replace('"', '""') in (tmp_path / "clusters.csv").read_text()
    assert any(path.name == HOSTILE for path in (tmp_path / "groups").rglob("*"))
    assert "<script>alert(1)" not in (tmp_path / "report.html").read_text()
    assert (tmp_path / "s.png").is_file()


def test_json_is_one_object(feats: Path, tmp_path: Path) -> None:
    done = warm("cluster", feats, "--json", "-q", "--labels", "folder", "--report", "none", cwd=tmp_path)
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
    done = warm("cluster", "-k", "2", "--report", "none", cwd=tmp_path)
    assert done.code == 0, done.err
    assert str(feats) in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-k", "many"), 2, "auto"),
        (("-k", "99"), 2, "more groups than the 20 images"),
        (("--method", "dbscan"), 2, "hdbscan"),
        (("--map", "umap"), 4, "dinocli[umap]"),
        (("--labels", "no.csv"), 3, "no.csv"),
    ],
)
def test_errors_are_one_line_with_a_code(
    feats: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    if "umap" in arguments and find_spec("umap"):
        pytest.skip("umap-learn is installed here")
    done = warm("cluster", feats, *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "clusters.csv").exists()


def test_a_second_time_needs_force(feats: Path, tmp_path: Path) -> None:
    options = ("cluster", feats, "-k", "2", "--report", "none", "--link-dir", "groups")
    assert warm(*options, cwd=tmp_path).code == 0
    again = warm(*options, cwd=tmp_path)
    assert again.code == 2
    assert "--force" in again.err
    assert warm(*options, "--force", cwd=tmp_path).code == 0


def test_labels_are_counted_in_each_group(feats: Path, tmp_path: Path) -> None:
    names = feats.with_name("feats.paths.txt").read_text().splitlines()
    lines = [f'"{name.replace(QUOTE, QUOTE * 2)}",[b]hot[/b],' for name in names]
    (tmp_path / "l.csv").write_text("\n".join(["path,[i]kind,empty", *lines]))
    done = warm("cluster", feats, "-k", "14", "--labels", "l.csv", "--report", "none", cwd=tmp_path)
    assert done.code == 0, done.err
    header, row = next((a, b) for a, b in pairwise(done.err.splitlines()) if a.startswith("[i]kind  "))
    assert header.split()[1:] == [*"012345678", "others", "images"]
    label, *counts, total = row.split()
    assert label == "[b]hot[/b]"
    assert sum(map(int, counts)) == int(total) == 20
    assert "empty: no image has a label" in done.err
