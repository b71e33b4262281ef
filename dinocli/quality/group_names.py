"""Names of groups by their most typical images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


def group_names(medoids: Sequence[str]) -> list[str]:
    """Return the file name of each medoid, with as many folders as tell it from the others.

    Args:
        medoids: Relative path of the most typical image of each group; tiles of one image have equal names.
    """
    paths = [PurePosixPath(medoid) for medoid in medoids]
    names: dict[int, str] = {}
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        tails = ["/".join(path.parts[-depth:]) for path in paths]
        count = Counter(tails)
        for group, tail in enumerate(tails):
            if count[tail] == 1:
                names.setdefault(group, tail)
    return [names.get(group, str(path)) for group, path in enumerate(paths)]
