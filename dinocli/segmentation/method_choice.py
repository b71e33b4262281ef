"""Methods of `segment` by name, and `--method auto`, which chooses one from the images without a label."""

import difflib
from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import islice
from typing import Any

from dinocli.errors import UsageError
from dinocli.models.backbone import Backbone
from dinocli.segmentation.anomaly import Anomaly
from dinocli.segmentation.attention_mask import AttentionMethod
from dinocli.segmentation.kmeans_segments import KMeansMethod
from dinocli.segmentation.method import FeatureKind, Method
from dinocli.segmentation.pca_foreground import PcaMethod
from dinocli.segmentation.sample import Sample
from dinocli.segmentation.tokencut import TokenCut, affinity_threshold_of

MIN_OBJECT_FRACTION = 0.5
"""Fraction of the sampled images in which TokenCut has to find an object for a folder to count as photographs."""

MAX_TRIED_IMAGES = 32
"""Maximum number of images that TokenCut is tried on."""

UNLIKE, ALIKE = 0.42, 0.7
"""Mean cosine between pooled features of two images below which they are of many things, and above which of one part
or surface. EfficientNet-Lite0: photographs of objects .24 to .36, aerial images .32; boards .47, steel .53, solar and
blood cells .6, x-rays .65; tiles .79, ball screws .87, washers .96."""


def pick_method(sample: Sample, similarity_change: float = 0.0) -> tuple[str, str]:
    """Choose TokenCut if it finds an object in most images, otherwise the anomaly method.

    Images of many things cannot be compared with each other, which the anomaly method does. Images of the same part
    can, even if the part stands out from its background.

    Args:
        sample: Sample of the images.
        similarity_change: That of the weights (`WeightsInfo`), which is subtracted.

    Returns:
        The name of the method and the reason.
    """
    grids = list(islice(sample.grids(FeatureKind.KEYS), MAX_TRIED_IMAGES))
    if len(grids) < 2:
        return "tokencut", "one image has no others to be compared with"
    cosine = sample.similarity(MAX_TRIED_IMAGES) - similarity_change
    if cosine > ALIKE:
        alike = f"the images are alike (mean cosine {cosine:.2f})"
        return "anomaly", f"{alike}: of one part or surface; for an object in each use --method tokencut"
    if cosine >= UNLIKE:  # in the deepest map of a convnet, TokenCut finds an object on any surface
        grids = [replace(grid, deep=None) for grid in grids]
    cut = TokenCut(affinity_threshold=affinity_threshold_of(sample.extraction.backbone)).fit(grids)
    found = sum(not cut.apply(grid).empty_reason for grid in grids)
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
