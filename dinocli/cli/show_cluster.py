"""Output of `dinocli cluster`."""

from typing import TYPE_CHECKING

from dinocli.cli.render import Terminal, print_result
from dinocli.cli.show_embed import search_command

if TYPE_CHECKING:
    from dinocli.report.crosstab import LabelCounts
    from dinocli.tasks.cluster.cluster_options import ClusterResult

MAX_ROWS = 40
MAX_GROUP_COLUMNS = 10
"""Groups in a table of labels: together with the labels they fit into 80 cells."""


def show_clusters(terminal: Terminal, outcome: "ClusterResult") -> None:
    """Show a table of the groups on stderr, and the path of the table of all images on stdout."""
    groups = outcome.clusters[:MAX_ROWS]
    rows = [[f"{g.cluster}", f"{g.size:,}", f"{g.mean_distance:.3f}", g.medoid] for g in groups]
    terminal.table("Groups", ["cluster", "images", "distance", "medoid"], rows)
    if len(outcome.clusters) > MAX_ROWS:
        terminal.line(f"and {len(outcome.clusters) - MAX_ROWS} smaller ones")
    if outcome.ungrouped:
        terminal.line(f"{outcome.ungrouped:,} images are in no group")
    for column, scores in outcome.agreement.items():
        if not scores:
            terminal.line(f"{column}: no image has a label")
            continue
        _show_labels(terminal, column, outcome.label_counts[column])
        terminal.line(f"{column}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    if outcome.duplicates is not None:
        terminal.line(
            f"{outcome.copies:,} files are exact copies, {outcome.duplicates:,} pairs are near-copies, "
            f"{outcome.duplicate_groups:,} groups in all"
        )
    if outcome.outliers:
        name, score = outcome.outliers[0]
        terminal.line(f"oddest image: {name}, {score:.1f} standard deviations above the median")
    if outcome.issues:
        terminal.line("issues: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(outcome.issues.items())))
    terminal.line("written: " + ", ".join(map(str, outcome.files)))
    pages = [path for path in outcome.files if path.suffix in (".html", ".png")]
    search = [search_command(outcome.features)] if outcome.features else []
    terminal.ending(pages, search)
    print_result(terminal, outcome.to_dict(), outcome.out)


def _show_labels(terminal: Terminal, column: str, counts: "LabelCounts") -> None:
    """Show labels as rows, since they are long, and groups as columns."""
    header = ["none" if group < 0 else f"{group}" for group in counts.groups]
    rows = list(zip(*counts.counts, strict=True))
    if len(header) > MAX_GROUP_COLUMNS:
        header = [*header[: MAX_GROUP_COLUMNS - 1], "others"]
        rows = [(*row[: MAX_GROUP_COLUMNS - 1], sum(row[MAX_GROUP_COLUMNS - 1 :])) for row in rows]
    labelled_rows = zip(counts.labels[:MAX_ROWS], rows, strict=False)
    lines = [[label, *(f"{count:,}" for count in row), f"{sum(row):,}"] for label, row in labelled_rows]
    terminal.table(f"{column} in each group", [column, *header, "images"], lines)
    if len(counts.labels) > MAX_ROWS:
        terminal.line(f"and {len(counts.labels) - MAX_ROWS} more labels; --json has all")
