"""How the groups are shown in a terminal."""

import sys
from typing import TYPE_CHECKING

from dinocli.cli.render import Terminal, print_json

if TYPE_CHECKING:
    from dinocli.tasks.cluster import ClusterOutcome

MOST_LINES = 40


def show_clusters(terminal: Terminal, outcome: "ClusterOutcome", *, as_json: bool) -> None:
    """Show a table of the groups on stderr, and the path of the table of all images on stdout."""
    groups = outcome.clusters[:MOST_LINES]
    rows = [[f"{g.cluster}", f"{g.size:,}", f"{g.mean_distance:.3f}", g.medoid] for g in groups]
    terminal.table("Groups", ["cluster", "images", "distance", "medoid"], rows)
    if len(outcome.clusters) > MOST_LINES:
        terminal.line(f"and {len(outcome.clusters) - MOST_LINES} smaller ones")
    if outcome.ungrouped:
        terminal.line(f"{outcome.ungrouped:,} images are in no group")
    for column, found in outcome.agreement.items():
        terminal.line(f"{column}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    if outcome.duplicates is not None:
        terminal.line(f"{outcome.duplicates:,} pairs are nearly the same, {outcome.copies:,} files are copies")
    if outcome.outliers:
        name, score = outcome.outliers[0]
        terminal.line(f"oddest image: {name}, {score:.1f} times as far from its neighbours as usual")
    terminal.line("written: " + ", ".join(map(str, outcome.files)))
    if as_json:
        print_json(outcome.to_dict())
    else:
        sys.stdout.write(f"{outcome.out}\n")
