"""State of a fitted anomaly method as one safetensors file, stored beside distances and in a detector."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load, save

from dinocli.files import write_atomic
from dinocli.quality.patch_bank import PatchBank
from dinocli.segmentation.distance_scale import DistanceScale
from dinocli.segmentation.position_maps import PLACES
from dinocli.stored import read_limited, reading
from dinocli.stored_arrays import checked_array

MAX_BYTES = 1 << 30
"""Maximum size of the file; a bank of 4,096 patches of the widest ViT takes 100 MB."""

BANKS = "centred bank", "second bank"
"""Names of the banks. Older files hold a bank of uncentred patches under another name, which would give wrong maps."""

_ADVICE = "segment the images again"
_NUMBERS = ("level", "middle", "fall")
_FLAGS = ("good", "enhanced", "coarse")


class LearntAnomaly(NamedTuple):
    """Content of the file.

    Args:
        scale: Distribution of the distances of the folder.
        banks: Typical patches of each kind of features, with image numbers of -1; none beside stored distances.
    """

    scale: DistanceScale
    banks: tuple[PatchBank, ...]


def save_anomaly(path: Path, scale: DistanceScale, banks: Sequence[PatchBank] = ()) -> None:
    """Write the file atomically."""
    tensors = {
        "places": scale.place_FPP,
        "spreads": scale.spread_FPP,
        "maxima": scale.maxima_S,
        "enhanced maxima": scale.enhanced_S,
        "maxima of kinds": scale.maxima_FS,
        "numbers": np.array([getattr(scale, name) for name in _NUMBERS], np.float64),
        **{name: np.array([getattr(scale, name)], np.uint8) for name in _FLAGS},
    }
    if np.isfinite(scale.scene_limit):
        tensors["scene limit"] = np.array([scale.scene_limit], np.float64)
    tensors |= {name: bank.features_MD for name, bank in zip(BANKS, banks, strict=False)}
    write_atomic(path, save({name: np.ascontiguousarray(values) for name, values in tensors.items()}))


def load_anomaly(path: Path) -> LearntAnomaly:
    """Read a file of `save_anomaly`.

    Raises:
        WeightsError: The file is missing, damaged or has other content.
    """
    with reading(path, _ADVICE):
        tensors = load(read_limited(path, MAX_BYTES))
        place_FPP = checked_array(tensors["places"], np.float32, (None, PLACES, PLACES))
        spread_FPP = checked_array(tensors["spreads"], np.float32, place_FPP.shape)
        maxima_S = checked_array(tensors["maxima"], np.float32, (None,))
        maxima_FS = checked_array(tensors["maxima of kinds"], np.float32, (len(place_FPP), len(maxima_S)))
        numbers = dict(
            zip(_NUMBERS, checked_array(tensors["numbers"], np.float64, (len(_NUMBERS),)).tolist(), strict=True)
        )
        # Files of version 0.2.0 and earlier have the first flag alone.
        enhanced_S = checked_array(tensors.get("enhanced maxima", maxima_S), np.float32, maxima_S.shape)
        tensors = dict.fromkeys(_FLAGS[1:], np.zeros(1, np.uint8)) | tensors
        limit = checked_array(tensors["scene limit"], np.float64, (1,))[0] if "scene limit" in tensors else np.inf
        flags = {name: bool(checked_array(tensors[name], np.uint8, (1,))[0]) for name in _FLAGS}
        scale = DistanceScale(
            place_FPP,
            spread_FPP,
            maxima_FS=maxima_FS,
            maxima_S=maxima_S,
            enhanced_S=enhanced_S,
            scene_limit=float(limit),
            **flags,
            **numbers,
        )
        banks = [checked_array(tensors[name], np.float32, (None, None)) for name in BANKS if name in tensors]
        if len(banks) not in (0, len(place_FPP)):
            raise ValueError(f"{len(banks)} banks for {len(place_FPP)} kinds of features")
        # Later images are none of those in the bank, so the image numbers are not stored.
        return LearntAnomaly(scale, tuple(PatchBank(bank_MD, np.full(len(bank_MD), -1)) for bank_MD in banks))
