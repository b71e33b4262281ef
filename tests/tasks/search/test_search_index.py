"""`search --index`: the stored index is built once, reused, and replaced when it does not fit."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dinocli.errors import UsageError
from dinocli.tasks.search.search import search
from dinocli.tasks.search.search_options import SearchOptions
from tests.tasks.drive import Ears
from tests.tasks.search.test_search import home  # noqa: F401 (a fixture)


def ask(file: Path, *, index: bool = True, whiten: bool = False) -> tuple[list[list[str]], list[str]]:
    options = SearchOptions(("./0-0.png", "./2-1.png"), str(file), 3, device="cpu", index=index, whiten=whiten)
    found = search(options, ears := Ears())
    return [[hit.name for hit in hits] for _, hits in found.answers], [one for one in ears.lines if "recall@10" in one]


def test_an_index_is_built_once_and_again_when_it_does_not_fit(home: Path, tmp_path: Path) -> None:  # noqa: F811
    for path in home.glob("feats.*"):
        shutil.copy2(path, tmp_path)
    file, index = tmp_path / "feats.npy", tmp_path / "feats.index.safetensors"
    exact = ask(file, index=False)[0]
    assert not index.exists()
    assert ask(file)[0] == exact
    assert ask(file) == (exact, []), "it is there"
    index.write_bytes(index.read_bytes()[:-8])
    names, lines = ask(file)
    assert (names, len(lines)) == (exact, 1), "it was damaged"
    os.utime(file, ns=(1, 1))
    assert len(ask(file)[1]) == 1, "the features have changed"
    np.save(file, np.load(file)[::-1])
    with pytest.raises(UsageError, match="leave --whiten out"):
        ask(file, whiten=True)
