"""What `dinocli segment` shows when it is done."""

import sys
from typing import TYPE_CHECKING

from dinocli.cli.render import Terminal, print_json

if TYPE_CHECKING:
    from dinocli.tasks.segment.job import SegmentOutcome


def show_segmented(terminal: Terminal, outcome: "SegmentOutcome", *, as_json: bool) -> None:
    """Show counts and scores on stderr, the folder of the results on stdout."""
    if outcome.scores:
        rows = [
            [name, f"{value:.3f}", f"{low:.3f} to {high:.3f}"] for name, (value, low, high) in outcome.scores.items()
        ]
        terminal.table("Against the truth", ["", "value", "95 %"], rows)
    terminal.line(
        f"{outcome.regions} regions in {outcome.segmented} images by {outcome.method}, nothing in {outcome.nothing}; "
        f"look at {outcome.folder / 'report.html'}"
    )
    if as_json:
        print_json(outcome.to_dict())
    else:
        sys.stdout.write(f"{outcome.folder}\n")
