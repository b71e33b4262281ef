"""Evaluate features: the one library call behind `dinocli evaluate`."""

import time
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.engine.device import pick_device
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DinocliError, UsageError
from dinocli.quality import label_free_scores, label_scores
from dinocli.quality.label_scores import LabelSplit
from dinocli.quality.score_table import Score, ScoreRow, rows_of, sentence
from dinocli.tasks.evaluate.augmented_views import SAMPLE, embed_views
from dinocli.tasks.evaluate.compared_features import ComparedFeatures, open_sides
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions, EvaluateResult
from dinocli.tasks.evaluate.label_split import MOST, read_truth


@dataclass(frozen=True)
class EvaluateContext:
    """Options and opened features, shared by all stages.

    Args:
        options: As asked for.
        reporter: Receives the progress.
        own: The features that are evaluated.
        base: Those they are compared with, of the same images in the same order; None without a baseline.
    """

    options: EvaluateOptions
    reporter: ProgressReporter
    own: ComparedFeatures
    base: ComparedFeatures | None

    @property
    def sides(self) -> list[ComparedFeatures]:
        """Return the features, then those of the baseline where there is one."""
        return [self.own, *([self.base] if self.base else [])]

    def sample(self, most: int) -> NDArray[np.intp]:
        """Return the positions of at most `most` images, drawn at random, in order."""
        drawn = np.random.default_rng(self.options.seed).permutation(len(self.own.rows_N))
        return np.sort(drawn[:most])


def evaluate(
    options: EvaluateOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> EvaluateResult:
    """Measure features with labels and without, and say whether they differ from a baseline by more than chance.

    Example:
        >>> result = dinocli.evaluate(dinocli.EvaluateOptions(("feats.npy",), labels="folder"))
        >>> accuracy = {row.key: row.value for row in result.table}["knn20_accuracy"]
        >>> 0 <= accuracy <= 1
        True

    Args:
        options: Features or images, labels and baseline.
        reporter: Receives the progress.
        stdin: Where `-` reads names from.

    Raises:
        DinocliError: Features, images, weights or labels cannot be used.
    """
    reporter, begin = reporter or ProgressReporter(), time.monotonic()
    if not options.labels and (options.groups or options.train or options.test):
        raise UsageError("--groups, --train and --test belong to labels: add --labels folder or --labels FILE.csv")
    context, notes = _context(options, reporter, stdin)
    own, base = context.own, context.base
    truths, left_out = _truths(context)
    table, missing = _free_rows(context)
    for truth in truths:
        reporter.stage(f"measuring with the labels of {truth.column}, {len(truth.rows_T)} images")
        table += _label_rows(context, truth)
    headlines = (label_scores.HEADLINE, label_free_scores.HEADLINE)
    return EvaluateResult(
        features=own.title,
        baseline=base.title if base else "",
        images=len(own.rows_N),
        table=table,
        sentences=[words for row in table if row.key in headlines and (words := sentence(row))],
        notes=[*notes, *left_out, *missing],
        seconds=time.monotonic() - begin,
        root=own.file.meta.get("root", ""),
    )


def _context(
    options: EvaluateOptions, reporter: ProgressReporter, stdin: BinaryIO | None
) -> tuple[EvaluateContext, list[str]]:
    """Open both sides and whiten each by its own features; return sentences about what was left out too."""
    own, base, notes = open_sides(options, reporter, stdin)
    if own.file.to_whiten(options.whiten, reporter.line):
        own = own.with_whitening(options.seed)
    if base and base.file.to_whiten(options.whiten, reporter.line):
        base = base.with_whitening(options.seed)
    return EvaluateContext(options, reporter, own, base), notes


def _truths(context: EvaluateContext) -> tuple[list[LabelSplit], list[str]]:
    options, own = context.options, context.own
    if not options.labels:
        return [], []
    names = [own.file.names[row] for row in own.rows_N]
    sides = {"groups": options.groups, "train": options.train, "test": options.test}
    return read_truth(names, labels=options.labels, **sides, seed=options.seed)


def _free_rows(context: EvaluateContext) -> tuple[list[ScoreRow], list[str]]:
    """Measure what needs no labels; return sentences about what is missing too."""
    chosen, images = context.sample(MOST), len(context.own.rows_N)
    notes = []
    if len(chosen) < images:
        notes.append(f"scores without labels are of a sample of {len(chosen):,} of {images:,} images")
    context.reporter.stage(f"measuring without labels, {len(chosen)} images")
    rows = rows_of([label_free_scores.free_scores(side.features(chosen)) for side in context.sides])
    if context.options.views:
        more, missing = _view_rows(context)
        rows, notes = rows + more, notes + missing
    return rows, notes


def _view_rows(context: EvaluateContext) -> tuple[list[ScoreRow], list[str]]:
    """Embed augmented views of the images with the weights of each side; where that cannot be done, say why."""
    options, chosen, device = context.options, context.sample(SAMPLE), pick_device(context.options.device)
    scores: list[list[Score]] = []
    for side in context.sides:
        rows = side.rows_N[chosen].tolist()
        try:
            seen = embed_views(
                side.file, rows, options.views, device=device, reporter=context.reporter, seed=options.seed
            )
        except DinocliError as error:
            return [], [f"no LiDAR, alignment and augmentation retrieval for {side.title}: {error}"]
        views_QND = np.stack([side.whitened(view_ND) for view_ND in seen.views_QND])
        scores.append(label_free_scores.view_scores(side.whitened(seen.clean_ND), views_QND))
    return rows_of(scores), []


def _label_rows(context: EvaluateContext, truth: LabelSplit) -> list[ScoreRow]:
    seed, tested = context.options.seed, truth.tested
    scores = [label_scores.label_scores(side.features(truth.rows_T), truth, seed=seed) for side in context.sides]
    groups = None if truth.groups_T is None else truth.groups_T[tested]
    return rows_of(scores, column=truth.column, labels_N=truth.labels_T[tested], groups_N=groups)
