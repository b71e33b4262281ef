"""`dinocli cluster`: parse, one library call, present."""

import sys
from functools import partial
from typing import Annotated, Any, Literal

import typer

from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import feature_options, grouped, options_of, read_options, terminal_options

EPILOG = examples(
    "dinocli cluster feats.npy -k auto --report report.html",
    "dinocli cluster ./images --weights runs/mine -k 8 --link-dir groups",
    "dinocli cluster feats.npy --select 200 --labels folder --json | jq .agreement",
)
GROUPS = "Groups"


Method = Annotated[
    Literal["kmeans", "hdbscan", "agglomerative"],
    opt.option("--method", "-m", panel=GROUPS, help="Clustering method; hdbscan finds the number of groups."),
]
K = Annotated[
    str,
    opt.option(
        "-k",
        "--clusters",
        metavar="K",
        panel=GROUPS,
        help="Number of groups; auto estimates it and reports the evidence.",
    ),
]
Pca = Annotated[int, opt.option("--pca", panel=GROUPS, min=0, help="PCA components to keep; 0: all (hdbscan: 50).")]
MinSize = Annotated[
    int,
    opt.option(
        "--min-size",
        panel=GROUPS,
        min=0,
        help="Smallest group, images (0: 1; hdbscan: 1 %, at least 5); others are cluster -1.",
    ),
]
Duplicates = Annotated[
    str,
    opt.option(
        "--duplicates",
        panel=GROUPS,
        metavar="COSINE",
        help="Cosine from which images are near-copies; auto: measured; 0: off.",
    ),
]
Checks = Annotated[
    bool,
    opt.option(
        "--checks/--no-checks", panel=GROUPS, help="Decode images to find dark, bright, blank, blurred and odd ones."
    ),
]
DriftFile = Annotated[
    str,
    opt.option(
        "--drift",
        panel=GROUPS,
        metavar="FEATS",
        help="Test whether this other batch has drifted; writes drift.csv.",
        callback=paths.features,
    ),
]
IdsFrom = Annotated[
    str,
    opt.option(
        "--ids-from",
        panel=GROUPS,
        metavar="CSV",
        help="Keep the group numbers of an earlier clusters.csv.",
        callback=paths.inputs,
    ),
]
Select = Annotated[
    int,
    opt.option("--select", panel=GROUPS, min=0, help="Number of representative images, written to selected.txt."),
]
Labels = Annotated[
    str,
    opt.option(
        "--labels",
        metavar="LABELS",
        panel=opt.INPUT,
        help="Compare groups with: folder, folder:N, CSV, COCO, YOLO or VOC.",
        callback=paths.labels,
    ),
]
Out = Annotated[
    str,
    opt.option(
        "--out", "-o", metavar="FILE", panel=opt.OUTPUT, help="Table of all images, CSV; other tables follow its name."
    ),
]
Report = Annotated[
    str,
    opt.option(
        "--report",
        metavar="FILE",
        panel=opt.OUTPUT,
        help="HTML page; none: no page.",
        show_default="report.html, or --out's name",
    ),
]
Map = Annotated[
    Literal["pca", "tsne", "umap"],
    opt.option("--map", panel=opt.OUTPUT, help="Projection of the map; tsne takes up to 20,000 images."),
]
Sheet = Annotated[
    str,
    opt.option("--sheet", metavar="FILE", panel=opt.OUTPUT, help="PNG with typical and border images of each group."),
]
Coco = Annotated[
    str,
    opt.option(
        "--coco", metavar="FILE", panel=opt.OUTPUT, help="Write groups, duplicates and selection to this COCO file."
    ),
]
LinkDir = Annotated[
    str,
    opt.option(
        "--link-dir",
        metavar="FOLDER",
        panel=opt.OUTPUT,
        help="Link the images into this folder, one subfolder per group.",
    ),
]
Copy = Annotated[bool, opt.option("--copy", panel=opt.OUTPUT, help="Copy the images instead of linking them.")]
FollowLinks = Annotated[
    bool,
    opt.option("--follow-links", panel=opt.OUTPUT, help="Also copy targets of links outside the folder of the images."),
]


@grouped(source=feature_options, read=read_options, terminal=terminal_options)
def cluster(
    source: Any = None,
    read: Any = None,
    labels: Labels = "",
    method: Method = "kmeans",
    k: K = "auto",
    pca: Pca = 0,
    whiten: opt.Whiten = False,
    min_size: MinSize = 0,
    duplicates: Duplicates = "auto",
    checks: Checks = True,
    drift: DriftFile = "",
    ids_from: IdsFrom = "",
    select: Select = 0,
    out: Out = "clusters.csv",
    report: Report = "",
    map_: Map = "pca",
    sheet: Sheet = "",
    coco: Coco = "",
    link_dir: LinkDir = "",
    copy: Copy = False,
    follow_links: FollowLinks = False,
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
        from dinocli.tasks.cluster.cluster_options import ClusterOptions
        from dinocli.tasks.feature_inputs import check_features

        options = options_of(
            ClusterOptions,
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
            from dinocli.tasks.cluster.cluster import cluster as run

            show = partial(show_clusters, terminal, run(options, terminal, sys.stdin.buffer))
    show()


def _cosine(text: str) -> float:
    from dinocli.tasks.cluster.cluster_options import AUTO_DUPLICATES

    try:
        return AUTO_DUPLICATES if text == "auto" else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give auto, a cosine or 0", param_hint="--duplicates") from None
