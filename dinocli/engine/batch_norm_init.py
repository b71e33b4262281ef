"""Adapt batch-norm statistics once before the first step, to clean images of the folder."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.engine.square_resize import square_batches
from dinocli.engine.step import Learner
from dinocli.models.alpha_bn import adapt_statistics
from dinocli.models.features import extract
from dinocli.progress import ProgressReporter
from dinocli.quality.duplicates import SAME_COSINE, count_distinct

MAX_IMAGES, BATCH = 1024, 32
"""Images that are used, and batch size. Each image counts at every position of a feature map: more change nothing."""


def adapt_batch_norm(
    learner: Learner, loader: Loader, preprocess: Preprocess, seed: int, reporter: ProgressReporter
) -> None:
    """Adapt the batch-norm statistics of student and teacher to images of the folder at the evaluation size.

    Args:
        learner: Before its first step.
        loader: Source of the images.
        preprocess: Size and normalisation of evaluation.
        seed: Seed of the sample.
        reporter: Receives the progress.
    """
    count = len(loader.store)
    # Shuffled: each batch is normalised partly by its own statistics. In a folder sorted by class, a batch of one class
    # would lose the features that distinguish this class.
    chosen = np.random.default_rng((seed, count, 2)).permutation(count)[:MAX_IMAGES].tolist()

    reporter.stage("adapting batch-norm statistics", 2 * len(chosen))  # two passes

    def images() -> Iterator[Tensor]:
        for square_BCSS, rows in square_batches(loader, chosen, preprocess, BATCH):
            reporter.advance(len(rows))
            yield square_BCSS

    teacher = learner.teacher.backbone
    distinct = count_distinct(extract(teacher, images(), autocast=None), SAME_COSINE)
    adapt_statistics(teacher, images(), distinct)
    adapted = dict(teacher.named_buffers())
    for name, buffer in learner.student.backbone.named_buffers():
        buffer.copy_(adapted[name])
