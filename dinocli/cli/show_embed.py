"""What `dinocli embed` shows: the file on stdout, or everything about it as JSON."""

from shlex import quote
from typing import TYPE_CHECKING

from dinocli.cli.render import Terminal, print_result

if TYPE_CHECKING:
    from dinocli.tasks.embed.embed_options import EmbedResult


def show_embedded(terminal: Terminal, outcome: "EmbedResult | None") -> None:
    """Show what was written. With `--out -` stdout has the rows already."""
    if outcome is None:
        return
    speed = f", {outcome.images_per_second:.0f} rows a second" if outcome.images_per_second else ""
    terminal.line(f"{outcome.rows} rows in {outcome.seconds:.1f} s{speed}")
    if outcome.path:
        path = quote(str(outcome.path))
        terminal.ending([], [f"dinocli cluster {path}", f"dinocli search IMAGE --in {path}"])
    if outcome.path:
        print_result(terminal, outcome.to_dict(), outcome.path)
