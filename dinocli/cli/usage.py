"""What is wrong with a command line, in one line."""

import sys
from collections import Counter
from itertools import pairwise
from typing import Any

NAMED_ONCE = ("--train", "--test", "--labels", "--reference", "--truth", "--baseline", "--roi")
"""Options that name inputs: of several values the last would count, as of every option, where all of them are meant."""


def usage_sentence(error: Any) -> str:
    """Say in one line what was wrong with the command line, and where its help is."""
    path = error.ctx.command_path if error.ctx else "dinocli"
    text = error.format_message().replace("Value error, ", "").rstrip(".")
    value = _value_of(getattr(error, "param", None))
    if value and value not in text:
        text += f", not {value!r}"
    return f"{' '.join(text.split())}; see `{path} --help`"


def repeated_option(command: Any, words: list[str]) -> str:
    """Return an option of `NAMED_ONCE` that takes one value here and is given more; empty for none."""
    given = Counter(word.partition("=")[0] for word in words)
    single = {name for one in command.params for name in one.opts if not getattr(one, "multiple", True)}
    return next((name for name in NAMED_ONCE if name in single and given[name] > 1), "")


def _value_of(param: Any) -> str:
    """Return what the command line gave for an option; Typer's numbers are refused without their value."""
    names = tuple(getattr(param, "opts", ()))
    for word, following in pairwise([*sys.argv[1:], ""]):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else following
    return ""
