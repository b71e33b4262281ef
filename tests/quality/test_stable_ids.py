from pathlib import Path

import numpy as np
import pytest

from dinocli.errors import DataError
from dinocli.quality.stable_ids import stable_ids
from dinocli.tasks.cluster.cluster_tables import read_ids

NAMES = [f"./{number}.png" for number in range(8)]


def test_groups_keep_the_number_with_which_they_share_most_images(tmp_path: Path) -> None:
    groups = [0, 0, 0, 3, 3, 5, -1, 5]
    lines = [f"{name},{group}\n" for name, group in zip(NAMES, groups, strict=True)]
    (tmp_path / "clusters.csv").write_text("path,cluster\n" + "".join(lines))
    before = read_ids(tmp_path / "clusters.csv")
    assert before["./3.png"] == 3
    assert "./6.png" not in before
    assert stable_ids(before, NAMES, np.array([1, 1, 1, 0, 0, 2, 2, 2]), 3) == [3, 0, 5]
    assert stable_ids(before, NAMES, np.array([1, 1, 1, 0, 0, -1, 2, 3]), 4) == [3, 0, 6, 5]
    assert stable_ids(before, ["./new.png"], np.array([0]), 1) == [6], "nothing in common"
    assert stable_ids({}, NAMES, np.zeros(8, int), 1) == [0]


@pytest.mark.parametrize("text", ["", "path,other\na,1\n", "path,cluster\na,b\n"])
def test_another_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=r"cannot read groups from .*x.csv: .*; give the clusters.csv"):
        read_ids(tmp_path / "x.csv")
