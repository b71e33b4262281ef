"""How the numbers of a file become the numbers a network sees: one frozen record, stored with the weights.

Whatever reads images (training, embedding, segmentation) is given this record and nothing else, so that the weights and
the pixels can never disagree.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Preprocess:
    """Reading and normalisation of one dataset for one backbone.

    Args:
        range_policy: What gave the range. ``full``: each file by the full range of its own dtype (floats: 0 to 1), and
            ``range_low`` and ``range_high`` are not read. Any other word is kept for the record only.
        range_low: Source value that becomes 0.
        range_high: Source value that becomes 1; values outside are clipped.
        deep: The sources have more than 8 bits, so that canvases are uint16 instead of uint8.
        grey: Canvases have one channel, repeated to three before the backbone.
        channels: Source channels to read, counted from 0; empty means all of a 1- or 3-channel image.
        page: Page of a multi-page file, counted from 0.
        mean: Of the normalisation, per RGB channel, on the 0 to 1 scale.
        std: Likewise.
        size: Side of the square that the backbone is evaluated at, pixels.
        interpolation: Of the resize to that square.
    """

    range_policy: str
    range_low: float
    range_high: float
    deep: bool
    grey: bool
    channels: tuple[int, ...]
    page: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    interpolation: str = "bicubic"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data that `from_dict` takes back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Preprocess":
        """Build the record from `to_dict` data; unknown keys are left out, a missing one is a `TypeError`."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
        return cls(**values)
