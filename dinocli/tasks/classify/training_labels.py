"""Training labels of `classify`: one class per image, and its group.

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

MAX_LABELS = 10_000
"""Maximum number of training images; more would take many minutes without a relevant change."""


def read_training_labels(
    options: ClassifyOptions, names: Sequence[str], reporter: ProgressReporter
) -> tuple[NDArray[np.str_], NDArray[np.str_] | None, str]:
    """Read and merge the label tables.

    Returns:
        (N,) labels, empty without one; (N,) groups, None if every row is its own group; and the name of the column.

    Raises:
        DataError: A table cannot be used, two contradict each other, or there are fewer than two classes.
        UsageError: The column does not exist, or one of several has to be selected.
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
    """Merge the labels of several tables by column name."""
    joined: Labels = {}
    for spec in specs:
        for column, values in read_labels(spec, names, reporter.line).items():
            merged = joined.setdefault(column, [""] * len(names))
            for row, value in enumerate(values):
                if value and merged[row] and merged[row] != value:
                    both = f"{value!r} there and {merged[row]!r} here"
                    raise DataError(f"{spec} contradicts another table: {names[row]} is {both}; keep one")
                merged[row] = merged[row] or value
    return joined


def sampled(label_N: NDArray[np.str_], reporter: ProgressReporter, seed: int) -> NDArray[np.intp]:
    """Return the training rows: all labelled rows, or a random sample of `MAX_LABELS`."""
    rows = np.flatnonzero(label_N != "")
    if len(rows) <= MAX_LABELS:
        return rows
    reporter.line(f"learning from a sample of {MAX_LABELS:,} of {len(rows):,} labelled images")
    return np.sort(np.random.default_rng(seed).choice(rows, MAX_LABELS, replace=False))
