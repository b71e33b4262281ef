"""`dinocli evaluate`: parse, one library call, present."""

import sys
from functools import partial
from typing import Annotated, Any

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import feature_options, grouped, options_of, read_options, terminal_options

EPILOG = examples(
    "dinocli evaluate feats.npy --labels folder",
    "dinocli evaluate adapted.npy --baseline start.npy --labels parts.csv --groups part",
)

label_option = partial(opt.option, "Labels")


@grouped(source=feature_options, read=read_options, terminal=terminal_options)
def evaluate(
    source: Any = None,
    read: Any = None,
    labels: Annotated[
        str,
        label_option("--labels", "folder, folder:N (0 the outermost), CSV, COCO, YOLO or VOC.", "LABELS", paths.labels),
    ] = "",
    groups: Annotated[
        str,
        label_option(
            "--groups", "CSV column, or `folder`: images of one part, lot or patient stay together.", "COLUMN"
        ),
    ] = "",
    train: Annotated[
        str, label_option("--train", "Train on these names only: a folder or a pattern, 'train/*'.", "GLOB")
    ] = "",
    test: Annotated[str, label_option("--test", "Test on these names only; train on the others.", "GLOB")] = "",
    baseline: Annotated[
        str,
        label_option(
            "--baseline", "Compare with this feature file or these weights.", "FEATS|WEIGHTS", paths.features_or_weights
        ),
    ] = "",
    views: Annotated[
        int, label_option("--views", "Augmented views per image for LiDAR; 0: no views and no verdict.", min=0)
    ] = 2,
    whiten: opt.Whiten = False,
    report: Annotated[
        str,
        opt.output("--report", "HTML page: confusions and worst images with pictures, classes, reliability.", "FILE"),
    ] = "",
    terminal: Any = None,
) -> None:
    """Measure features with or without labels, and test whether a difference is more than chance.

    The table goes to stdout: tab-separated when piped, --json for one object. --report shows what is behind it.
    """
    with terminal:
        from dinocli.tasks.feature_inputs import check_features

        options = options_of(dinocli.EvaluateOptions, source | locals(), argv=sys.argv)
        options.check()
        check_features(options)
        from dinocli.cli.show_evaluate import show_evaluation

        evaluation = dinocli.evaluate(options, terminal, sys.stdin.buffer)
    show_evaluation(terminal, evaluation)
