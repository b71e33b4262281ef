"""State of a fitted anomaly method as one safetensors file, stored beside distances and in a detector."""

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from dinocli.files import write_atomic
from dinocli.quality.patch_bank import PatchBank
from dinocli.segmentation.distance_scale import PLACES, DistanceScale
from dinocli.stored import read_limited, reading

K = TypeVar("K", bound=np.generic)

MAX_BYTES = 1 << 30
"""Maximum size of the file; a bank of 4,096 patches of the widest ViT takes 100 MB."""

BANK = "centred bank"
"""Name of the tensor. Older files hold a bank of uncentred patches under another name, which would give wrong maps."""

_ADVICE = "segment the images again"
_NUMBERS = ("level", "middle", "fall")


class LearntAnomaly(NamedTuple):
    """Content of the file.

    Args:
        scale: Distribution of the distances of the folder.
        bank: Typical patches, with image numbers of -1; None beside stored distances.
    """

    scale: DistanceScale
    bank: PatchBank | None


def save_anomaly(path: Path, scale: DistanceScale, bank: PatchBank | None = None) -> None:
    """Write the file atomically."""
    tensors = {
        "place": scale.place_PP,
        "spread": scale.spread_PP,
        "maxima": scale.maxima_S,
        "numbers": np.array([getattr(scale, name) for name in _NUMBERS], np.float64),
        "good": np.array([scale.good], np.uint8),
    }
    if bank is not None:
        tensors[BANK] = bank.features_MD
    write_atomic(path, save({name: np.ascontiguousarray(values) for name, values in tensors.items()}))


def load_anomaly(path: Path) -> LearntAnomaly:
    """Read a file of `save_anomaly`.

    Raises:
        WeightsError: The file is missing, damaged or has other content.
    """
    with reading(path, _ADVICE):
        tensors = load(read_limited(path, MAX_BYTES))
        place_PP = _checked(tensors["place"], np.float32, (PLACES, PLACES))
        spread_PP = _checked(tensors["spread"], np.float32, (PLACES, PLACES))
        maxima_S = _checked(tensors["maxima"], np.float32, (None,))
        numbers = dict(zip(_NUMBERS, _checked(tensors["numbers"], np.float64, (len(_NUMBERS),)).tolist(), strict=True))
        good = bool(_checked(tensors["good"], np.uint8, (1,))[0])
        scale = DistanceScale(place_PP, spread_PP, maxima_S=maxima_S, good=good, **numbers)
        if BANK not in tensors:
            return LearntAnomaly(scale, None)
        features_MD = _checked(tensors[BANK], np.float32, (None, None))
        # Later images are none of those in the bank, so the image numbers are not stored.
        return LearntAnomaly(scale, PatchBank(features_MD, np.full(len(features_MD), -1)))


def _checked(values: NDArray[Any], kind: type[K], shape: tuple[int | None, ...]) -> NDArray[K]:
    """Return the array if it has the dtype, the shape (None: any length above 0) and finite values only."""
    fits = len(values.shape) == len(shape) and all(
        length > 0 if wanted is None else length == wanted for length, wanted in zip(values.shape, shape, strict=True)
    )
    if values.dtype != kind or not fits:
        raise ValueError(f"an array of {values.dtype} {values.shape} where {np.dtype(kind)} {shape} belongs")
    if not np.isfinite(values).all():
        raise ValueError("a value that is not finite")
    checked: NDArray[K] = values
    return checked
