"""The labels that a classifier learns from: one class an image, and its group.

Shapes: N rows.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinocli.data.labels import Labels, read_groups, read_labels
from dinocli.errors import DataError, UsageError
from dinocli.progress import ProgressReporter
from dinocli.tasks.classify.classify_options import UNSURE, ClassifyOptions

MOST_LABELS = 10_000
"""Labelled images that are learnt from; more would cost many minutes and change no digit that matters."""


def read_training_labels(
    options: ClassifyOptions, names: Sequence[str], reporter: ProgressReporter
) -> tuple[NDArray[np.str_], NDArray[np.str_] | None, str]:
    """Read and join the tables of labels.

    Returns:
        (N,) labels, empty where an image has none; (N,) groups, None where every row is its own; and the column's name.

    Raises:
        DataError: A table cannot be used, two contradict each other, or there are fewer than two classes.
        UsageError: No column, or one of several, is meant.
    """
    columns = _joined(options.labels, names, reporter)
    groups = read_groups(columns, options.groups, names)
    if options.column and options.column not in columns:
        raise UsageError(f"--column {options.column}: the labels have the columns {', '.join(columns)}")
    if not options.column and len(columns) > 1:
        raise UsageError(f"the labels have the columns {', '.join(columns)}: say which one is meant with --column")
    column = options.column or next(iter(columns))
    counts = Counter(columns[column])
    counts.pop("", None)
    if len(counts) < 2:
        only = f" ({next(iter(counts))})" if counts else ""
        raise DataError(f"{column} has {len(counts)} class{only}; a classifier needs labels of at least two")
    if UNSURE in counts:
        raise DataError(f"{column} has a class {UNSURE!r}, which is the answer below the threshold; call it otherwise")
    label_N = np.array(columns[column])
    return label_N, None if groups is None else np.array(groups), column


def _joined(specs: Sequence[str], names: Sequence[str], reporter: ProgressReporter) -> Labels:
    """Join the labels of several tables, by columns of the same name."""
    joined: Labels = {}
    for spec in specs:
        for column, values in read_labels(spec, names, reporter.line).items():
            kept = joined.setdefault(column, [""] * len(names))
            for row, value in enumerate(values):
                if value and kept[row] and kept[row] != value:
                    both = f"{value!r} there and {kept[row]!r} here"
                    raise DataError(f"{spec} contradicts another table: {names[row]} is {both}; keep one")
                kept[row] = kept[row] or value
    return joined


def sampled(label_N: NDArray[np.str_], reporter: ProgressReporter, seed: int) -> NDArray[np.intp]:
    """Return the rows to learn from: all that have a label, or `MOST_LABELS` of them."""
    rows = np.flatnonzero(label_N != "")
    if len(rows) <= MOST_LABELS:
        return rows
    reporter.line(f"learning from a sample of {MOST_LABELS:,} of {len(rows):,} labelled images")
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_LABELS, replace=False))
