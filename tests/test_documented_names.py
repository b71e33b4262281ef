"""Commands, options, settings and extras that prose, help and messages name exist; `test_docs` parses shell blocks."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from dinocli.artifacts.feature_file import INDEX_SUFFIX
from dinocli.artifacts.feature_formats import SIDECARS
from dinocli.artifacts.mask_folder import RESULT_FILES
from dinocli.cli import paths
from dinocli.config.installed_packages import DEVELOPER_EXTRAS
from dinocli.config.load import load_recipe
from dinocli.config.recipe import Recipe
from dinocli.quality.crop_quadrant_retrieval import RETRIEVAL_SCORE
from dinocli.quality.defect_few_shot import DEFECT_SCORE, RARE_DEFECT_SCORE
from dinocli.quality.label_free_scores import feature_scores, view_scores
from dinocli.quality.label_scores import LabelSplit, label_scores
from dinocli.quality.probe_result import SCORE_NAMES
from dinocli.tasks.classify.classify_options import PREDICTIONS, SUGGESTED
from dinocli.tasks.cluster.cluster_options import (
    CLUSTERS,
    DRIFT,
    DUPLICATE_GROUPS,
    DUPLICATES,
    ISSUES,
    PAGE,
    SELECTED,
)
from tests.guide import names_in_guide
from tests.test_docs import CHANGELOG, COMMANDS, DOCUMENTS, GROUP, ROOT

FOREIGN = {"--option", "--nnodes", "--nproc-per-node", "--rdzv-endpoint", "--strict", "--dependency"}
"""A placeholder, and options of torchrun, pip-audit and sbatch."""
EVERYWHERE = {"--help", "-h", "--version"}
INCOMPLETE = ("MissingParameter", "BadOptionUsage")
"""Errors of a command line whose rest the reader adds: `embed --like`."""
OPTION = re.compile(r"(?<![\w\-])--[a-z][a-z-]*")
SETTING = re.compile(rf"({'|'.join(name for name in Recipe.model_fields if name != 'description')})\.([a-z_]+)(=.+)?")
FILE = re.compile(r"\w+\.(json|md|png|safetensors)")
REFUSED = {"--device mps"}
"""What the documents say is refused."""


def names_of(command: Any) -> set[str]:
    """Return the names of the options of a command, such as `--refine`, `--no-refine` and `-k`."""
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


OPTIONS = EVERYWHERE.union(*map(names_of, [GROUP, *COMMANDS.values()]))


def prose() -> Iterator[tuple[str, str]]:
    """Yield name and text of each document, recipe and help page; of the changelog, the newest sections.

    The log and the results name options of benchmarks, too.
    """
    for path in DOCUMENTS:
        if path.name not in ("LOG.md", "CHANGELOG.md", "results.md"):
            yield path.name, path.read_text(encoding="utf-8")
    yield "CHANGELOG.md", re.sub(r"(?m)^\|.*$", "", CHANGELOG[: CHANGELOG.index("## [0.1.0]")])
    for path in sorted(ROOT.glob("recipes/*.toml")):
        yield path.name, "\n".join(re.findall(r"(?m)# ?(.*)$", path.read_text(encoding="utf-8")))
    for name, command in COMMANDS.items():
        texts = [command.help or "", *(getattr(option, "help", None) or "" for option in command.params)]
        yield f"{name} --help", "\n\n".join(texts)
    for section in (getattr(Recipe.model_fields[name].annotation, "model_fields", {}) for name in Recipe.model_fields):
        for key, field in section.items():
            yield key, field.description or ""


def spans(text: str) -> list[str]:
    """Return the inline code of Markdown, each on one line."""
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n|\n(?=\||[-*] )", text))
    return [span for part in paragraphs for span in re.findall(r"`([^`]+)`", part)]


SPANS = [(where, span) for where, text in prose() for span in spans(text)]


def words(span: str) -> list[str]:
    try:
        return shlex.split(span, comments=True)
    except ValueError:
        return span.split()


def check(command: Any, arguments: list[str]) -> str:
    """Return why the command refuses such arguments; empty if it does not, or if the reader fills in the rest."""
    while hasattr(command, "commands") and arguments and arguments[0] not in EVERYWHERE and not arguments[0].isupper():
        if arguments[0] not in command.commands:
            return f"no command {arguments[0]}"
        command, arguments = command.commands[arguments[0]], arguments[1:]
    if hasattr(command, "commands"):
        return ""
    try:
        command.make_context(command.name, list(arguments))
    except Exception as error:
        kind = type(error).__name__
        if kind in (*INCOMPLETE, "Exit"):
            return ""
        placeholder = any(word.isupper() for word in arguments)  # --steps N
        return "" if kind == "BadParameter" and placeholder else f"{kind}: {error}"
    return ""


def refusal(span: str) -> str | None:
    """Return why a command line in prose cannot be typed, an empty string if it can, None if it is none.

    It is `dinocli search a.png`, `search --index` or, of any command, `--index`.
    """
    parts = [part.split("|")[0] for part in words(span)]  # max|mean|N
    if parts[:1] == ["dinocli"]:
        return check(GROUP, parts[1:])
    if parts and parts[0] in GROUP.commands and any(part.startswith("-") for part in parts[1:]):
        return check(GROUP, parts)
    if not re.match(r"-(-[a-z]|[a-zA-Z0]\b)", span) or parts[0] in FOREIGN | EVERYWHERE or span in REFUSED:
        return None
    name = parts[0].partition("=")[0] if parts[0].startswith("--") else parts[0][:2]
    refusals = [check(command, parts) for command in COMMANDS.values() if name in names_of(command)]
    return min(refusals, default=f"no option {name}")


@pytest.fixture(autouse=True)
def every_path_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_missing", lambda _: False)  # the files are the reader's


def test_every_command_line_in_prose_can_be_typed() -> None:
    reasons = [(where, span, reason) for where, span in SPANS if (reason := refusal(span)) is not None]
    assert not [found for found in reasons if found[2]]
    assert len(reasons) > 150
    assert len({where for where, *_ in reasons}) > 15


@pytest.mark.parametrize(
    ("span", "right"),
    [
        ("dinocli cluster", True),
        ("dinocli recipe list", True),
        ("embed --like", True),
        ("--steps N", True),
        ("-k 20", True),
        ("dinocli groups", False),
        ("dinocli recipe lists", False),
        ("embed --likes", False),
        ("segment --format timm", False),
        ("--steps few", False),
        ("--likes", False),
    ],
)
def test_a_wrong_command_line_would_be_noticed(span: str, right: bool) -> None:
    assert (refusal(span) == "") == right


def test_every_option_in_prose_exists() -> None:
    """Also in spans that are not command lines, such as `pip install . --extra`, and outside of code."""
    seen = 0
    for where, text in prose():
        for option in OPTION.findall(re.sub(r"(?ms)^```.*?^```", "", text)):
            assert option in OPTIONS | FOREIGN, f"{where}: {option}"
            seen += 1
    assert seen > 200


def test_every_setting_in_prose_exists() -> None:
    seen = 0
    for where, span in SPANS:
        setting = words(span)[-1] if span.startswith("--set") else span
        if FILE.fullmatch(setting) or not (found := SETTING.fullmatch(setting)):
            continue
        assert found[2] in keys_of(found[1]), f"{where}: {span}"
        if found[3] and "|" not in found[3]:
            load_recipe([], [setting])
        seen += 1
    assert seen > 0, seen


def keys_of(section: str) -> set[str]:
    """Return the settings of a section of the recipe."""
    return set(getattr(Recipe.model_fields[section].annotation, "model_fields", {}))


def test_every_extra_in_documents_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    seen = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        named = [name for group in re.findall(r"(?:dinocli|'\.)\[([\w,]+)\]", text) for name in group.split(",")]
        for name in named + re.findall(r"\bextra\s+`(\w+)`", text):
            assert name in extras, f"{path.name}: {name}"
            seen += 1
    assert seen > 10


def test_the_guide_names_every_file_of_a_result() -> None:
    """Those of a run are listed in `test_docs`; tests of whole commands look at what they wrote."""
    features = {f"feats{suffix}" for suffix in (*SIDECARS, INDEX_SUFFIX)}
    clusters = {CLUSTERS, PAGE, DUPLICATES, DUPLICATE_GROUPS, ISSUES, DRIFT, SELECTED}
    masks = {*RESULT_FILES, "segment.json", "frames", "detector.json"}
    for names in (features, clusters, masks, {PREDICTIONS, SUGGESTED}):
        assert names <= names_in_guide(), names - names_in_guide()


def test_the_guide_explains_every_score_of_evaluate() -> None:
    rows_ND = np.random.default_rng(0).standard_normal((24, 4))
    truth = LabelSplit("label", np.arange(24), np.array(["a", "b"] * 12), None, None)
    tables = (
        feature_scores(rows_ND, rows_ND),
        view_scores(rows_ND, np.stack([rows_ND] * 2)),
        label_scores(rows_ND, truth),
    )
    keys = {score.key for table in tables for score in table} | {RETRIEVAL_SCORE, *SCORE_NAMES}
    keys |= {DEFECT_SCORE, RARE_DEFECT_SCORE}
    assert len(keys) > 20
    assert keys <= names_in_guide(), keys - names_in_guide()


def test_the_site_lists_the_extras_of_commands() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (listed,) = re.findall(r"^Extras: (.*?)\n\n", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == set(extras) - set(DEVELOPER_EXTRAS)


def test_pip_takes_what_the_documents_install() -> None:
    """A folder, or a name; pip refuses `name @ .`."""
    seen = 0
    for path in DOCUMENTS:
        for line in re.findall(r"pip install ([^`#\n]+)", path.read_text(encoding="utf-8")):
            requirements = [word for word in shlex.split(line.split(" && ")[0]) if not word.startswith(("-", "."))]
            assert all(Requirement(word).url is None for word in requirements), f"{path.name}: {line}"
            seen += 1
    assert seen > 5


def test_messages_name_options_commands_and_settings_that_exist() -> None:
    """What an error, a line of advice or a docstring tells the reader to type."""
    seen = 0
    for path in sorted((ROOT / "dinocli").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for option in OPTION.findall(text):
            assert option in OPTIONS | FOREIGN, f"{path.name}: {option}"
            seen += 1
        for name in re.findall(r"`dinocli ([a-z-]+)", text):
            assert name in GROUP.commands, f"{path.name}: {name}"
        for section, key in re.findall(r"--set (?!section)(\w+)\.(\w+)=", text):
            assert key in keys_of(section), f"{path.name}: {key}"
    assert seen > 200
