"""Output of `dinocli embed`."""

from shlex import quote
from typing import TYPE_CHECKING

from dinocli.cli.render import Terminal, print_result

if TYPE_CHECKING:
    from dinocli.tasks.embed.embed_options import EmbedResult


def show_embedded(terminal: Terminal, outcome: "EmbedResult | None") -> None:
    """Show the speed on stderr and the path on stdout; with `--out -` stdout holds the rows already."""
    if outcome is None:
        return
    speed = f", {outcome.images_per_second:.0f} rows a second" if outcome.images_per_second else ""
    terminal.line(f"{outcome.rows} rows in {outcome.seconds:.1f} s{speed}")
    if outcome.path:
        path = quote(str(outcome.path))
        terminal.ending([], [f"dinocli cluster {path}", f"dinocli search IMAGE --in {path}"])
    if outcome.path:
        print_result(terminal, outcome.to_dict(), outcome.path)
