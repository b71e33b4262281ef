"""Output of `dinocli segment`."""

from collections.abc import Iterable, Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

from dinocli.cli.render import Terminal, print_json, print_result

if TYPE_CHECKING:
    from dinocli.tasks.segment.segment_options import SegmentResult


def show_segmented(terminal: Terminal, outcome: "SegmentResult") -> None:
    """Show counts and scores on stderr, the output folder on stdout."""
    if outcome.scores:
        rows = [
            [name, f"{value:.3f}", f"{low:.3f} to {high:.3f}"] for name, (value, low, high) in outcome.scores.items()
        ]
        terminal.table("Against the truth", ["", "value", "95 %"], rows)
    if outcome.confusion:
        counts = (f"{count} {name.replace('_', ' ')}" for name, count in outcome.confusion.items())
        terminal.line(f"images: {', '.join(counts)}")
    if outcome.groups:
        groups = outcome.groups
        terminal.line(f"{groups['good']} of {groups['groups']} groups are good: {outcome.folder / 'groups.csv'}")
    terminal.line(
        f"{outcome.regions} regions in {outcome.segmented} images by {outcome.method.name}; "
        f"{outcome.empty_images} images have an empty mask"
    )
    other = f"dinocli segment --from {quote(str(outcome.folder))} --threshold VALUE --out FOLDER"
    terminal.ending([outcome.folder / "report.html"], [other] if outcome.method.name == "anomaly" else [])
    print_result(terminal, outcome.to_dict(), outcome.folder)


def show_answers(answers: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, flushed at once."""
    for answer in answers:
        print_json(answer)
