"""Which method fits a folder, by what it looks like and without a label."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.segmentation.anomaly import Anomaly
from dinocli.segmentation.attention_mask import AttentionMethod
from dinocli.segmentation.kmeans_segments import KMeansMethod
from dinocli.segmentation.method import FeatureGrid, FeatureKind, Method
from dinocli.segmentation.pca_foreground import PcaMethod
from dinocli.segmentation.tokencut import TokenCut, affinity_threshold_of

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
    cut = TokenCut(affinity_threshold=affinity_threshold_of(backbone)).fit(grids)
    # The deepest map of a convnet finds some part of any surface apart: it has no say here.
    found = sum(not cut.apply(replace(grid, deep=None)).empty_reason for grid in grids)
    said = f"one thing is apart from the rest in {found} of {len(grids)} images"
    if found > OBJECTS * len(grids):
        return "tokencut", f"{said}: objects"
    return "anomaly", f"{said}: surfaces or parts; for photographs of things use --method tokencut"


METHODS: dict[str, type[Any]] = {
    "attention": AttentionMethod,
    "tokencut": TokenCut,
    "kmeans": KMeansMethod,
    "pca": PcaMethod,
    "anomaly": Anomaly,
}


def make_method(
    name: str, options: Mapping[str, Any], backbone: Backbone, *, reference: bool = False, seed: int = 0
) -> Method:
    """Build a method.

    Args:
        name: One of `METHODS`.
        options: As the user gave them; each has to belong to this method.
        backbone: Whose features it will see.
        reference: The sample is of images that are known to be good.
        seed: For methods that draw anything.

    Raises:
        UsageError: No such method, an option of another one, or a backbone or reference that it cannot use.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of auto, {', '.join(METHODS)}"
        raise UsageError(f"--method {name!r} is not known; {hint}")
    if name == "attention" and not backbone.is_vit:
        raise UsageError(f"{backbone.name} has no attention: use a ViT, or --method tokencut, kmeans, pca or anomaly")
    own = _options(name)
    if reference and "reference" not in own:
        raise UsageError(f"--reference belongs to --method anomaly, not to {name}: leave it out")
    for option in options:
        if option not in own:
            others = " or ".join(other for other in METHODS if option in _options(other))
            raise UsageError(f"--{option} belongs to --method {others}, not to {name}: leave it out")
    known = {"seed": seed, "reference": reference, "affinity_threshold": affinity_threshold_of(backbone), **options}
    made: Method = METHODS[name](**{key: value for key, value in known.items() if key in own})
    return made


def _options(name: str) -> set[str]:
    return {field.name for field in fields(METHODS[name])} - {"feature_kind", "whole_image_only"}
