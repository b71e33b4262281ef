"""What README, CHANGELOG and the help promise is there: commands, options, files, links."""

import ast
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import dinocli
from dinocli.artifacts.run_folder import RunFolder
from dinocli.cli import paths
from dinocli.cli.app import EPILOG, app
from dinocli.config.load import load_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "CONTRIBUTING.md").is_file():
    pytest.skip("the documents are in the repository alone", allow_module_level=True)

results_page: Any = runpy.run_path(str(ROOT / "benchmarks" / "results_page.py"), run_name="results_page")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
HOSTS = {"arxiv.org", "github.com", "keepachangelog.com", "semver.org", "www.apache.org", "127.0.0.1", "hub.invalid"}
HOSTS |= {"www.w3.org"}  # the name of SVG, which nobody fetches


def blocks(text: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [inner for word, inner in fenced if word == language]


def command_lines(text: str) -> list[str]:
    """Take every `dinocli ...` out of a piece of shell: without comments, pipes and what surrounds it."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s#.*", "", line)
        found += re.findall(r"(?<![\w/.-])dinocli [^|)&;>]*", line)
    return [line.strip() for line in found]


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if not inner:
        yield " ".join(path), command
    for name, sub in inner.items():
        yield from walk(sub, (*path, name))


GROUP: Any = typer.main.get_command(app)
COMMANDS = dict(walk(GROUP))
IN_DOCUMENTS = [
    (path.name, line)
    for path in DOCUMENTS
    for block in blocks(path.read_text(encoding="utf-8"), "sh")
    for line in command_lines(block)
]
IN_HELP = [(name, line) for name, command in COMMANDS.items() for line in command_lines(command.epilog or "")]
IN_RECIPES = [
    (path.name, line)
    for path in sorted(ROOT.glob("recipes/*.toml"))
    for line in command_lines(path.read_text(encoding="utf-8").replace("\n#", "\n"))
]


def test_the_walk_saw_the_documents() -> None:
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LOG.md"} <= {path.name for path in DOCUMENTS}
    assert len(IN_DOCUMENTS) > 12
    assert len(IN_HELP) >= len(COMMANDS) >= 6
    assert len(IN_RECIPES) >= len(recipe_names())


@pytest.mark.parametrize(("where", "line"), IN_DOCUMENTS + IN_HELP + IN_RECIPES)
def test_every_command_line_can_be_typed(where: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_missing", lambda _: False)  # the files are the reader's
    _, *arguments = shlex.split(line)
    command = GROUP
    while hasattr(command, "commands"):
        assert arguments[0] in command.commands, f"{where}: no command {arguments[0]}"
        command = command.commands[arguments.pop(0)]
    context = command.make_context(command.name, list(arguments))  # parses, and raises on an unknown option
    names = [*(context.params.get("recipe") or []), *(context.params.get("names") or [])]
    shipped = [name for name in names if not name.endswith(".toml")]
    load_recipe(shipped, context.params.get("settings") or [])  # raises on an unknown recipe or setting


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_and_the_changelog(name: str) -> None:
    last = name.split()[-1]
    assert any(line.startswith(f"dinocli {name}") for _, line in IN_DOCUMENTS) or f"`dinocli {name}`" in README
    assert re.search(rf"dinocli {name.split()[0]}[^\n]*\b{last}\b|dinocli {name}\b", CHANGELOG)


def test_every_recipe_is_in_the_changelog() -> None:
    for name in recipe_names():
        assert f"`{name}`" in CHANGELOG


def test_the_changelog_has_entries() -> None:
    title, *sections = re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)
    assert title.startswith("# Changelog")
    newest = sections[0]
    assert re.match(rf"\[(Unreleased|{re.escape(dinocli.__version__)})\]", newest)
    assert re.search(
        r"^### (Added|Changed|Fixed|Removed|Deprecated|Security)\n\n(\*\*.+\*\*\n\n)?- \w*", newest, re.MULTILINE
    )


def test_the_tree_of_the_readme_is_the_folder() -> None:
    (tree,) = (block for block in blocks(README, "") if block.startswith("dinocli/\n"))
    inside: set[str] = set()
    outside: set[str] = set()
    for line in tree.splitlines()[1:]:
        names = re.split(r"\s{2,}", line.strip())[0].split()
        (inside if line.startswith(" ") else outside).update(name.rstrip("/") for name in names)
    hidden = {"__init__.py", "__main__.py", "__pycache__", "py.typed", "_recipes"}
    assert inside == {path.name for path in (ROOT / "dinocli").iterdir()} - hidden
    assert len(inside) > 8
    assert {"recipes", "demo", "benchmarks", "tests"} <= outside
    assert all((ROOT / name).is_dir() for name in outside)


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_the_documents_show_what_a_run_leaves(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    (tree,) = (block for block in blocks(text, "") if block.startswith("runs/"))
    shown = {line.split()[0].rstrip("/") for line in tree.splitlines()[1:]}
    own = {path.name for path in vars(RunFolder(Path("run"))).values() if path.name[0] != "."} - {"run"}
    rest = {"images.bad.csv", "profile.json", "tensorboard", "mlflow"}  # only where there is reason
    assert shown == own - rest
    if name != "README.md":
        after = text.split(tree)[1].split("\n\n")[1]
        assert rest <= {span.rstrip("/") for span in re.findall(r"`([^`]+)`", after)}


def test_the_readme_knows_the_exit_codes() -> None:
    text = README[README.index("Exit codes:") :].split("\n\n")[0]
    codes = re.findall(r"\b(\d+) (?:done|internal|usage|images|weights|training|cannot|Ctrl)", text.replace("\n", " "))
    assert codes == re.findall(r"(\d+) (?:done|internal|usage|images|weights|training|cannot|Ctrl)", EPILOG)
    assert len(codes) == 8
    assert "143" in text


def test_the_python_of_the_documents_names_what_is_public() -> None:
    seen = 0
    for path in DOCUMENTS:
        for example in blocks(path.read_text(encoding="utf-8"), "python"):
            used = {
                node.attr
                for node in ast.walk(ast.parse(example))
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dinocli"
            }
            assert used <= set(dinocli.__all__), path
            assert all(hasattr(dinocli, name) for name in used)
            seen += bool(used)
    assert seen >= 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_documents_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target.split("#")[0]).exists(), target


def test_the_results_are_what_their_files_give() -> None:
    files = results_page["read"]()
    assert len(files) > 6
    (main,) = (data["gain"] for data in files.values() if "gain" in data)
    again = "run python benchmarks/results_page.py"
    assert (ROOT / "docs" / "results.md").read_text("utf-8") == results_page["page"](files), again
    assert (ROOT / "docs" / "images" / "results.svg").read_text("utf-8") == results_page["chart"](main), again
    more = {"section": {"order": 99, "title": "More", "blocks": ["Words.", {"header": ["a"], "rows": [["1"]]}]}}
    about = {"date": "2026-11-29", "hardware": "two cores", "command": "make", "log": "None"}
    text = results_page["page"]({**files, "more.json": about | more, "raw.json": about})
    assert (
        "\n## Other\n\n### More\n\nWords.\n\n| a |\n| --- |\n| 1 |\n\n*more.json, 2026-11-29, two cores: `make`."
        in text
    )
    assert "* `benchmarks/results/raw.json`: 2026-11-29, make" in text


def test_the_tables_of_the_readme_are_those_of_the_results() -> None:
    files = results_page["read"]()
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in README.splitlines() if line[:1] == "|"]
    (main,) = (data["gain"] for data in files.values() if "gain" in data)
    (_, lines) = results_page["gain_table"](main)
    assert len(lines) >= 6
    assert all(line in rows for line in lines)
    peers = {row[0]: row[1:] for row in files["masks.json"]["section"]["blocks"][3]["rows"]}
    for name in ("ball screws", "magnetic tiles", "washer", "board"):
        (ours,) = (cells for key, cells in peers.items() if key.startswith(f"{name}, dinocli"))
        theirs = peers[f"{name}, anomalib"]
        (shown,) = (row[1:] for row in rows if row[0] == name and len(row) == 7)
        assert shown == [cell for column in (2, 1, 4) for cell in (ours[column], theirs[column])]


def test_the_table_of_results_by_hand() -> None:
    start, better = {"knn": 0.8, "few_shot_5": 0.5}, {"knn": 0.9, "few_shot_5": 0.4}
    row = {"set": "steel, 6 kinds", "recipe": "default", "steps": 5, "kept": True, "start": start, "adapted": better}
    cells = "steel, 6 kinds | default, 5 steps | 0.800 | 0.900 | +0.100 | 50 % | 0.500 | 0.400 (-0.100) | yes"
    assert results_page["adaptation_table"]([row])[1] == [cells.split(" | ")]
    assert results_page["exceptions"]([row]).endswith("wrong on steel: kept, though one of the two scores fell.")
    assert results_page["exceptions"]([row | {"kept": False}]) == "1 sets. The start was kept on steel."


def test_the_log_begins_with_an_index_of_all_entries() -> None:
    text = (ROOT / "LOG.md").read_text("utf-8")
    entries = re.findall(r"^## (20\S+) · (.*)$", text, re.MULTILINE)
    index = re.findall(r"^\| (20\S+) \| (.+?) \| \[(.*)\]\(#(.*)\) \|$", text, re.MULTILINE)
    listed = [(day, title) for day, _, title, _ in index]
    assert listed == entries, "an entry has a line in the index, in order"
    assert text.index("## Index") < text.index(f"## {entries[0][0]}")
    for day, _, title, anchor in index:
        assert anchor == re.sub(r"[^\w\- ]", "", f"{day} · {title}".lower()).replace(" ", "-")
    assert len(entries) > 30
    assert sum("(negative)" in title for _, title in entries) >= 4


def test_nothing_unfinished_private_or_unexpectedly_remote() -> None:
    parts = ("dinocli", "recipes", "tests", "demo", "benchmarks")
    files = [path for part in parts for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".toml", ".css")]
    assert len(files) > 80
    unfinished = re.compile("TO" + "DO|FIX" + r"ME|\bX{3}\b")
    private = re.compile(r"""(?:^|["'`=( ])/(?:home|root|Users|work|mnt)/\w""", re.MULTILINE)
    for path in [*files, *DOCUMENTS, ROOT / "Makefile", ROOT / "pyproject.toml"]:
        text = path.read_text(encoding="utf-8")
        assert not unfinished.search(text), path
        assert not private.search(text), path
        assert set(re.findall(r"https?://([\w.-]+)", text)) <= HOSTS, path
