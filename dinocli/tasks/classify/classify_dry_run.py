"""`classify --dry-run`: number of images and labels, and estimated time of embedding."""

from collections import Counter
from dataclasses import replace
from typing import Any, BinaryIO

from dinocli.files import user_path
from dinocli.progress import ProgressReporter
from dinocli.quality.classifier_file import load_classifier
from dinocli.tasks.classify.classify_inputs import open_classified, read_training_labels
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.feature_inputs import embed_options, takes_features


def dry_run(
    options: ClassifyOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> dict[str, Any]:
    """Return what `classify` would do as JSON-like data; nothing is written.

    The time of embedding is measured on a few images; 0 if the features exist.

    Raises:
        DinocliError: An error that would stop the command at once.
    """
    reporter, seconds = reporter or ProgressReporter(), 0.0
    replace(options, force=True).check_outputs()  # a plan may name an output that exists
    saved = load_classifier(user_path(options.classifier)) if options.classifier else None
    if takes_features(options):
        names = open_classified(options, saved, reporter, stdin).names
    else:
        from dinocli.tasks.embed.embed_dry_run import forecast
        from dinocli.tasks.embed.embed_setup import prepare

        context = prepare(embed_options(options), reporter, stdin)
        names, seconds = context.images.names, forecast(context)["seconds"]
    labelled: dict[str, int] = {}
    if options.labels:
        label_N, _, _ = read_training_labels(options, names, reporter)
        labelled = dict(sorted(Counter(label for label in label_N.tolist() if label).items()))
    files = [str(path) for path in options.outputs()]
    return {"images": len(names), "labelled": labelled, "seconds_embedding": seconds, "files": files}
