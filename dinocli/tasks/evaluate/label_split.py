"""Labels, groups and train/test sides of the images that can be evaluated, one record a label column.

Shapes: T images that take part.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinocli.data.labels import read_groups, read_labels
from dinocli.errors import DataError, UsageError
from dinocli.quality.label_scores import LabelSplit

MOST = 10_000
"""Images of one side that take part; more would cost minutes and change no digit that matters."""


def read_truth(
    names: Sequence[str], *, labels: str, groups: str = "", train: str = "", test: str = "", seed: int = 0
) -> tuple[list[LabelSplit], list[str]]:
    """Join labels with rows.

    A class needs two groups (or images), one to learn from and one to be tested. With sides, images to learn from give
    way where their group is tested too. Rows with the same name, which are tiles of one image, are a group.

    Args:
        names: Image of each row.
        labels: `folder`, `folder:N` or a CSV.
        groups: A column of that CSV, `folder` (the whole path of the folder) or `folder:N`.
        train: Names to learn from, as a pattern or a folder.
        test: Names to test on, as a pattern or a folder; one of the two is enough.
        seed: Random seed of the sample, where there are more than `MOST` images.

    Returns:
        One record a usable column, and sentences about what was left out.

    Raises:
        DataError: No column can be used.
        UsageError: The options do not fit together.
    """
    notes: list[str] = []
    columns = read_labels(labels, names, notes.append)
    grouped = read_groups(columns, groups, names)
    groups_N = None if grouped is None else np.array(grouped)
    learn_N, part_N = _sides(names, train, test)
    truths = []
    for column, values in columns.items():
        labels_N = np.array(values)
        rows_T = np.flatnonzero((labels_N != "") & part_N)
        rows_T = _without_crossing(rows_T, groups_N, learn_N, notes)
        rows_T = _without_lonely(rows_T, labels_N, groups_N, learn_N, column, notes)
        rows_T = _without_unknown(rows_T, labels_N, learn_N, column, notes)
        rows_T = _sampled(rows_T, learn_N, column, notes, seed)
        learn_T = None if learn_N is None else learn_N[rows_T]
        problem = _problem(labels_N[rows_T], learn_T)
        if problem:
            notes.append(f"{column} is left out: {problem}")
        else:
            groups_T = None if groups_N is None else groups_N[rows_T]
            truths.append(LabelSplit(column, rows_T, labels_N[rows_T], groups_T, learn_T))
    if not truths:
        raise DataError(f"no labels to evaluate with in {labels}: {'; '.join(dict.fromkeys(notes))}")
    return truths, list(dict.fromkeys(notes))


def _sides(names: Sequence[str], train: str, test: str) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
    """Return which rows are to learn from, and which take part at all."""
    if not train and not test:
        return None, np.ones(len(names), np.bool_)
    chosen = {}
    for option, pattern in (("--train", train), ("--test", test)):
        if pattern:
            chosen[option] = np.array([_matches(name, pattern) for name in names])
            if not chosen[option].any():
                raise DataError(f"{option} {pattern} matches no image; the first one is {names[0]}")
    learn_N = chosen.get("--train", ~chosen.get("--test", np.zeros(len(names), np.bool_)))
    test_N = chosen.get("--test", ~learn_N)
    if (learn_N & test_N).any():
        both = names[int((learn_N & test_N).argmax())]
        raise UsageError(f"{both} is on both sides: --train {train} and --test {test} have to differ")
    return learn_N, learn_N | test_N


def _matches(name: str, pattern: str) -> bool:
    name, pattern = name.removeprefix("./"), pattern.removeprefix("./").rstrip("/")
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}/*")


def _without_crossing(
    rows_T: NDArray[np.intp], groups_N: NDArray[Any] | None, learn_N: NDArray[np.bool_] | None, notes: list[str]
) -> NDArray[np.intp]:
    if groups_N is None or learn_N is None:
        return rows_T
    tested = groups_N[rows_T[~learn_N[rows_T]]]
    crossing_T = learn_N[rows_T] & np.isin(groups_N[rows_T], tested)
    if crossing_T.any():
        notes.append(f"{crossing_T.sum()} images to learn from are left out: their groups are tested too")
    return rows_T[~crossing_T]


def _without_lonely(
    rows_T: NDArray[np.intp],
    labels_N: NDArray[np.str_],
    groups_N: NDArray[Any] | None,
    learn_N: NDArray[np.bool_] | None,
    column: str,
    notes: list[str],
) -> NDArray[np.intp]:
    """Leave classes out that nothing can be learnt about once their only group is tested."""
    if learn_N is not None:
        return rows_T
    kept = [
        name
        for name in np.unique(labels_N[rows_T])
        if len(
            np.unique(
                rows_T[labels_N[rows_T] == name] if groups_N is None else groups_N[rows_T[labels_N[rows_T] == name]]
            )
        )
        > 1
    ]
    kept_T = np.isin(labels_N[rows_T], kept)
    if not kept_T.all():
        lonely = len(np.unique(labels_N[rows_T[~kept_T]]))
        what = "image" if groups_N is None else "group"
        notes.append(f"{column}: {lonely} classes of one {what} are left out ({(~kept_T).sum()} images)")
    return rows_T[kept_T]


def _without_unknown(
    rows_T: NDArray[np.intp],
    labels_N: NDArray[np.str_],
    learn_N: NDArray[np.bool_] | None,
    column: str,
    notes: list[str],
) -> NDArray[np.intp]:
    """Leave out tested images whose class no image to learn from has: every answer to them would be wrong."""
    if learn_N is None:
        return rows_T
    learnt = np.unique(labels_N[rows_T[learn_N[rows_T]]])
    unknown_T = ~np.isin(labels_N[rows_T], learnt)
    if unknown_T.any():
        classes = np.unique(labels_N[rows_T[unknown_T]])
        few = ", ".join(classes[:5]) + (" ..." if len(classes) > 5 else "")
        notes.append(
            f"{column}: {len(classes)} classes are only on the test side ({few}); "
            f"the figures are without their {unknown_T.sum()} images"
        )
    return rows_T[~unknown_T]


def _sampled(
    rows_T: NDArray[np.intp], learn_N: NDArray[np.bool_] | None, column: str, notes: list[str], seed: int
) -> NDArray[np.intp]:
    parts = [rows_T] if learn_N is None else [rows_T[learn_N[rows_T]], rows_T[~learn_N[rows_T]]]
    if max(map(len, parts)) > MOST:
        notes.append(f"{column}: a sample of {MOST:,} of {max(map(len, parts)):,} labelled images")
    random = np.random.default_rng(seed)
    return np.sort(np.concatenate([random.permutation(part)[:MOST] for part in parts]))


def _problem(labels_T: NDArray[np.str_], learn_T: NDArray[np.bool_] | None) -> str:
    if learn_T is not None and (learn_T.all() or not learn_T.any()):
        return f"{learn_T.sum()} labelled images to learn from and {(~learn_T).sum()} to test on"
    classes = len(np.unique(labels_T if learn_T is None else labels_T[learn_T]))
    return "" if classes > 1 else f"{classes} classes that can be learnt"
