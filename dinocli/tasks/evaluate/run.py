"""Evaluate features: the one library call behind `dinocli evaluate`."""

import time
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinocli.engine.device import pick_device
from dinocli.engine.watch import Watcher
from dinocli.errors import DinocliError, UsageError
from dinocli.tasks.evaluate import labelled, unlabelled
from dinocli.tasks.evaluate.job import EvaluateJob, Evaluation
from dinocli.tasks.evaluate.sides import Side, open_sides
from dinocli.tasks.evaluate.table import Row, Score, rows_of, sentence
from dinocli.tasks.evaluate.truth import MOST, Truth, read_truth
from dinocli.tasks.evaluate.views import SAMPLE, Looked, look, why_not


def evaluate(job: EvaluateJob, watcher: Watcher | None = None, stdin: BinaryIO | None = None) -> Evaluation:
    """Say how good features are, with labels and without, and whether they differ from others by more than luck.

    Args:
        job: What to do.
        watcher: Hears how far it is.
        stdin: Where `-` reads names from.

    Raises:
        DinocliError: Features, images, weights or labels cannot be used.
    """
    watcher, begin = watcher or Watcher(), time.monotonic()
    if not job.labels and (job.groups or job.train or job.test):
        raise UsageError("--groups, --train and --test belong to labels: add --labels folder or --labels FILE.csv")
    own, base, notes = open_sides(job, watcher, stdin)
    if job.whiten:
        own, base = own.with_whitening(job.seed), base and base.with_whitening(job.seed)
    names = [own.file.names[row] for row in own.rows_N]
    truths: list[Truth] = []
    if job.labels:
        truths, more = read_truth(
            names, labels=job.labels, groups=job.groups, train=job.train, test=job.test, seed=job.seed
        )
        notes += more
    table = _free_rows(job, own, base, notes, watcher)
    for truth in truths:
        watcher.line(f"measuring with the labels of {truth.column}, {len(truth.rows_T)} images")
        table += _label_rows(job, own, base, truth)
    headlines = (labelled.HEADLINE, unlabelled.HEADLINE)
    sentences = [words for row in table if row.key in headlines and (words := sentence(row))]
    title = base.title if base else ""
    return Evaluation(own.title, title, len(names), table, sentences, notes, time.monotonic() - begin)


def _free_rows(job: EvaluateJob, own: Side, base: Side | None, notes: list[str], watcher: Watcher) -> list[Row]:
    chosen = _sample(len(own.rows_N), MOST, job.seed)
    if len(chosen) < len(own.rows_N):
        notes.append(f"scores without labels are of a sample of {len(chosen):,} of {len(own.rows_N):,} images")
    watcher.line(f"measuring without labels, {len(chosen)} images")
    scores, others = (unlabelled.free_scores(side.features(chosen)) if side else None for side in (own, base))
    assert scores is not None
    rows = rows_of(scores, others)
    if job.views:
        rows += _view_rows(job, own, base, notes, watcher)
    return rows


def _view_rows(job: EvaluateJob, own: Side, base: Side | None, notes: list[str], watcher: Watcher) -> list[Row]:
    """Look at the images again, with the weights of each side; where that cannot be done, say why."""
    chosen = _sample(len(own.rows_N), SAMPLE, job.seed)
    seen: list[list[Score]] = []
    for side in (own, base):
        if side is None:
            continue
        looked = _look(job, side, chosen, notes, watcher)
        if looked is None:
            return []
        seen.append(unlabelled.view_scores(looked.changed(side.whitened)))
    return rows_of(seen[0], seen[1] if base else None)


def _look(job: EvaluateJob, side: Side, chosen: NDArray[np.intp], notes: list[str], watcher: Watcher) -> Looked | None:
    reason = why_not(side.file)
    if not reason:
        try:
            rows = side.rows_N[chosen].tolist()
            return look(side.file, rows, job.views, device=pick_device(job.device), watcher=watcher, seed=job.seed)
        except DinocliError as error:
            reason = str(error)
    notes.append(f"no LiDAR, alignment and augmentation retrieval for {side.title}: {reason}")
    return None


def _label_rows(job: EvaluateJob, own: Side, base: Side | None, truth: Truth) -> list[Row]:
    scores, others = (
        labelled.label_scores(side.features(truth.rows_T), truth, seed=job.seed) if side else None
        for side in (own, base)
    )
    assert scores is not None
    tested = truth.tested
    groups = None if truth.groups_T is None else truth.groups_T[tested]
    return rows_of(scores, others, column=truth.column, labels_N=truth.labels_T[tested], groups_N=groups)


def _sample(count: int, most: int, seed: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])
