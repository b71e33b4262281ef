"""Facts as two columns on stdout: formatted for a terminal, tab-separated for a pipe, JSON for `--json`."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dinocli.cli.render import Terminal, print_json
from dinocli.report.text import byte_size, visible

_BYTES_SUFFIX = "_bytes"


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print one fact per line; on a terminal in words that wrap within their column, in a pipe numbers with all digits.

    Args:
        facts: Name -> value; values of names that end in `_bytes` are bytes.
    """
    if not sys.stdout.isatty():
        for name, value in facts.items():
            is_plain = isinstance(value, bool | int | float) or (isinstance(value, str) and value)
            joined = value if is_plain else _formatted(name, value)
            sys.stdout.write(f"{name}\t{joined}\n")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        label = name.removesuffix(_BYTES_SUFFIX)
        label = f"{label} size" if label != name and label in facts else label
        table.add_row(Text(label.replace("_", " ")), Text(visible(_formatted(name, value))))
    Console(highlight=False, markup=False, emoji=False).print(table)


def show_plan(terminal: Terminal, plan: Mapping[str, Any] | None) -> None:
    """Show the plan of a dry run; JSON includes the recipe."""
    if plan is None:
        return
    if terminal.as_json:
        print_json(plan)
    else:
        print_facts({name: value for name, value in plan.items() if name != "recipe"})


def _formatted(name: str, value: Any) -> str:
    if name.endswith(_BYTES_SUFFIX) and isinstance(value, int):
        return byte_size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if value is None or value == "":
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
