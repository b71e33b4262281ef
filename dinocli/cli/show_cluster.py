"""How the groups are shown in a terminal."""

from shlex import quote
from typing import TYPE_CHECKING

from dinocli.cli.render import Terminal, print_result

if TYPE_CHECKING:
    from dinocli.report.crosstab import LabelCounts
    from dinocli.tasks.cluster.cluster_options import ClusterResult

MOST_LINES = 40
MOST_COLUMNS = 10
"""Groups beside each other: with the labels in front they fit into 80 columns."""


def show_clusters(terminal: Terminal, outcome: "ClusterResult") -> None:
    """Show a table of the groups on stderr, and the path of the table of all images on stdout."""
    groups = outcome.clusters[:MOST_LINES]
    rows = [[f"{g.cluster}", f"{g.size:,}", f"{g.mean_distance:.3f}", g.medoid] for g in groups]
    terminal.table("Groups", ["cluster", "images", "distance", "medoid"], rows)
    if len(outcome.clusters) > MOST_LINES:
        terminal.line(f"and {len(outcome.clusters) - MOST_LINES} smaller ones")
    if outcome.ungrouped:
        terminal.line(f"{outcome.ungrouped:,} images are in no group")
    for column, found in outcome.agreement.items():
        if not found:
            terminal.line(f"{column}: no image has a label")
            continue
        _show_labels(terminal, column, outcome.label_counts[column])
        terminal.line(f"{column}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    if outcome.duplicates is not None:
        terminal.line(
            f"{outcome.copies:,} files are exact copies, {outcome.duplicates:,} pairs are near-copies, "
            f"{outcome.duplicate_groups:,} groups in all"
        )
    if outcome.outliers:
        name, score = outcome.outliers[0]
        terminal.line(f"oddest image: {name}, {score:.1f} standard deviations beyond the usual")
    if outcome.issues:
        terminal.line("issues: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(outcome.issues.items())))
    terminal.line("written: " + ", ".join(map(str, outcome.files)))
    pages = [path for path in outcome.files if path.suffix in (".html", ".png")]
    search = [f"dinocli search IMAGE --in {quote(str(outcome.features))}"] if outcome.features else []
    terminal.ending(pages, search)
    print_result(terminal, outcome.to_dict(), outcome.out)


def _show_labels(terminal: Terminal, column: str, found: "LabelCounts") -> None:
    """Show a line a label and a column a group, because labels are long and numbers of groups short."""
    heads = ["none" if group < 0 else f"{group}" for group in found.groups]
    rows = list(zip(*found.counts, strict=True))
    if len(heads) > MOST_COLUMNS:
        heads = [*heads[: MOST_COLUMNS - 1], "others"]
        rows = [(*row[: MOST_COLUMNS - 1], sum(row[MOST_COLUMNS - 1 :])) for row in rows]
    named = zip(found.labels[:MOST_LINES], rows, strict=False)
    lines = [[label, *(f"{count:,}" for count in row), f"{sum(row):,}"] for label, row in named]
    terminal.table(f"{column} in each group", [column, *heads, "images"], lines)
    if len(found.labels) > MOST_LINES:
        terminal.line(f"and {len(found.labels) - MOST_LINES} more labels; --json has all")
