"""Output of `dinocli embed`."""

import re
from collections.abc import Sequence
from pathlib import Path
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
        terminal.ending([], next_commands(outcome.path, outcome.shape))
        print_result(terminal, outcome.to_dict(), outcome.path)


def next_commands(path: Path, shape: Sequence[int]) -> list[str]:
    """Return the commands that take the features; grids of patches are for other programs.

    Args:
        path: Feature file, or folder of patch tokens.
        shape: Shape of one row.
    """
    if shard := re.fullmatch(r"(.+)\.\d+of\d+", path.stem):
        return [f"dinocli embed --merge --out {quote(str(path.with_name(shard[1] + path.suffix)))}"]
    return [f"dinocli cluster {quote(str(path))}", search_command(path)] if len(shape) == 1 else []


def search_command(path: Path) -> str:
    """Return the command that searches in a feature file; in one of tiles for a part of an image."""
    box = " --box X,Y,W,H" if path.with_name(f"{path.stem}.tiles.csv").is_file() else ""
    return f"dinocli search IMAGE{box} --in {quote(str(path))}"
