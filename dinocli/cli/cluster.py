"""`dinocli cluster`: parse, one library call, present."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.embed import search_command
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import feature_options, grouped, options_of, read_options, terminal_options

if TYPE_CHECKING:
    from dinocli.cli.render import Terminal
    from dinocli.report.crosstab import LabelCounts
    from dinocli.tasks.cluster.cluster_options import ClusterResult

EPILOG = examples(
    "dinocli cluster feats.npy -k auto --report report.html",
    "dinocli cluster ./images --weights runs/mine -k 8 --link-dir groups",
    "dinocli cluster feats.npy --select 200 --labels folder --json | jq .agreement",
)
group_option = partial(opt.option, "Groups")
MAX_ROWS = 40
MAX_GROUP_COLUMNS = 10
"""Groups in a table of labels: together with the labels they fit into 80 cells."""


@grouped(source=feature_options, read=read_options, terminal=terminal_options)
def cluster(
    source: Any = None,
    read: Any = None,
    labels: Annotated[
        str,
        opt.image("--labels", "Compare groups with: folder, folder:N, CSV, COCO, YOLO or VOC.", "LABELS", paths.labels),
    ] = "",
    method: Annotated[
        Literal["kmeans", "hdbscan", "agglomerative"],
        group_option("--method, -m", "Clustering method; hdbscan finds the number of groups."),
    ] = "kmeans",
    k: Annotated[
        str, group_option("-k, --clusters", "Number of groups; auto estimates it and reports the evidence.", "K")
    ] = "auto",
    pca: Annotated[int, group_option("--pca", "PCA components to keep; 0: all (hdbscan: 50).", min=0)] = 0,
    whiten: opt.Whiten = False,
    min_size: Annotated[
        int,
        group_option(
            "--min-size", "Smallest group, images (0: 1; hdbscan: 1 %, at least 5); others are cluster -1.", min=0
        ),
    ] = 0,
    duplicates: Annotated[
        str, group_option("--duplicates", "Cosine from which images are near-copies; auto: measured; 0: off.", "COSINE")
    ] = "auto",
    checks: Annotated[
        bool, group_option("--checks/--no-checks", "Decode images to find dark, bright, blank, blurred and odd ones.")
    ] = True,
    drift: Annotated[
        str,
        group_option(
            "--drift", "Test whether this other batch has drifted; writes drift.csv.", "FEATS", paths.features
        ),
    ] = "",
    ids_from: Annotated[
        str, group_option("--ids-from", "Keep the group numbers of an earlier clusters.csv.", "CSV", paths.inputs)
    ] = "",
    select: Annotated[
        int, group_option("--select", "Number of representative images, written to selected.txt.", min=0)
    ] = 0,
    out: Annotated[
        str, opt.output("--out, -o", "Table of all images, CSV; other tables follow its name.", "FILE")
    ] = "clusters.csv",
    report: Annotated[
        str, opt.output("--report", "HTML page; none: no page.", "FILE", show_default="report.html, or --out's name")
    ] = "",
    map_: Annotated[
        Literal["pca", "tsne", "umap"], opt.output("--map", "Projection of the map; tsne takes up to 20,000 images.")
    ] = "pca",
    sheet: Annotated[str, opt.output("--sheet", "PNG with typical and border images of each group.", "FILE")] = "",
    coco: Annotated[
        str, opt.output("--coco", "Write groups, duplicates and selection to this COCO file.", "FILE")
    ] = "",
    link_dir: Annotated[
        str, opt.output("--link-dir", "Link the images into this folder, one subfolder per group.", "FOLDER")
    ] = "",
    copy: Annotated[bool, opt.output("--copy", "Copy the images instead of linking them.")] = False,
    follow_links: Annotated[
        bool, opt.output("--follow-links", "Also copy targets of links outside the folder of the images.")
    ] = False,
    dry_run: opt.DryRun = False,
    terminal: Any = None,
) -> None:
    """Group images without labels, and find duplicates and odd images; writes tables and a page.

    The path of the table of all images is printed on stdout.
    """
    if k != "auto" and not (k.isdecimal() and int(k)):
        raise typer.BadParameter(f"{k!r}: give a number of groups, or auto", param_hint="-k")
    from dinocli.cli.facts import show_plan

    with terminal:
        from dinocli.tasks.feature_inputs import check_features

        options = options_of(
            dinocli.ClusterOptions,
            source | locals(),
            k=0 if k == "auto" else int(k),
            duplicates=_cosine(duplicates),
            map=map_,
        )
        if not dry_run:
            options.check_outputs()
        check_features(options)
        if dry_run:
            from dinocli.tasks.cluster.cluster_dry_run import dry_run as plan

            show = partial(show_plan, terminal, plan(options, terminal, sys.stdin.buffer))
        else:
            show = partial(show_clusters, terminal, dinocli.cluster(options, terminal, sys.stdin.buffer))
    show()


def _cosine(text: str) -> float:
    from dinocli.tasks.cluster.cluster_options import AUTO_DUPLICATES

    if text == "auto":
        return AUTO_DUPLICATES
    try:
        if (cosine := float(text)) != AUTO_DUPLICATES:
            return cosine
    except ValueError:
        pass
    raise typer.BadParameter(f"{text!r}: give auto, a cosine or 0", param_hint="--duplicates")


def show_clusters(terminal: "Terminal", outcome: "ClusterResult") -> None:
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
        text = outcome.label_counts[column].coverage(outcome.images)
        counted = f" ({text} images have a label)" if text else ""
        terminal.line(f"{column}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()) + counted)
    if outcome.duplicate_reason:  # else they were not searched
        near = "" if outcome.duplicates is None else f", {outcome.duplicates:,} pairs are near-copies"
        terminal.line(f"{outcome.copies:,} files are exact copies{near}, {outcome.duplicate_groups:,} groups of copies")
    name, score = outcome.outliers[0] if outcome.outliers else ("", 0.0)
    if score > 0:  # else there is one image, or all are alike
        terminal.line(f"oddest image: {name}, {score:.1f} standard deviations above the median")
    if outcome.issues:
        terminal.line("issues: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(outcome.issues.items())))
    terminal.line("written: " + ", ".join(map(str, outcome.files)))
    pages = [path for path in outcome.files if path.suffix in (".html", ".png")]
    search = [search_command(outcome.features)] if outcome.features else []
    terminal.ending(pages, search)
    terminal.result(outcome.to_dict(), outcome.out)


def _show_labels(terminal: "Terminal", column: str, counts: "LabelCounts") -> None:
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
