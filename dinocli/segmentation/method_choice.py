"""Methods of `segment` by name, and `--method auto`, which chooses one from the images without a label."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from itertools import islice
from typing import Any

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.segmentation.anomaly import Anomaly
from dinocli.segmentation.attention_mask import AttentionMethod
from dinocli.segmentation.kmeans_segments import KMeansMethod
from dinocli.segmentation.method import FeatureGrid, FeatureKind, Method
from dinocli.segmentation.pca_foreground import PcaMethod
from dinocli.segmentation.tokencut import TokenCut, affinity_threshold_of

MIN_OBJECT_FRACTION = 0.5
"""Fraction of the sampled images in which TokenCut has to find an object for a folder to count as photographs."""

MAX_TRIED_IMAGES = 32
"""Maximum number of images that TokenCut is tried on."""


def pick_method(backbone: Backbone, sample: Callable[[FeatureKind], Iterable[FeatureGrid]]) -> tuple[str, str]:
    """Choose TokenCut if it finds an object in most images, otherwise the anomaly method.

    Folders without objects are assumed to show surfaces or parts, whose defects differ from the other images.

    Args:
        backbone: Backbone of the features.
        sample: Returns the feature grids of a sample of the folder.

    Returns:
        The name of the method and the reason.
    """
    grids = list(islice(sample(FeatureKind.KEYS), MAX_TRIED_IMAGES))
    if len(grids) < 2:
        return "tokencut", "one image has no others to be compared with"
    cut = TokenCut(affinity_threshold=affinity_threshold_of(backbone)).fit(grids)
    # Without the deepest map of a convnet, in which TokenCut finds an object on any surface.
    found = sum(not cut.apply(replace(grid, deep=None)).empty_reason for grid in grids)
    finding = f"an object stands out in {found} of {len(grids)} images"
    if found > MIN_OBJECT_FRACTION * len(grids):
        return "tokencut", f"{finding}: photographs of objects"
    return "anomaly", f"{finding}: surfaces or parts; for photographs of objects use --method tokencut"


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
        options: Options of this method that the user set, checked by `check_method`.
        backbone: Backbone of the features.
        reference: The sample consists of images known to be good.
        seed: Seed of methods that sample.

    Raises:
        UsageError: The method is unknown, or does not support the backbone.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of auto, {', '.join(METHODS)}"
        raise UsageError(f"--method {name!r} is not known; {hint}")
    if name == "attention" and not backbone.is_vit:
        raise UsageError(f"{backbone.name} has no attention: use a ViT, or --method tokencut, kmeans, pca or anomaly")
    accepted = {field.name for field in fields(METHODS[name])}
    values = {"seed": seed, "reference": reference, "affinity_threshold": affinity_threshold_of(backbone), **options}
    method: Method = METHODS[name](**{key: value for key, value in values.items() if key in accepted})
    return method
