"""`dinocli doctor`: what this machine has, for a user and for whoever helps them."""

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
    width = max(map(len, found))
    for key, value in found.items():
        typer.echo(f"{key:{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")
