"""`evaluate` through real processes: the table on stdout, everything else on stderr."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.cli.app import main
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.inputs import ReadOptions
from tests.cli.commands import RANDOM, in_process, make_images, warm
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
    assert "note: no crop/quadrant retrieval" in done.err, "what is missing is said beside the table"


def test_json_is_one_object_and_says_whether_the_difference_is_real(two: Path) -> None:
    done = warm("evaluate", "good.npy", "--labels", "folder", "--baseline", "bad.npy", "--json", "-q", cwd=two)
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert data["schema"] == 1
    scores = {score["key"]: score for score in data["scores"]}
    assert scores["knn20_accuracy"]["verdict"] == "better"
    assert scores["knn20_accuracy"]["interval"][0] > 0
    assert scores["rankme"]["interval"] is None
    assert "significantly" in data["sentences"][0]


def test_errors_have_their_exit_codes(two: Path) -> None:
    assert in_process("evaluate", "none.npy", cwd=two).code == 4
    assert in_process("evaluate", "good.npy", "--groups", "folder", cwd=two).code == 2
    assert in_process("evaluate", "good.npy", "--labels", "none.csv", cwd=two).code == 3
    nothing = in_process("evaluate", cwd=two)
    assert nothing.code == 4
    assert "no finished run" in nothing.err


def test_every_option_of_reading_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(tmp_path, 1)
    seen: list[EvaluateOptions] = []
    monkeypatch.setattr("dinocli.tasks.evaluate.evaluate.evaluate", lambda job, *rest: seen.append(job))
    monkeypatch.setattr("dinocli.cli.evaluate.show_evaluation", lambda *told, **more: None)
    options = "--range minmax --channels 0,2 --page 3 --z max --roi 1,2,3,4 --max-bad 5% --workers 0 --batch-size 7"
    options += " --window 512"
    options += " --weights none"
    monkeypatch.setattr(sys, "argv", ["dinocli", "evaluate", str(tmp_path), *options.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert seen[0].read == ReadOptions(
        range="minmax", channels=(0, 2), page=3, z="max", roi="1,2,3,4", max_bad="5%", workers=0, window=512
    )
    assert seen[0].batch_size == 7


def test_the_range_changes_what_is_evaluated_and_what_it_is_compared_with(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    draw = np.random.default_rng(0)
    for number in range(12):
        pixels = draw.integers(900, 1100 + 20 * number, (40, 40)).astype(np.uint16)
        Image.fromarray(pixels).save(images / f"{number}.png")
    options = (*RANDOM, "--baseline", "none", "--views", "0", "--json")
    found = [
        json.loads(warm("evaluate", images, *options, *more, cwd=tmp_path).out)["scores"]
        for more in (("--range", "minmax"), ("--range", "full"))
    ]
    for scores in found:
        assert all(score["value"] == pytest.approx(score["baseline"]) for score in scores)
    narrow, full = ({score["key"]: score["value"] for score in scores} for scores in found)
    assert narrow["feature_std"] != pytest.approx(full["feature_std"], rel=0.01)


def test_a_feature_file_is_read_already(two: Path) -> None:
    refused = in_process("evaluate", "good.npy", "--range", "full", cwd=two)
    assert refused.code == 2
    assert "--range cannot change the features in good.npy" in refused.err
