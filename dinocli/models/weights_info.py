"""Source and properties of loaded weights."""

from dataclasses import asdict, dataclass
from typing import Any

from dinocli.config.preprocess import Preprocess, first_channels


@dataclass(frozen=True)
class WeightsInfo:
    """Source and properties of a backbone's weights.

    Args:
        name: timm name.
        source: Resolved path, timm name or hub id; ``none`` for random weights.
        sha256: Hash of the file, or of the tensors if there is none.
        licence: Licence stated by timm or the folder's config, else ``unknown``.
        matched: Number of the backbone's tensors that were loaded.
        total: Number of the backbone's tensors.
        mean: Mean of the normalisation that the weights were trained with, per channel, on the 0 to 1 scale. For
            adapted RGB weights, further channels have the mean over RGB (`dinocli.config.preprocess.for_channels`).
        std: Standard deviation of that normalisation, in the same way.
        size: Side of the images that the weights were trained on, pixels.
        pretrained: The weights are not random.
        pool: What the backbone pools, as `Backbone.pool_kind`.
        model_args: Arguments of `timm.create_model` in addition to the name.
        similarity_change: Change of the mean cosine between features of the training images by adaptation; 0 for
            weights that were not adapted, or from scratch.
    """

    name: str
    source: str
    sha256: str
    licence: str
    matched: int
    total: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    pretrained: bool
    pool: str
    model_args: dict[str, Any]
    similarity_change: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    def describe(self) -> str:
        """Describe the weights in one line, with model arguments that differ from timm's defaults."""
        args = ", ".join(f"{key}={value}" for key, value in self.model_args.items())
        name = f"{self.name} ({args})" if args else self.name
        if not self.pretrained:
            return f"{name} from scratch, random weights"
        origin = "" if self.source == self.name else f" from {self.source}"
        return (
            f"{name}{origin}: {self.matched} of {self.total} tensors, sha256 {self.sha256[:12]}, licence {self.licence}"
        )


def plain_preprocess(info: WeightsInfo) -> Preprocess:
    """Return the preprocessing of 8-bit images at full range, for weights without stored preprocessing.

    Weights of other channel counts than grey and RGB read the first channels of a file.
    """
    return Preprocess(
        range_policy="full",
        range_low=0.0,
        range_high=1.0,
        deep=False,
        grey=False,
        channels=first_channels(len(info.mean)),
        page=0,
        mean=info.mean,
        std=info.std,
        size=info.size,
        source="8-bit",
    )
