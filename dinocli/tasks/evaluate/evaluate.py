"""Evaluate features: the one library call behind `dinocli evaluate`."""

import time
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.engine.device import pick_device
from dinocli.engine.progress import ProgressReporter
from dinocli.errors import DinocliError, UsageError
from dinocli.tasks.evaluate import label_free_scores, label_scores
from dinocli.tasks.evaluate.augmented_views import SAMPLE, ViewFeatures, look, why_not
from dinocli.tasks.evaluate.compared_features import ComparedFeatures, open_sides
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions, EvaluateResult
from dinocli.tasks.evaluate.label_split import MOST, LabelSplit, read_truth
from dinocli.tasks.evaluate.score_table import Score, ScoreRow, rows_of, sentence


def evaluate(
    options: EvaluateOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> EvaluateResult:
    """Say how good features are, with labels and without, and whether they differ from others by more than luck.

    Args:
        options: What to do.
        reporter: Is told the progress.
        stdin: Where `-` reads names from.

    Raises:
        DinocliError: Features, images, weights or labels cannot be used.
    """
    reporter, begin = reporter or ProgressReporter(), time.monotonic()
    if not options.labels and (options.groups or options.train or options.test):
        raise UsageError("--groups, --train and --test belong to labels: add --labels folder or --labels FILE.csv")
    own, base, notes = open_sides(options, reporter, stdin)
    if own.file.to_whiten(options.whiten, reporter.line):
        own = own.with_whitening(options.seed)
    if base and base.file.to_whiten(options.whiten, reporter.line):
        base = base.with_whitening(options.seed)
    names = [own.file.names[row] for row in own.rows_N]
    truths: list[LabelSplit] = []
    if options.labels:
        truths, more = read_truth(
            names,
            labels=options.labels,
            groups=options.groups,
            train=options.train,
            test=options.test,
            seed=options.seed,
        )
        notes += more
    table = _free_rows(options, own, base, notes, reporter)
    for truth in truths:
        reporter.line(f"measuring with the labels of {truth.column}, {len(truth.rows_T)} images")
        table += _label_rows(options, own, base, truth)
    headlines = (label_scores.HEADLINE, label_free_scores.HEADLINE)
    sentences = [words for row in table if row.key in headlines and (words := sentence(row))]
    title = base.title if base else ""
    seconds, root = time.monotonic() - begin, own.file.meta.get("root", "")
    return EvaluateResult(own.title, title, len(names), table, sentences, notes, seconds, root)


def _free_rows(
    options: EvaluateOptions,
    own: ComparedFeatures,
    base: ComparedFeatures | None,
    notes: list[str],
    reporter: ProgressReporter,
) -> list[ScoreRow]:
    chosen = _sample(len(own.rows_N), MOST, options.seed)
    if len(chosen) < len(own.rows_N):
        notes.append(f"scores without labels are of a sample of {len(chosen):,} of {len(own.rows_N):,} images")
    reporter.line(f"measuring without labels, {len(chosen)} images")
    scores, others = (label_free_scores.free_scores(side.features(chosen)) if side else None for side in (own, base))
    assert scores is not None
    rows = rows_of(scores, others)
    if options.views:
        rows += _view_rows(options, own, base, notes, reporter)
    return rows


def _view_rows(
    options: EvaluateOptions,
    own: ComparedFeatures,
    base: ComparedFeatures | None,
    notes: list[str],
    reporter: ProgressReporter,
) -> list[ScoreRow]:
    """Look at the images again, with the weights of each side; where that cannot be done, say why."""
    chosen = _sample(len(own.rows_N), SAMPLE, options.seed)
    seen: list[list[Score]] = []
    for side in (own, base):
        if side is None:
            continue
        looked = _look(options, side, chosen, notes, reporter)
        if looked is None:
            return []
        seen.append(label_free_scores.view_scores(looked.changed(side.whitened)))
    return rows_of(seen[0], seen[1] if base else None)


def _look(
    options: EvaluateOptions,
    side: ComparedFeatures,
    chosen: NDArray[np.intp],
    notes: list[str],
    reporter: ProgressReporter,
) -> ViewFeatures | None:
    reason = why_not(side.file)
    if not reason:
        try:
            rows = side.rows_N[chosen].tolist()
            return look(
                side.file, rows, options.views, device=pick_device(options.device), reporter=reporter, seed=options.seed
            )
        except DinocliError as error:
            reason = str(error)
    notes.append(f"no LiDAR, alignment and augmentation retrieval for {side.title}: {reason}")
    return None


def _label_rows(
    options: EvaluateOptions, own: ComparedFeatures, base: ComparedFeatures | None, truth: LabelSplit
) -> list[ScoreRow]:
    scores, others = (
        label_scores.label_scores(side.features(truth.rows_T), truth, seed=options.seed) if side else None
        for side in (own, base)
    )
    assert scores is not None
    tested = truth.tested
    groups = None if truth.groups_T is None else truth.groups_T[tested]
    return rows_of(scores, others, column=truth.column, labels_N=truth.labels_T[tested], groups_N=groups)


def _sample(count: int, most: int, seed: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])
