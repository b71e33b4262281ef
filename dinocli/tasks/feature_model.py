"""The network behind a feature file: found again by what `feats.json` recorded, or refused."""

from dataclasses import dataclass
from typing import Any

from dinocli.config.preprocess import Preprocess
from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.tokens import Tokens
from dinocli.models.weights import load_backbone
from dinocli.tasks.feature_file import FeatureFile


@dataclass(frozen=True)
class FeatureModel:
    """What made the rows of a feature file.

    Args:
        backbone: With the very weights, in train mode, on the CPU.
        preprocess: How images were read.
        tokens: What was taken out.
        normalize: Rows were given the length 1.
    """

    backbone: Backbone
    preprocess: Preprocess
    tokens: Tokens
    normalize: bool


def feature_model_of(file: FeatureFile) -> FeatureModel:
    """Load the weights that made a feature file, and check that they are the same still.

    Raises:
        WeightsError: Nobody wrote down which they were, they are gone, or they have changed.
    """
    weights: dict[str, Any] = file.meta.get("weights", {})
    preprocess = file.preprocess()
    if not weights.get("source") or preprocess is None:
        raise WeightsError(f"{file.path} does not say which weights made it; embed again with `dinocli embed`")
    if weights["source"] == "none":
        raise WeightsError(f"{file.path} was made with random weights, which nobody has any more; embed again")
    try:
        backbone, info, _ = load_backbone(weights["source"], weights["name"], pool=weights.get("pool", "timm"))
    except WeightsError as error:
        raise WeightsError(f"the weights that made {file.path} cannot be loaded: {error}") from error
    if info.sha256 != weights["sha256"]:
        raise WeightsError(
            f"{weights['source']} has changed since {file.path} was made (sha256 {info.sha256[:12]}, then "
            f"{weights['sha256'][:12]}); embed the images again"
        )
    tokens = Tokens(file.meta.get("tokens", "pooled"), file.meta.get("layers", 1))
    return FeatureModel(backbone, preprocess, tokens, bool(file.meta.get("normalized")))
