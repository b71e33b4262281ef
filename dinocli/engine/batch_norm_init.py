"""Batch norm of a run: its statistics adapted once, to clean images of the folder, before the first step."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from dinocli.augment.resample import normalise, resize_square
from dinocli.config.preprocess import Preprocess
from dinocli.data.loader import Loader
from dinocli.engine.step import Learner
from dinocli.models.alpha_bn import adapt_statistics
from dinocli.models.features import extract
from dinocli.progress import ProgressReporter
from dinocli.quality.duplicates import SAME_COSINE, count_distinct

MOST, BATCH = 1024, 32
"""Images that are looked at, and at once. Each counts at every place of a feature map: more change nothing."""


def adapt_batch_norm(
    learner: Learner, loader: Loader, preprocess: Preprocess, seed: int, reporter: ProgressReporter
) -> None:
    """Give student and teacher the statistics of the folder's own images at the size of evaluation.

    Args:
        learner: Before its first step.
        loader: Gives the images.
        preprocess: Size and normalisation of evaluation.
        seed: Of the sample.
        reporter: Is told how far it is.
    """
    count = len(loader.store)
    # Shuffled: each batch is normalised by its own statistics on its way through the network. In a folder sorted by
    # class a batch of one class would lose what distinguishes that class.
    chosen = np.random.default_rng((seed, count, 2)).permutation(count)[:MOST].tolist()

    reporter.stage("adapting batch-norm statistics", 2 * len(chosen))  # each image is looked at twice

    def images() -> Iterator[Tensor]:
        for batch in loader.batches(chosen, BATCH):
            reporter.advance(len(batch.rows))
            square_BCSS = resize_square(batch.pixels_BCHW, batch.sizes_B2, preprocess.size)
            yield normalise(square_BCSS, preprocess.mean, preprocess.std)

    teacher = learner.teacher.backbone
    distinct = count_distinct(extract(teacher, images(), autocast=None), SAME_COSINE)
    adapt_statistics(teacher, images(), distinct)
    theirs = dict(teacher.named_buffers())
    for name, buffer in learner.student.backbone.named_buffers():
        buffer.copy_(theirs[name])
