"""`dinocli.evaluate`: score features with and without labels, and compare them with a baseline."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.artifacts.compared_features import ComparedFeatures
from dinocli.errors import DinocliError
from dinocli.file_set import claimed
from dinocli.progress import LogReporter, ProgressReporter
from dinocli.quality import label_scores
from dinocli.quality.defect_few_shot import DEFECT_SCORE
from dinocli.quality.evaluation import EvaluateResult
from dinocli.quality.label_free_scores import feature_scores, probe_scores, view_scores
from dinocli.quality.label_scores import LabelSplit
from dinocli.quality.label_split import MAX_IMAGES
from dinocli.quality.near_start import near_start
from dinocli.quality.score_table import ScoreRow, difference_sentence, score_rows
from dinocli.quality.verdict import Verdict, defects_lost, judge
from dinocli.tasks.evaluate.evaluate_inputs import open_sides, read_truth
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions


@dataclass(frozen=True)
class EvaluateContext:
    """Options and opened features, shared by all stages.

    Args:
        options: Options of the command.
        reporter: Receives the progress.
        features: Evaluated features.
        base: Features of the baseline, of the same images in the same order; None without a baseline.
    """

    options: EvaluateOptions
    reporter: ProgressReporter
    features: ComparedFeatures
    base: ComparedFeatures | None

    @property
    def sides(self) -> list[ComparedFeatures]:
        """Return the evaluated features, then those of the baseline if there is one."""
        return [self.features, *([self.base] if self.base else [])]

    def sample(self, limit: int) -> NDArray[np.intp]:
        """Return the sorted positions of a random sample of at most `limit` images."""
        drawn = np.random.default_rng(self.options.seed).permutation(len(self.features.rows_N))
        return np.sort(drawn[:limit])


def evaluate(
    options: EvaluateOptions, reporter: ProgressReporter | None = None, stdin: BinaryIO | None = None
) -> EvaluateResult:
    """Score features with and without labels, and test whether they differ significantly from a baseline.

    Example:
        >>> result = dinocli.evaluate(dinocli.EvaluateOptions(("feats.npy",), labels="folder"))
        >>> accuracy = {row.key: row.value for row in result.table}["knn20_accuracy"]
        >>> 0 <= accuracy <= 1
        True

    Args:
        options: Features or images, labels and baseline.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.

    Raises:
        DinocliError: Features, images, weights or labels cannot be used.
    """
    with claimed(*([Path(options.report)] if options.report else [])):
        options.check()
        return _evaluate(options, reporter or LogReporter(), stdin)


def _evaluate(options: EvaluateOptions, reporter: ProgressReporter, stdin: BinaryIO | None) -> EvaluateResult:
    begin = time.monotonic()
    context, notes = _context(options, reporter, stdin)
    features, base = context.features, context.base
    truths, left_out = read_truth(options, [features.file.names[row] for row in features.rows_N])
    table, missing = _label_free_rows(context)
    verdict = None
    if options.views:
        view_rows, verdict, view_notes = _view_rows(context)
        table, missing = table + view_rows, missing + view_notes
    for truth in truths:
        reporter.stage(f"measuring with labels: {truth.column}")
        table += _label_rows(context, truth)
    missing += [words for truth in truths if (words := label_scores.small_class_note(truth))]
    of_labels = [words for row in table if row.key == label_scores.HEADLINE and (words := difference_sentence(row))]
    result = EvaluateResult(
        features=features.title,
        baseline=base.title if base else "",
        images=len(features.rows_N),
        table=table,
        verdict=verdict,
        sentences=[*(verdict.sentences if verdict else ()), *of_labels],
        notes=[*notes, *left_out, *missing],
        seconds=time.monotonic() - begin,
        root=features.file.meta.get("root", ""),
        report=options.report,
    )
    if options.report:
        from dinocli.report.evaluation_page import write_evaluation_page  # with pictures: 21 files of ours

        reporter.stage("writing the page")
        write_evaluation_page(Path(options.report), result, context.sides, truths, options.labels, options.argv)
    return result


def _context(
    options: EvaluateOptions, reporter: ProgressReporter, stdin: BinaryIO | None
) -> tuple[EvaluateContext, list[str]]:
    """Open both feature sets, and whiten each by its own features; also return sentences on what was left out."""
    features, base, notes = open_sides(options, reporter, stdin)
    if features.file.needs_whitening(options.whiten, reporter.line):
        features = features.with_whitening(options.seed)
    if base and base.file.needs_whitening(options.whiten, reporter.line):
        base = base.with_whitening(options.seed)
    return EvaluateContext(options, reporter, features, base), notes


def _label_free_rows(context: EvaluateContext) -> tuple[list[ScoreRow], list[str]]:
    """Compute the scores that need no labels; also return sentences on what is missing."""
    chosen, images = context.sample(MAX_IMAGES), len(context.features.rows_N)
    notes = []
    if len(chosen) < images:
        notes.append(f"scores without labels are of a sample of {len(chosen):,} of {images:,} images")
    context.reporter.stage("measuring without labels")
    return score_rows([feature_scores(side.features(chosen), side.pooled(chosen)) for side in context.sides]), notes


def _view_rows(context: EvaluateContext) -> tuple[list[ScoreRow], Verdict | None, list[str]]:
    """Embed crops and views with the weights of each side, and judge them as a training run does.

    Returns:
        Rows; the verdict, None without a baseline; and sentences on what is missing.
    """
    from dinocli.artifacts.view_features import SAMPLE, SAMPLE_ELSEWHERE, ViewFeatures, embed_views
    from dinocli.engine.device import pick_device  # loads torch, which scores of existing features do not need

    options, device = context.options, pick_device(context.options.device)
    chosen = context.sample(SAMPLE.get(device.type, SAMPLE_ELSEWHERE))
    images = len(context.features.rows_N)
    notes = [f"scores of crops and views are of a sample of {len(chosen):,} of {images:,} images"]
    notes = notes if len(chosen) < images else []
    features: list[ViewFeatures] = []
    for side in context.sides:
        rows = side.rows_N[chosen].tolist()
        try:
            embedded = embed_views(
                side.file, rows, options.views, device=device, reporter=context.reporter, seed=options.seed
            )
        except DinocliError as error:
            return [], None, [f"no crop/quadrant retrieval, alignment and LiDAR for {side.title}: {error}"]
        features.append(embedded.transformed(side.whitened))
    before_ND = features[-1].probe.clean_ND
    if len(features[0].names) != len(before_ND):
        return [], None, ["no crop/quadrant retrieval, alignment and LiDAR: an image has become unreadable meanwhile"]
    measured = [views.probe.measured(0, before_ND) for views in features]
    if all(len(views.rare_defects_N) for views in features):
        measured = [
            replace(result, rare_defects_N=views.rare_defects_N)
            for result, views in zip(measured, features, strict=True)
        ]
    sides = zip(measured, features, strict=True)
    table = score_rows(
        [[*probe_scores(result), *view_scores(views.probe.clean_ND, views.views_QND)] for result, views in sides]
    )
    if len(features) == 1:
        return table, None, notes
    after, before = measured
    same = features[0].probe.clean_ND.shape == before_ND.shape
    verdict = judge(before, after, same_network=same)
    if same and np.isnan(features[0].variance_shift):  # adapted from weights like those of the baseline
        verdict = near_start(verdict, features[1].variance_shift)
    lost = bool(defects_lost(before, after))
    return [replace(row, verdict="worse") if row.key == DEFECT_SCORE and lost else row for row in table], verdict, notes


def _label_rows(context: EvaluateContext, truth: LabelSplit) -> list[ScoreRow]:
    seed, tested = context.options.seed, truth.tested
    scores = [label_scores.label_scores(side.features(truth.rows_T), truth, seed=seed) for side in context.sides]
    groups = None if truth.groups_T is None else truth.groups_T[tested]
    return score_rows(scores, column=truth.column, labels_N=truth.labels_T[tested], groups_N=groups)
