"""The examples in the docstrings of the public API run, in one folder, on a tiny network with random weights."""

import doctest
import inspect
from pathlib import Path

import pytest

import dinocli
from dinocli.config.load import load_recipe
from tests.engine.learners import TINY
from tests.networks import TWO_BLOCKS
from tests.shortcuts import FEW_PICTURES, replace_values
from tests.tasks.embed.drive import write_images

ORDER = (
    "train",
    "load",
    "load_recipe",
    "embed",
    "open_features",
    "load_like",
    "search",
    "evaluate",
    "classify",
    "cluster",
    "segment",
    "export",
)
"""Later examples read what earlier ones wrote."""

SMALL = [*TINY, "model.weights=none", f"model.name={TWO_BLOCKS}", "run.steps=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("examples")
    for kind in "ab":
        for number, path in enumerate(sorted(write_images(home / "images" / kind, 4).iterdir())):
            path.rename(path.with_name(f"{number}.png"))
    labelled = [f"{kind}/{number}.png,{kind}\n" for kind in "ab" for number in range(3)]
    (home / "labels.csv").write_text("path,kind\n" + "".join(labelled))
    return home


def examples(name: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(recurse=False).find(
        getattr(dinocli, name) if name else dinocli, name or "dinocli", module=False, globs={"dinocli": dinocli}
    )
    return [test for test in found if test.examples]


def run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tests, told = examples(name), list[str]()
    with monkeypatch.context() as patch:
        replace_values(patch, {"dinocli.quality.auto_k.K_CANDIDATES": (2, 3), **FEW_PICTURES})
        if name != "load_recipe":  # whatever an example trains is tiny
            patch.setattr(dinocli, "load_recipe", lambda layers=(), more=(): load_recipe(["grey"], [*more, *SMALL]))
        for test in tests:
            done = doctest.DocTestRunner().run(test, out=told.append)
            assert done.attempted
            assert not done.failed, "".join(told)


def test_every_public_function_has_an_example() -> None:
    functions = {name for name in dinocli.__all__ if inspect.isfunction(getattr(dinocli, name))}
    assert functions == set(ORDER)
    for name in (*ORDER, "FeatureModel", "MultiCropViews", ""):
        assert examples(name), name


def test_examples_of_docstrings_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    for name in (*ORDER, "FeatureModel", "MultiCropViews", ""):
        run(name, monkeypatch)
