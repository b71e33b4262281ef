"""Drawn discs, and a method that finds them with random weights: what is unlike the border is an object."""

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinocli.progress import ProgressReporter
from dinocli.segmentation.method import FeatureGrid, FeatureKind, FittedMethod, PatchMaps
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.segment.segment_options import MaskOutputs, SegmentOptions


@dataclass
class Unlike:
    """Notes which images it saw, and in which order."""

    feature_kind: FeatureKind = FeatureKind.PATCHES
    whole_image_only: bool = False
    dense: bool = False
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)

    def fit(self, sample: Iterable[FeatureGrid]) -> FittedMethod:
        self.parameters = {"sample": float(len(list(sample)))}
        return self

    def apply(self, grid: FeatureGrid) -> PatchMaps:
        self.seen.append(grid.image)
        values = grid.values_hwD
        border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
        apart = np.linalg.norm(values - np.median(border, axis=0), axis=-1)
        soft = (apart / max(float(apart.max()), 1e-6)).astype(np.float32)
        empty_reason = "flat" if apart.max() < 0.1 * np.linalg.norm(border, axis=-1).mean() else ""
        if self.dense:
            return PatchMaps(np.stack([soft, 1 - soft]), -1, 1.0, saliency_hw=soft)
        return PatchMaps(
            soft[None], 0.5, float(soft.max()), empty_reason=empty_reason, metrics={"most": float(apart.max())}
        )


class StopsAfter(ProgressReporter):
    """Sends a signal once so many images are done."""

    def __init__(self, images: int) -> None:
        self.images = images

    def progress(self, work: str, done: int, total: int, detail: str = "") -> None:
        if work == "segmenting" and done == self.images:
            os.kill(os.getpid(), signal.SIGTERM)


def disc(height: int = 96, width: int = 128) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:height, :width]
    inside: NDArray[np.bool_] = (rows - height // 2) ** 2 + (columns - width // 2) ** 2 < (min(height, width) // 4) ** 2
    return inside


def draw(mask: NDArray[np.bool_], seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(-6, 7, mask.shape)
    return (np.where(mask, 220, 40) + noise).astype(np.uint8)


def make_discs(folder: Path, names: Sequence[str] = ("a.png", "b/c.png", "d.jpg")) -> Path:
    """Write images of a bright disc."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(disc(), seed)).save(folder / name)
    return folder


def disc_options(images: Path, out: Path, **more: Any) -> SegmentOptions:
    """Return a job that random weights of a small net are good enough for."""
    usual = {
        "model": "test_convnext",
        "weights": "none",
        "device": "cpu",
        "size": 96,
        "read": ReadOptions(workers=0, max_bad=more.pop("max_bad", "")),
        "precision": "fp32",
    }
    outputs = MaskOutputs(**{field.name: more.pop(field.name) for field in fields(MaskOutputs) if field.name in more})
    return SegmentOptions(inputs=(str(images),), out=str(out), outputs=outputs, **{**usual, **more})
