"""`dinocli doctor`: what this machine has, for a user and for whoever helps them."""

from typing import Any

import typer

from dinocli.cli import options as opt

EPILOG = "Example: dinocli doctor --json | jq .torch"


def doctor(json: opt.Json = False, debug: opt.Debug = False) -> None:
    """Show versions, devices, image formats and caches. Asks no network."""
    from dinocli.cli.render import print_json
    from dinocli.tasks.doctor import examine

    found = examine()
    if json:
        print_json(found)
        return
    lines: dict[str, Any] = {}
    for key, value in found.items():
        lines |= {f"extra {name}": state for name, state in value.items()} if isinstance(value, dict) else {key: value}
    width = max(map(len, lines))
    for key, value in lines.items():
        typer.echo(f"{key:{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")
