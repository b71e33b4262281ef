"""`dinocli recipe list|show|copy|check`."""

from pathlib import Path
from typing import Annotated

import typer

from dinocli.cli import options as opt
from dinocli.cli.help_page import Command, examples

app = typer.Typer(
    help="List, show, copy and check recipes: the settings of a run.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Names = Annotated[
    list[str], typer.Argument(help="Names or paths; later ones override earlier ones.", metavar="NAME...")
]


@app.command("list", cls=Command, epilog=examples("dinocli recipe list", "dinocli recipe list | cut -f1"))
def list_recipes(json: opt.Json = False, debug: opt.Debug = False) -> None:
    """List the shipped recipes with the images that they are for; tab-separated in a pipe."""
    from dinocli.cli.facts import print_facts
    from dinocli.cli.render import print_json
    from dinocli.config.load import load_recipe, recipe_names

    descriptions = {name: load_recipe([name]).description for name in recipe_names()}
    if json:
        print_json({"recipes": descriptions})
        return
    print_facts(descriptions)


@app.command(
    "show",
    cls=Command,
    epilog=examples("dinocli recipe show grey", "dinocli recipe show grey -s run.steps=500 > mine.toml"),
)
def show(names: Names, settings: opt.Settings = None, json: opt.Json = False, debug: opt.Debug = False) -> None:
    """Print all settings of a recipe (its own and those of `natural`) as TOML for `--recipe`."""
    from dinocli.cli.render import print_json
    from dinocli.config.load import load_recipe, to_toml

    merged = load_recipe(names, settings or ())
    if json:
        print_json({"recipe": merged.model_dump(mode="json")})
    else:
        typer.echo(to_toml(merged), nl=False)


@app.command(
    "copy",
    cls=Command,
    epilog=examples("dinocli recipe copy grey mine.toml", "dinocli pretrain ./images --recipe mine.toml"),
)
def copy(
    name: Annotated[str, typer.Argument(help="Name or path of a recipe.", metavar="NAME")],
    path: Annotated[str, typer.Argument(help="The new file.", metavar="FILE")],
    force: opt.Force = False,
    debug: opt.Debug = False,
) -> None:
    """Copy a recipe with its comments into a file to edit."""
    from dinocli.artifacts.protected_files import check_free
    from dinocli.config.load import recipe_path
    from dinocli.file_set import claimed
    from dinocli.files import write_atomic

    target, text = Path(path), recipe_path(name).read_text(encoding="utf-8")
    check_free([target], force=force, options="name", inputs=[name])
    with claimed(target):
        write_atomic(target, text)
    typer.echo(str(target))


@app.command("check", cls=Command, epilog=examples("dinocli recipe check mine.toml"))
def check(names: Names, settings: opt.Settings = None, json: opt.Json = False, debug: opt.Debug = False) -> None:
    """Check that recipes are valid, and list their differences from `natural`."""
    from dinocli.cli.render import print_json
    from dinocli.config.load import differences, load_recipe
    from dinocli.tasks.inputs import check_data

    base, merged = load_recipe(), load_recipe(names, settings or ())
    check_data(merged.data)
    changes = differences(base.model_dump(mode="json"), merged.model_dump(mode="json"))
    if json:
        print_json({"ok": True, "differences": changes})
        return
    for change in changes:
        typer.echo(change)
