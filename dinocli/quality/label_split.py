"""Train/test split of labelled images, one record per label column.

Shapes: N images, T labelled images that are used.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from dinocli.errors import DataError, UsageError
from dinocli.quality.label_scores import LabelSplit

MAX_IMAGES = 10_000
"""Maximum number of images per side: more would take minutes without a relevant change of the scores."""


def split_labels(
    columns: Mapping[str, Sequence[str]],
    groups: Sequence[str] | None,
    names: Sequence[str],
    *,
    train: str,
    test: str,
    seed: int,
) -> tuple[list[LabelSplit], list[str]]:
    """Return the images that can be evaluated by each label column.

    Without a split, a class needs two groups (or images), one to train on and one to test on. With a split, training
    images whose group is also tested are left out, and test images whose class has no training image, for which every
    prediction would be wrong.

    Args:
        columns: Labels of each image by column; empty for unlabelled images.
        groups: Group of each image; None where every image is its own.
        names: Name of each image.
        train: Training images, as a pattern or a folder; empty for no split, or all but `test`.
        test: Test images, likewise; one of the two suffices.
        seed: Seed of the sample, for more than `MAX_IMAGES` images.

    Returns:
        One split per usable column, and sentences about what was left out.

    Raises:
        DataError: One side has no image.
        UsageError: An image is on both sides.
    """
    notes: list[str] = []
    groups_N = None if groups is None else np.array(groups)
    learn_N, sides_N = _sides(names, train, test)
    truths = []
    for column, values in columns.items():
        labels_N = np.array(values)
        part_N = sides_N & (labels_N != "")
        if learn_N is None:
            part_N = _of_two_groups(part_N, labels_N, groups_N, column, notes)
        else:
            part_N = _not_crossing(part_N, groups_N, learn_N, notes)
            part_N = _of_learnt_classes(part_N, labels_N, learn_N, column, notes)
        rows_T = _sampled(part_N, learn_N, column, notes, seed)
        learn_T = None if learn_N is None else learn_N[rows_T]
        if problem := _problem(labels_N[rows_T], learn_T):
            notes.append(f"{column} is left out: {problem}")
        else:
            groups_T = None if groups_N is None else groups_N[rows_T]
            truths.append(LabelSplit(column, rows_T, labels_N[rows_T], groups_T, learn_T))
    return truths, list(dict.fromkeys(notes))


def _sides(names: Sequence[str], train: str, test: str) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
    """Return which images are training images (None without a split), and which are used at all."""
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


def _not_crossing(
    part_N: NDArray[np.bool_], groups_N: NDArray[np.str_] | None, learn_N: NDArray[np.bool_], notes: list[str]
) -> NDArray[np.bool_]:
    if groups_N is None:
        return part_N
    crossing_N = part_N & learn_N & np.isin(groups_N, groups_N[part_N & ~learn_N])
    if crossing_N.any():
        notes.append(f"{crossing_N.sum()} images to learn from are left out: their groups are tested too")
    return part_N & ~crossing_N


def _of_two_groups(
    part_N: NDArray[np.bool_],
    labels_N: NDArray[np.str_],
    groups_N: NDArray[np.str_] | None,
    column: str,
    notes: list[str],
) -> NDArray[np.bool_]:
    """Leave out classes of a single group, which cannot be both trained on and tested."""
    ids_N = np.arange(len(part_N)) if groups_N is None else groups_N
    classes = np.unique(labels_N[part_N])
    lonely = [name for name in classes if len(np.unique(ids_N[part_N & (labels_N == name)])) < 2]
    lonely_N = part_N & np.isin(labels_N, lonely)
    if lonely:
        what = "image" if groups_N is None else "group"
        notes.append(f"{column}: {len(lonely)} classes of one {what} are left out ({lonely_N.sum()} images)")
    return part_N & ~lonely_N


def _of_learnt_classes(
    part_N: NDArray[np.bool_],
    labels_N: NDArray[np.str_],
    learn_N: NDArray[np.bool_],
    column: str,
    notes: list[str],
) -> NDArray[np.bool_]:
    unknown_N = part_N & ~np.isin(labels_N, labels_N[part_N & learn_N])
    if unknown_N.any():
        classes = np.unique(labels_N[unknown_N])
        few = ", ".join(classes[:5]) + (" ..." if len(classes) > 5 else "")
        notes.append(
            f"{column}: {len(classes)} classes are only on the test side ({few}); "
            f"the figures are without their {unknown_N.sum()} images"
        )
    return part_N & ~unknown_N


def _sampled(
    part_N: NDArray[np.bool_], learn_N: NDArray[np.bool_] | None, column: str, notes: list[str], seed: int
) -> NDArray[np.intp]:
    sides = [part_N] if learn_N is None else [part_N & learn_N, part_N & ~learn_N]
    rows = [np.flatnonzero(side_N) for side_N in sides]
    if max(map(len, rows)) > MAX_IMAGES:
        notes.append(f"{column}: a sample of {MAX_IMAGES:,} of {max(map(len, rows)):,} labelled images")
    random = np.random.default_rng(seed)
    return np.sort(np.concatenate([random.permutation(side)[:MAX_IMAGES] for side in rows]))


def _problem(labels_T: NDArray[np.str_], learn_T: NDArray[np.bool_] | None) -> str:
    if learn_T is not None and (learn_T.all() or not learn_T.any()):
        return f"{learn_T.sum()} labelled images to learn from and {(~learn_T).sum()} to test on"
    classes = len(np.unique(labels_T if learn_T is None else labels_T[learn_T]))
    return "" if classes > 1 else f"{classes} class{'es' * (classes != 1)} that can be learnt, and two are needed"
