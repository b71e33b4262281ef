"""`dinocli classify`: parse, one library call, present."""

import sys
from functools import partial
from typing import Annotated, Any, Literal

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import feature_options, grouped, options_of, read_options, terminal_options

EPILOG = examples(
    "dinocli classify feats.npy --labels few.csv --suggest 20",
    "dinocli classify ./images --labels few.csv --precision 0.95 --save clf.safetensors",
    "dinocli classify ./new --classifier clf.safetensors --out new.csv",
)
learning_option = partial(opt.option, "Labels and classifier")


@grouped(source=feature_options, read=read_options, terminal=terminal_options)
def classify(
    source: Any = None,
    read: Any = None,
    labels: Annotated[
        list[str] | None,
        learning_option(
            "--labels", "CSV with path and label, COCO, YOLO, VOC, folder; repeatable.", "LABELS", paths.labels
        ),
    ] = None,
    column: Annotated[
        str, learning_option("--column", "Label column to learn; needed if there are several.", "NAME")
    ] = "",
    groups: Annotated[
        str,
        learning_option("--groups", "Column, or `folder`: images of one part, lot or patient stay together.", "COLUMN"),
    ] = "",
    classifier: Annotated[
        str, learning_option("--classifier", "Use this saved classifier instead of labels.", "FILE", paths.stored)
    ] = "",
    method: Annotated[
        Literal["auto", "linear", "knn", "mean"],
        learning_option("--method, -m", "Linear probe, k-NN, nearest mean; auto: cross-validation."),
    ] = "auto",
    precision: Annotated[
        float | None,
        learning_option(
            "--precision",
            "Precision that accepted labels must reach; the rest is unsure.",
            min=0.0,
            show_default="none",
        ),
    ] = None,
    suggest: Annotated[
        int, learning_option("--suggest", "Number of images to label next, written to suggested.csv.", min=0)
    ] = 0,
    out: Annotated[str, opt.output("--out, -o", "Table of all images, CSV.", "FILE")] = "predictions.csv",
    save: Annotated[str, opt.output("--save", "Save the classifier to this .safetensors file.", "FILE")] = "",
    coco: Annotated[str, opt.output("--coco", "Write labels and suggestions to this COCO file.", "FILE")] = "",
    dry_run: opt.DryRun = False,
    terminal: Any = None,
) -> None:
    """Learn from a few labelled images, and give every image a label with a calibrated confidence.

    The path of the table of all images is printed on stdout.
    """
    from dinocli.cli.facts import show_plan
    from dinocli.cli.show_classify import show_classification

    with terminal:
        from dinocli.tasks.feature_inputs import check_features

        options = options_of(dinocli.ClassifyOptions, source | locals())
        if not dry_run:
            options.check_outputs()
        check_features(options, weights=classifier)
        if dry_run:
            from dinocli.tasks.classify.classify_dry_run import dry_run as plan

            show = partial(show_plan, terminal, plan(options, terminal, sys.stdin.buffer))
        else:
            show = partial(show_classification, terminal, dinocli.classify(options, terminal, sys.stdin.buffer))
    show()
