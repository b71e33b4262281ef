"""What a help page shows beside the words of its options: a short word for each value, one example a line."""

import textwrap
from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand

from dinocli.cli.paths import with_home
from dinocli.cli.usage import emptied_option

CHOICES_WIDTH = 20
"""Columns for the choices of an option; a page of 80 columns needs the others for its help."""

WORDS = {"str": "TEXT", "int": "N", "float": "X"}


def examples(*lines: str) -> str:
    """Return the end of a help page: one command line a line, since a pipe is part of some."""
    return "\n".join(("Examples:", *lines))


class Command(TyperCommand):
    """Command that expands `~`, and whose help page names values by short words, and nothing at flags and arguments.

    Typer shows `<int range>`, `<list[str]>` and `<bool>`, which take a third of a line of 80 columns.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the words of the command line, with `~` expanded; an option without its value is refused."""
        if not ctx.resilient_parsing and (option := emptied_option(args)):
            raise typer.BadParameter(f"{option} has an empty value; is a shell variable unset?", ctx=ctx)
        return super().parse_args(ctx, list(map(with_home, args)))

    def get_params(self, ctx: Any) -> Any:
        """Return the options and arguments, each with its word."""
        return with_words(super().get_params(ctx))


def with_words(parameters: list[Any]) -> list[Any]:
    """Let the help page show a short word for the value of each parameter."""
    for parameter in parameters:
        parameter.display_type_rich = partial(value_word, parameter)
    return parameters


def value_word(parameter: Any, ctx: Any = None) -> str:
    """Return the word for the value of an option: its metavar, its choices, or TEXT, N, X; none for flags."""
    if parameter.param_type_name == "argument" or getattr(parameter, "is_flag", False):
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor
    if kind.is_choice:
        return textwrap.fill(", ".join(map(str, kind.choices)), CHOICES_WIDTH, break_long_words=False)
    names = [name for name in WORDS if name in parameter.bare_type()]
    return WORDS[names[0]] if names else "TEXT"
