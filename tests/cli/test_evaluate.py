"""`evaluate` through real processes: the table on stdout, everything else on stderr."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import warm
from tests.tasks.test_evaluate import names, write


@pytest.fixture
def two(tmp_path: Path) -> Path:
    write(tmp_path / "good.npy", 0.4, names())
    write(tmp_path / "bad.npy", 2.0, names(), seed=1)
    return tmp_path


def test_a_piped_table_is_tab_separated(two: Path) -> None:
    done = warm("evaluate", "good.npy", "--labels", "folder", cwd=two)
    assert done.code == 0, done.err
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert lines[0] == ["labels", "score", "value"]
    assert {len(line) for line in lines} == {3}
    assert 0.5 < float(dict((key, value) for _, key, value in lines)["knn20_accuracy"]) <= 1
    assert "measuring with the labels of folder" in done.err


def test_json_is_one_object_and_says_whether_the_difference_is_real(two: Path) -> None:
    done = warm("evaluate", "good.npy", "--labels", "folder", "--baseline", "bad.npy", "--json", "-q", cwd=two)
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert data["schema"] == 1
    scores = {score["key"]: score for score in data["scores"]}
    assert scores["knn20_accuracy"]["verdict"] == "better"
    assert scores["knn20_accuracy"]["interval"][0] > 0
    assert scores["rankme"]["interval"] is None
    assert "more than luck" in data["sentences"][0]


def test_errors_have_their_exit_codes(two: Path) -> None:
    assert warm("evaluate", "none.npy", cwd=two).code == 4
    assert warm("evaluate", "good.npy", "--groups", "folder", cwd=two).code == 2
    assert warm("evaluate", "good.npy", "--labels", "none.csv", cwd=two).code == 3
    nothing = warm("evaluate", cwd=two)
    assert nothing.code == 4
    assert "no finished run" in nothing.err
