"""Help pages: a short metavar for the value of each option, one example a line."""

import textwrap
from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand

from dinocli.cli.paths import with_home
from dinocli.cli.usage import emptied_option

CHOICES_WIDTH = 20
"""Columns for the choices of an option; a page of 80 columns needs the others for its help."""

METAVARS = {"str": "TEXT", "int": "N", "float": "X"}


def examples(*lines: str) -> str:
    """Return the end of a help page: one command line a line, since a pipe is part of some."""
    return "\n".join(("Examples:", *lines))


class Command(TyperCommand):
    """Command that expands `~`, and whose help page has short metavars, and none for flags and arguments.

    Typer shows `<int range>`, `<list[str]>` and `<bool>`, which take a third of a line of 80 columns.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the words of the command line, with `~` expanded; an option without its value is refused."""
        if not ctx.resilient_parsing and (option := emptied_option(args)):
            raise typer.BadParameter(f"{option} has an empty value; is a shell variable unset?", ctx=ctx)
        return super().parse_args(ctx, list(map(with_home, args)))

    def get_params(self, ctx: Any) -> Any:
        """Return the options and arguments, each with its metavar."""
        return with_metavars(super().get_params(ctx))


def with_metavars(parameters: list[Any]) -> list[Any]:
    """Let the help page show a short metavar for each parameter."""
    for parameter in parameters:
        parameter.display_type_rich = partial(metavar_of, parameter)
    return parameters


def metavar_of(parameter: Any, ctx: Any = None) -> str:
    """Return the metavar of an option: as declared, its choices, or TEXT, N, X; empty for flags."""
    if parameter.param_type_name == "argument" or getattr(parameter, "is_flag", False):
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor
    if kind.is_choice:
        return textwrap.fill(", ".join(map(str, kind.choices)), CHOICES_WIDTH, break_long_words=False)
    names = [name for name in METAVARS if name in parameter.bare_type()]
    return METAVARS[names[0]] if names else "TEXT"
