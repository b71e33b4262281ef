"""The site of docs/: built as `make docs` builds it, with every link checked, and without anything to fetch."""

import importlib.util
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import typer

from dinocli.cli.app import app
from dinocli.config.load import recipe_names
from dinocli.config.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "mkdocs.yml").is_file():
    pytest.skip("the documents are in the repository alone", allow_module_level=True)
pytest.importorskip("mkdocs", reason="the site is built with the extra `docs`")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    found = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["site_hooks"] = module
    found.loader.exec_module(module)
    return module


def test_every_option_of_every_command_is_in_the_reference(hooks: ModuleType) -> None:
    text = hooks.cli_reference()
    commands = dict(hooks._commands(typer.main.get_command(app)))
    assert len(commands) > 10
    for name, command in commands.items():
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            for option in parameter.opts if parameter.name != "help" else ():
                assert f"`{option}`" in section or parameter.param_type_name == "argument", f"{name} {option}"


def test_every_setting_and_recipe_is_in_the_reference(hooks: ModuleType) -> None:
    text = hooks.recipe_reference()
    keys = [
        f"{section}.{key}"
        for section, field in Recipe.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
    ]
    assert len(keys) > 50
    for key in keys:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{key}` |")]
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == 4
        assert all(cells), f"{key} has a type, a value and a meaning"
    assert all(f"### {name}\n" in text for name in recipe_names())


@pytest.mark.parametrize(
    ("page", "link", "rewritten"),
    [
        ("guard.md", "[log](../LOG.md)", "[log](log.md)"),
        ("tutorials/adapt.md", "[log](../../LOG.md#a)", "[log](../log.md#a)"),
        ("log.md", "[guard](docs/guard.md)", "[guard](guard.md)"),
        ("tutorials/adapt.md", "[r](../results.md#x)", "[r](../results.md#x)"),
        ("guide.md", "[speed](../benchmarks/gpu.py)", "speed"),
        ("faq.md", "[a](https://arxiv.org/abs/1) [b](#below)", "[a](https://arxiv.org/abs/1) [b](#below)"),
    ],
)
def test_links_to_the_repository_become_links_of_the_site(
    hooks: ModuleType, page: str, link: str, rewritten: str
) -> None:
    assert hooks.rewritten(link, page) == rewritten


def test_what_the_help_says_is_not_read_as_markdown(hooks: ModuleType) -> None:
    assert hooks._plain("leave out '*_mask.*' of `a_*b`, <name>") == "leave out '\\*\\_mask.\\*' of `a_*b`, &lt;name>"
    assert "\\*\\_mask.\\*" in hooks.cli_reference()


class Fetched(HTMLParser):
    """What a browser fetches for a page: not the links that somebody may click."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        wanted = {"script": "src", "img": "src", "iframe": "src", "link": "href"}.get(tag, "")
        if tag != "link" or known.get("rel") in ("stylesheet", "icon", "preload"):
            self.addresses.append(known.get(wanted) or "")


@pytest.mark.slow
def test_the_site_builds_with_every_link_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build(config)  # strict: any broken link, anchor or page outside the navigation ends it
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 19
    for page in pages:
        away = [address for address in Fetched(page.read_text("utf-8")).addresses if re.match(r"(https?:)?//", address)]
        assert not away, page
    css = "".join(path.read_text("utf-8") for path in (tmp_path / "site").rglob("*.css"))
    assert not re.search(r"@import|url\(['\"]?(https?:)?//", css)
