"""`dinocli cluster`: parse, one library call, present."""

import sys
from functools import partial
from typing import Annotated, Any, Literal

import typer

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import feature_options, grouped, options_of, read_options, terminal_options

EPILOG = examples(
    "dinocli cluster feats.npy -k auto --report report.html",
    "dinocli cluster ./images --weights runs/mine -k 8 --link-dir groups",
    "dinocli cluster feats.npy --select 200 --labels folder --json | jq .agreement",
)
group_option = partial(opt.option, "Groups")


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
    from dinocli.cli.show_cluster import show_clusters

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

    try:
        return AUTO_DUPLICATES if text == "auto" else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give auto, a cosine or 0", param_hint="--duplicates") from None
