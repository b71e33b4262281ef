"""What MkDocs adds to the written pages: references made from the code, the files of the root, links that hold.

Nothing of this is stored: the pages cannot differ from the code that they describe.
"""

import posixpath
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel

from dinocli.cli.app import EPILOG, app
from dinocli.config.load import load_recipe, recipe_names
from dinocli.config.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
FROM_ROOT = {f"{name}.md": f"{name.lower()}.md" for name in ("LOG", "CHANGELOG", "CONTRIBUTING", "SECURITY")}
"""Files of the root that are pages too."""

WORDS = {int: "number", float: "number", str: "text", Path: "path"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made or lie elsewhere."""
    made = {"reference/cli.md": cli_reference(), "reference/recipes.md": recipe_reference()}
    made |= {page: (ROOT / name).read_text("utf-8") for name, page in FROM_ROOT.items()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to pages, or into plain words where there is no page."""
    return rewritten(markdown, page.file.src_uri)


def rewritten(markdown: str, page: str) -> str:
    """Rewrite the links of one page.

    Args:
        markdown: Its text.
        page: Its place in the site, such as `tutorials/adapt.md`.
    """
    here = {to: name for name, to in FROM_ROOT.items()}.get(page, f"docs/{page}")

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        if re.match(r"\w+:", target) or not target:
            return found[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        if place in FROM_ROOT:
            place = f"docs/{FROM_ROOT[place]}"
        elif place == "README.md":
            place = "docs/index.md"
        if not place.startswith("docs/"):
            return words
        return f"[{words}]({posixpath.relpath(place[5:], posixpath.dirname(page) or '.')}{anchor})"

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)", link, markdown)


def cli_reference() -> str:
    """Write every command with its arguments, options and examples."""
    command: Any = typer.main.get_command(app)
    parts = [f"# Command line\n\n{EPILOG}\n\n`dinocli COMMAND --help` shows the same.\n"]
    return "\n".join([*parts, *(_command(name, found) for name, found in _commands(command))])


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        if getattr(inner, "commands", {}):
            yield from _commands(inner, (*path, name))
        else:
            yield " ".join((*path, name)), inner


def _command(name: str, command: Any) -> str:
    arguments = " ".join(str(p.metavar or p.name).upper() for p in command.params if p.param_type_name == "argument")
    text = [f"## {name}\n", f"```text\ndinocli {name} {arguments} [OPTIONS]\n```\n", f"{_plain(command.help)}\n"]
    if command.epilog:
        lines = command.epilog.removeprefix("Examples:\n").splitlines()
        text.append("```sh\n" + "\n".join(line.strip() for line in lines) + "\n```\n")
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if parameter.name != "help":
            panels.setdefault(parameter.rich_help_panel or "Arguments and options", []).append(parameter)
    for panel, parameters in panels.items():
        lines = [f"| {panel} | value | default | |\n|---|---|---|---|"]
        lines += [f"| {_names(p)} | {_kind(p)} | {_default(p)} | {_plain(_cell(p.help or ''))} |" for p in parameters]
        text.append("\n".join(lines) + "\n")
    return "\n".join(text)


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_cell(parameter.metavar or parameter.name)}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _kind(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False) or parameter.param_type_name == "argument":
        return ""
    if parameter.metavar:
        return f"`{_cell(parameter.metavar)}`"
    words = _type_words(parameter.type_descriptor.annotation)
    return f"{words.removeprefix('list of ')}, repeatable" if parameter.multiple else words


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return _plain(_cell(parameter.show_default))
    if parameter.default in (None, "", False) or not parameter.show_default:
        return ""
    return f"`{_cell(str(parameter.default))}`"


def recipe_reference() -> str:
    """Write every setting with its type, its meaning and its value, and what each shipped recipe changes."""
    base = load_recipe()
    names = recipe_names()
    parts = [
        "# Recipes\n\nA recipe is a TOML file with its differences from `natural`. `--recipe` takes a name or a path; "
        "of several, later ones win. `--set section.key=value` changes one setting. `dinocli recipe show NAME` prints "
        "all settings, `dinocli recipe copy NAME mine.toml` makes a file to edit.\n",
        "| recipe | for |\n|---|---|\n"
        + "\n".join(f"| [`{name}`](#{name}) | {_plain(_cell(load_recipe([name]).description))} |" for name in names)
        + "\n",
        "## Settings\n\nThe value is that of `natural`. `auto` is resolved when a run starts, printed and saved.\n",
    ]
    for section, field in Recipe.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            parts.append(_section(section, model, getattr(base, section)))
    parts.append("## Shipped recipes\n\nWhat each changes, with the reasons beside the values.\n")
    for name in names:
        source = next((ROOT / "recipes").glob(f"{name}.toml")).read_text("utf-8")
        parts.append(f"### {name}\n\n```toml\n{source.rstrip()}\n```\n")
    return "\n".join(parts)


def _section(name: str, model: type[BaseModel], values: BaseModel) -> str:
    lines = [f"### [{name}]\n\n| setting | type | `natural` | meaning |\n|---|---|---|---|"]
    for key, field in model.model_fields.items():
        words, meaning = _type_words(field.annotation), _plain(_cell(field.description or ""))
        lines.append(f"| `{name}.{key}` | {words} | `{_cell(_toml(getattr(values, key)))}` | {meaning} |")
    return "\n".join(lines) + "\n"


def _type_words(annotation: Any) -> str:
    """Name a type for a reader: `auto`, number, list of text."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type_words(one) for one in inside if one is not type(None)))
    if origin in (list, tuple):
        return "list of " + " or ".join(dict.fromkeys(_type_words(one) for one in inside if one is not ...))
    if origin is not None and inside:  # Annotated: the type, then its limits
        return _type_words(inside[0])
    return "true or false" if annotation is bool else WORDS.get(annotation, "text")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _plain(text: str) -> str:
    """Keep Markdown from reading `'*_mask.*'` as emphasis and `<name>` as a tag; what stands in backticks is code."""
    return re.sub(r"(`[^`]*`)|([*_\[])|(<)", lambda found: found[1] or (f"\\{found[2]}" if found[2] else "&lt;"), text)
