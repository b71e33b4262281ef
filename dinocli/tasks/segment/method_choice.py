"""Which method fits a folder, by what it looks like and without a label."""

from collections.abc import Callable, Sequence

from dinocli.models.backbone import Backbone
from dinocli.tasks.segment.method import FeatureGrid, FeatureKind
from dinocli.tasks.segment.tokencut import TokenCut, affinity_threshold_of

OBJECTS = 0.5
"""Share of the sample in which one thing has to be apart from the rest, for the folder to be one of objects."""

TRIED = 32
"""Images of the sample that are cut to find out."""


def pick_method(backbone: Backbone, sample: Callable[[FeatureKind], Sequence[FeatureGrid]]) -> tuple[str, str]:
    """Choose a method.

    A folder of objects is one where, in most images, one thing is apart from the rest: where TokenCut finds something.
    Everything else is taken for surfaces, on which the thing to find is what is unlike the other images.

    Args:
        backbone: Whose features are looked at.
        sample: Looks at a sample of the folder, as a method asks.

    Returns:
        The name of a method, and why.
    """
    grids = sample(FeatureKind.KEYS)[:TRIED]
    if len(grids) < 2:
        return "tokencut", "one image has no others to be compared with"
    cut = TokenCut(affinity_threshold=affinity_threshold_of(backbone))
    found = sum(not cut.apply(grid).nothing for grid in grids)
    said = f"one thing is apart from the rest in {found} of {len(grids)} images"
    return ("tokencut", f"{said}: objects") if found > OBJECTS * len(grids) else ("anomaly", f"{said}: surfaces")
