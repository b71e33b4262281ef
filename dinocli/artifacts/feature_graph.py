"""One graph of preprocessing, backbone, fitted features and classifier, verified against `embed`.

Legend: B images, H W pixels, C classes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinocli.artifacts.export_source import Source
from dinocli.artifacts.feature_model import FeatureModel, inside_of
from dinocli.config.preprocess import Preprocess, first_channels
from dinocli.engine.rare_features import RareFeatures
from dinocli.engine.rare_graph import RareGraph
from dinocli.errors import UsageError, WeightsError
from dinocli.models.export_graph import Compute, verified
from dinocli.models.graph_pipeline import ClassifierHead, GraphPipeline, GraphPreprocessing
from dinocli.models.token_kinds import FITTED
from dinocli.models.tokens import POOLED
from dinocli.quality.classifier_file import SavedClassifier
from dinocli.quality.classifiers import MIN_PROBABILITY
from dinocli.quality.knn import TEMPERATURE
from dinocli.quality.selective_classification import precision_threshold

MIN_COSINE = 0.999
"""Minimum cosine to the features of `embed`, for every test image."""

_TEST_SIZES = ((180, 240), (224, 224), (700, 500), (96, 130))  # (h, w)
_MAX_PROBABILITY_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class FeatureGraph:
    """Parts of an exported graph.

    Args:
        source: Weights with their preprocessing.
        with_preprocessing: The graph includes range, resize and normalisation, and takes source values of any size.
        saved: Classifier whose probabilities are a third output; or None.
        rare: Features fitted to a folder, which replace the feature map as second output; or None.

    Raises:
        UsageError: The range is measured per image.
        WeightsError: The classifier takes other features, or the fitted ones have a region of interest.
    """

    source: Source
    with_preprocessing: bool = False
    saved: SavedClassifier | None = None
    rare: RareFeatures | None = None

    def __post_init__(self) -> None:
        if self.with_preprocessing and self.source.preprocess.range_policy == "image":
            raise UsageError("--with-preprocessing: a range of each image by its percentiles is not for a graph")
        if self.rare and inside_of(self.source.preprocess) is not None:
            raise WeightsError("rare features with a mask as region of interest are not for a graph: embed without it")
        if self.saved:
            _check(self.saved, self.source)

    @property
    def by_cosine(self) -> bool:
        """Whether the graph is compared with `embed` by the cosine of their features."""
        return self.with_preprocessing or self.rare is not None

    def pipeline(self) -> GraphPipeline:
        """Build the graph."""
        source = self.source
        return GraphPipeline(
            source.backbone,
            source.preprocess.size,
            GraphPreprocessing(source.preprocess) if self.with_preprocessing else None,
            RareGraph(source.backbone, self.rare) if self.rare else None,
            _head(self.saved) if self.saved else None,
        )

    def facts(self) -> dict[str, str]:
        """Return the metadata of the graph: that of the weights, preprocessing, features, classes and threshold."""
        facts = self.source.facts() | ({"preprocessing": "in the graph"} if self.with_preprocessing else {})
        if self.rare:
            facts |= {"features": self.rare.kind, "features_digest": self.rare.digest()}
        if self.saved:
            threshold = _threshold(self.saved)
            facts |= {"classes": json.dumps(self.saved.classifier.classes), "threshold": f"{threshold:.6g}"}
        return facts

    def verified(self, compute: Compute) -> float:
        """Return the difference of a graph to the original: relative, or 1 - the smallest cosine (`by_cosine`).

        Raises:
            WeightsError: The difference is too large.
        """
        place = 1 if self.rare else 0  # of the features among the outputs

        def checked(images: torch.Tensor) -> list[NDArray[np.float32]]:
            outputs = compute(images)
            if self.saved:
                _check_probabilities(self.saved, outputs[place], outputs[2])
            return outputs

        if not self.by_cosine:
            return verified(checked, self.source.backbone, self.source.preprocess.size)
        worst = min(
            float((found_D @ expected_D) / np.linalg.norm(found_D) / np.linalg.norm(expected_D))
            for images, expected_BD in self._trials()
            for found_D, expected_D in zip(checked(images)[place], expected_BD, strict=True)
        )
        if not worst >= MIN_COSINE:
            raise WeightsError(
                f"features of the graph have a cosine of {worst:.4f} to those of embed, not {MIN_COSINE}: use --format "
                "timm, and report which model it was"
            )
        return max(1 - worst, 0.0)  # rounding: above 1 for equal features

    def _trials(self) -> Iterator[tuple[Tensor, NDArray[np.float32]]]:
        """Yield test images as the graph takes them, and the features that `embed` gives."""
        backbone, preprocess = self.source.backbone, self.source.preprocess
        if not self.with_preprocessing:
            assert self.rare is not None
            shape, random = (backbone.in_chans, preprocess.size, preprocess.size), torch.Generator().manual_seed(0)
            for count in (1, 3):
                images = torch.randn(count, *shape, generator=random)
                with torch.no_grad():
                    yield images, self.rare.compute(backbone, images).numpy()
            return
        preprocess = of_cropped(preprocess)
        model = FeatureModel(backbone, preprocess, self.rare or POOLED)
        for number, size in enumerate(_TEST_SIZES):
            pixels_HWC = noise_image(preprocess, size, number)
            images = torch.from_numpy(pixels_HWC.astype(np.float32 if preprocess.deep else np.uint8))[None]
            yield images, model.embed([pixels_HWC])


def of_cropped(preprocess: Preprocess) -> Preprocess:
    """Return the preprocessing of what a graph takes: images that are already cropped, with channels selected."""
    return replace(preprocess, roi="", channels=first_channels(preprocess.canvas_channels))


def noise_image(preprocess: Preprocess, size: tuple[int, int], seed: int, contrast: float = 0.2) -> NDArray[Any]:
    """Return noise with a 1/f spectrum, as in photographs, over the source range, (h, w, C).

    Args:
        preprocess: Preprocessing of the graph.
        size: Height and width, pixels.
        seed: Seed of the noise.
        contrast: Standard deviation as a fraction of the range.
    """
    before, random = GraphPreprocessing(preprocess), np.random.default_rng(seed)
    down, across = np.fft.fftfreq(size[0])[:, None, None], np.fft.fftfreq(size[1])[None, :, None]
    spectrum = np.fft.fft2(random.standard_normal((*size, before.channels)), axes=(0, 1)) / (
        np.hypot(down, across) + 1 / max(size)
    )
    values = np.fft.ifft2(spectrum, axes=(0, 1)).real
    fraction = np.clip(0.5 + contrast * values / values.std(), 0, 1)
    pixels = before.low_C.double().numpy() + fraction * before.width_C.double().numpy()
    if preprocess.source == "float":
        return np.asarray(pixels, np.float32)
    return np.asarray(np.rint(pixels), np.uint16 if preprocess.deep else np.uint8)


def _check(saved: SavedClassifier, source: Source) -> None:
    metadata = saved.features
    if metadata.get("tokens", "pooled") not in ("pooled", *FITTED) or metadata.get("layers", 1) != 1:
        kind = f"{metadata.get('tokens')} of {metadata.get('layers', 1)} layers"
        raise WeightsError(
            f"the classifier takes features of another kind ({kind}); a graph gives pooled and pooled+rare ones: "
            "embed with these, classify that file, and export again"
        )
    if metadata.get("weights", {}).get("sha256", source.info.sha256) != source.info.sha256:
        raise WeightsError("the classifier was made with other weights; leave out the weights to take its own")


def _head(saved: SavedClassifier) -> ClassifierHead:
    classifier = saved.classifier
    arrays = {name: getattr(classifier, name) for name in ("mean_D", "weight_CD", "bias_C", "rows_MD", "class_M")}
    return ClassifierHead(
        {name: torch.from_numpy(array.copy()) for name, array in arrays.items()},
        neighbours=int(classifier.candidate.setting) if classifier.candidate.method == "knn" else 0,
        votes_temperature=TEMPERATURE,
        temperature=classifier.temperature,
        classes=len(classifier.classes),
        min_probability=MIN_PROBABILITY,
    )


def _check_probabilities(
    saved: SavedClassifier, pooled_BD: NDArray[np.float32], probability_BC: NDArray[np.float32]
) -> None:
    """Compare the probabilities of the graph with the original classifier on the graph's features."""
    difference = np.abs(saved.classifier.probabilities(pooled_BD) - probability_BC).max()
    if not difference <= _MAX_PROBABILITY_DIFFERENCE:
        raise WeightsError(
            f"the exported classifier differs from the original by {difference:.2g}; report which classifier it was"
        )


def _threshold(saved: SavedClassifier) -> float:
    if not saved.precision or not len(saved.confidence_M):
        return 0.0
    return precision_threshold(saved.confidence_M, saved.right_M, saved.precision)
