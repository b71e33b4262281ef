"""`dinocli classify`: parse, one library call, present."""

import sys
from functools import partial
from typing import Annotated, Any, Literal

from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import feature_options, grouped, options_of, read_options, terminal_options

EPILOG = examples(
    "dinocli classify feats.npy --labels few.csv --suggest 20",
    "dinocli classify ./images --labels few.csv --precision 0.95 --save clf.safetensors",
    "dinocli classify ./new --classifier clf.safetensors --out new.csv",
)
LEARNING = "Labels and classifier"

Labels = Annotated[
    list[str] | None,
    opt.option(
        "--labels",
        metavar="LABELS",
        panel=LEARNING,
        help="CSV with path and label, COCO, YOLO, VOC, folder; repeatable.",
        callback=paths.labels,
    ),
]
Column = Annotated[
    str,
    opt.option("--column", metavar="NAME", panel=LEARNING, help="Label column to learn; needed if there are several."),
]
Groups = Annotated[
    str,
    opt.option(
        "--groups",
        metavar="COLUMN",
        panel=LEARNING,
        help="Column, or `folder`: images of one part, lot or patient stay together.",
    ),
]
Classifier = Annotated[
    str,
    opt.option(
        "--classifier",
        metavar="FILE",
        panel=LEARNING,
        help="Use this saved classifier instead of labels.",
        callback=paths.stored,
    ),
]
Method = Annotated[
    Literal["auto", "linear", "knn", "mean"],
    opt.option("--method", "-m", panel=LEARNING, help="Linear probe, k-NN, nearest mean; auto: cross-validation."),
]
Share = Annotated[
    float | None,
    opt.option(
        "--precision",
        min=0.0,
        panel=LEARNING,
        help="Precision that accepted labels must reach; the rest is unsure.",
        show_default="none",
    ),
]
Suggest = Annotated[
    int,
    opt.option("--suggest", min=0, panel=LEARNING, help="Number of images to label next, written to suggested.csv."),
]
Out = Annotated[str, opt.option("--out", "-o", metavar="FILE", panel=opt.OUTPUT, help="Table of all images, CSV.")]
Coco = Annotated[
    str, opt.option("--coco", metavar="FILE", panel=opt.OUTPUT, help="Write labels and suggestions to this COCO file.")
]
Save = Annotated[
    str, opt.option("--save", metavar="FILE", panel=opt.OUTPUT, help="Save the classifier to this .safetensors file.")
]


@grouped(source=feature_options, read=read_options, terminal=terminal_options)
def classify(
    source: Any = None,
    read: Any = None,
    labels: Labels = None,
    column: Column = "",
    groups: Groups = "",
    classifier: Classifier = "",
    method: Method = "auto",
    precision: Share = None,
    suggest: Suggest = 0,
    out: Out = "predictions.csv",
    save: Save = "",
    coco: Coco = "",
    dry_run: opt.DryRun = False,
    terminal: Any = None,
) -> None:
    """Learn from a few labelled images, and give every image a label with a calibrated confidence.

    The path of the table of all images is printed on stdout.
    """
    from dinocli.cli.facts import show_plan
    from dinocli.cli.show_classify import show_classification

    with terminal:
        from dinocli.tasks.classify.classify_options import ClassifyOptions
        from dinocli.tasks.feature_inputs import check_features

        options = options_of(ClassifyOptions, source | locals())
        if not dry_run:
            options.check_outputs()
        check_features(options, weights=classifier)
        if dry_run:
            from dinocli.tasks.classify.classify_dry_run import dry_run as plan

            show = partial(show_plan, terminal, plan(options, terminal, sys.stdin.buffer))
        else:
            from dinocli.tasks.classify.classify import classify as run

            show = partial(show_classification, terminal, run(options, terminal, sys.stdin.buffer))
    show()
