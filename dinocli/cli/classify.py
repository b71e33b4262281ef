"""`dinocli classify`: parse, one library call, present."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import dinocli
from dinocli.cli import options as opt
from dinocli.cli import paths
from dinocli.cli.help_page import examples
from dinocli.cli.option_groups import feature_options, grouped, options_of, read_options, terminal_options

if TYPE_CHECKING:
    from dinocli.cli.render import Terminal
    from dinocli.tasks.classify.classify_options import ClassifyResult

EPILOG = examples(
    "dinocli classify feats.npy --labels few.csv --suggest 20",
    "dinocli classify ./images --labels few.csv --precision 0.95 --save clf.safetensors",
    "dinocli classify ./new --classifier clf.safetensors --out new.csv",
)
learning_option = partial(opt.option, "Labels and classifier")
MAX_ROWS = 40


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


def show_classification(terminal: "Terminal", outcome: "ClassifyResult") -> None:
    """Show a table of the classes on stderr, and the path of the table of all images on stdout."""
    rows = [
        [one.name, f"{one.labelled:,}", f"{one.predicted:,}", f"{one.unsure:,}", _share(one.recall)]
        for one in outcome.classes[:MAX_ROWS]
    ]
    terminal.table("Classes", ["", "labelled", "predicted", "unsure", "recall"], rows)
    if len(outcome.classes) > MAX_ROWS:
        terminal.line(f"and {len(outcome.classes) - MAX_ROWS} more classes; --json has all")
    if outcome.accuracy is not None:
        terminal.line(
            f"{outcome.method}: accuracy {outcome.accuracy:.3f}, mean recall {_share(outcome.balanced_accuracy)} by "
            "cross-validation on the labelled images"
        )
    if outcome.threshold:
        terminal.line(
            f"{outcome.accepted:.0%} of the images without a label are accepted, from confidence "
            f"{outcome.threshold:.3f}, for a precision of {outcome.precision:g}"
        )
    terminal.ending(outcome.files, outcome.next_commands())
    terminal.result(outcome.to_dict(), outcome.out)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
