"""Messages for wrong command lines."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import typer

from dinocli.report.text import visible, wrap_words

SINGLE_INPUT_OPTIONS = ("--train", "--test", "--labels", "--reference", "--truth", "--baseline", "--roi")
"""Options that name inputs and take one value: Typer would use the last of several without a word."""


def is_main_process() -> bool:
    """Return whether this is rank 0 of `torchrun`, or a single process."""
    return not os.environ.get("RANK", "").strip("0").isdecimal()


def print_error(message: str) -> None:
    """Print why a command ends on stderr; on a terminal with control characters escaped, broken between words."""
    line = f"dinocli: {message}"
    if sys.stderr.isatty():
        line = wrap_words(visible(line), shutil.get_terminal_size().columns)
    typer.echo(line, err=True)


def usage_message(error: Any) -> str:
    """Return one line: what is wrong with the command line, and the command that prints its help."""
    path = error.ctx.command_path if error.ctx else "dinocli"
    text = error.format_message().replace("Value error, ", "").rstrip(".")
    value = _value_of(getattr(error, "param", None))
    if value and value not in text:
        text += f", not {value!r}"
    return f"{' '.join(text.split())}; see `{path} --help`"


def repeated_option(command: Any, words: list[str]) -> str:
    """Return the first of `SINGLE_INPUT_OPTIONS` that is given several times but takes one value; empty: none."""
    counts = Counter(word.partition("=")[0] for word in words)
    single = {name for param in command.params for name in param.opts if not getattr(param, "multiple", True)}
    return next((name for name in SINGLE_INPUT_OPTIONS if name in single and counts[name] > 1), "")


def emptied_option(words: list[str]) -> str:
    """Return the first option whose value is an empty text, which would mean its default; empty: none."""
    for word, following in pairwise([*words, "-"]):
        name, equals, value = word.partition("=")
        if word == "--":
            break
        if name.startswith("-") and len(name) > 1 and not (value if equals else following):
            return name
    return ""


def without_options(arguments: Sequence[str], options: Sequence[str], flags: Sequence[str] = ()) -> list[str]:
    """Return a command line without some options, with their values, and without some flags."""
    with_equals = tuple(f"{name}=" for name in options if name.startswith("--"))
    kept, skip = list[str](), False
    for argument in arguments:
        if skip or argument in options:
            skip = not skip
        elif argument not in flags and not argument.startswith(with_equals):
            kept.append(argument)
    return kept


def _value_of(param: Any) -> str:
    """Return an option's value on the command line; Typer's messages about numbers leave it out."""
    names = tuple(getattr(param, "opts", ()))
    for word, following in reversed([*pairwise([*sys.argv[1:], ""])]):  # the last of several is the one that is taken
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else following
    return ""
