"""Mutual scoring of unlabelled images, the method of MuSc, beside `segment --method anomaly` (`masks.py`).

    python benchmarks/musc.py NAME=FOLDER [NAME=FOLDER ...] --weights PATH --model NAME --out musc.json

FOLDER as in `masks.py`; `reference` is not read. Masks are at the threshold that is best by the true masks. Written
from the paper (Li et al. 2024, arXiv:2401.16753), for the feature maps of a convnet:

1. Feature maps of strides 8 and 16, of images resized to --size squared; each map is scaled to a mean squared norm of
   1, since the distances of both are averaged. (The paper: tokens of four layers of a ViT.)
2. Features are averaged over 1x1, 3x3 and 5x5 places.
3. Each patch is compared with every other image: the distance to its nearest patch there. Its score is the mean over
   the 30 % of the images with the lowest distances, then the mean over maps and neighbourhoods.
4. The score of an image is its maximum. Rescored: the mean of the scores of the image and of its k nearest images,
   weighted by the cosine of the pooled features, averaged over k = 1, 2, 3.

Legend: N images, P patches of an image, D width, h w grid.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import masks
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.resample import normalise
from dinocli.data.canvas import scaled
from dinocli.data.image_list import ImageList
from dinocli.data.sources import find_images
from dinocli.quality.image_scores import image_scores
from dinocli.segmentation.patch_geometry import PatchGeometry
from dinocli.segmentation.segment_images import SegmentImage

STRIDES = (8, 16)
NEIGHBOURHOODS = (1, 3, 5)
LOWEST = 0.3
"""Fraction of the other images, those with the lowest distances, that score a patch."""

NEAREST_IMAGES = (1, 2, 3)


def main() -> None:
    """Parse, measure missing rows, print the table."""
    parser = masks.parser_of_sets(__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of the network input, pixels")
    parser.add_argument("--out", type=Path, default=Path("musc.json"))
    asked = parser.parse_args()
    for name, _, folder in (text.partition("=") for text in asked.sets):
        masks.measure_missing(asked.out, f"{name}, {asked.size} px", partial(measure, asked, Path(folder)))


@torch.inference_mode()
def measure(asked: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Score every image of a test folder by all others."""
    begin = time.process_time()
    images, geometries, maps, pooled_ND = features(asked, folder / "test")
    scores = []
    for map_NDhw in maps:
        for side in NEIGHBOURHOODS:
            around_NDhw = F.avg_pool2d(map_NDhw, side, stride=1, padding=side // 2, count_include_pad=False)
            score_NP = mutual_scores(around_NDhw.flatten(2).transpose(1, 2).contiguous())
            score_N1hw = score_NP.reshape(len(images), 1, *map_NDhw.shape[2:])
            scores.append(F.interpolate(score_N1hw, maps[0].shape[2:], mode="bilinear")[:, 0])
    score_Nhw: NDArray[np.float32] = torch.stack(scores).mean(dim=0).numpy()
    score_N = score_Nhw.max(axis=(1, 2))
    row = masks.scored_at_best(folder, images, list(zip(score_Nhw, geometries, strict=True)), score_N.tolist())
    defective_N = ["/good/" not in name for name in images.names]
    if not all(defective_N):
        found = image_scores(rescored(score_N, pooled_ND).tolist(), defective_N, defective_N)
        row["image AUROC, rescored"] = [round(float(part), 4) for part in found["image AUROC"]]
    return {**row, "cpu_seconds": round(time.process_time() - begin, 1)}


def features(asked: argparse.Namespace, folder: Path) -> tuple[ImageList, list[PatchGeometry], list[Tensor], Tensor]:
    """Return the images of a folder, the geometry of each, a map (N, D, h, w) of each stride, and pooled features."""
    context = masks.context_of(asked.weights, asked.model, folder)
    images, canvas = find_images([str(folder)]), (asked.size, asked.size)
    reductions = [stage["reduction"] for stage in context.backbone.model.feature_info]
    stages = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES]
    geometries, maps, pooled = [], [], []
    reader = masks.extractor_of(asked, folder, "fine").reader
    for picture in reader.read_images(images, list(range(len(images))), 1):
        assert isinstance(picture, SegmentImage), picture
        pixels_CHW = scaled(picture.source_CHW, canvas)
        x_1CHW = torch.tensor(pixels_CHW)[None].float() / np.iinfo(pixels_CHW.dtype).max
        x_1CHW = normalise(x_1CHW, context.preprocess.mean, context.preprocess.std)
        maps.append([context.backbone.stage_map(x_1CHW, stage)[0] for stage in stages])
        pooled.append(context.backbone(x_1CHW)[0])
        grid = (asked.size // STRIDES[0],) * 2
        geometries.append(PatchGeometry(picture.source_CHW.shape[1:], canvas, grid, STRIDES[0], STRIDES[0]))
    stacked = [torch.stack(of_stride).float() for of_stride in zip(*maps, strict=True)]
    stacked = [map_NDhw / map_NDhw.square().sum(dim=1).mean().sqrt() for map_NDhw in stacked]
    return images, geometries, stacked, torch.stack(pooled).float()


def mutual_scores(features_NPD: Tensor) -> Tensor:
    """Return the score of each patch (N, P): its mean distance to the images that are nearest to it."""
    squares_NP = features_NPD.square().sum(dim=2)
    count = len(features_NPD)
    nearest_NNP = torch.full((count, *squares_NP.shape), torch.inf)
    for one in range(count):
        for other in range(one + 1, count):
            products_PP = features_NPD[one] @ features_NPD[other].T
            distances_PP = torch.add(squares_NP[one][:, None] + squares_NP[other], products_PP, alpha=-2)
            nearest_NNP[one, other] = distances_PP.amin(dim=1)
            nearest_NNP[other, one] = distances_PP.amin(dim=0)
    lowest = max(1, round(LOWEST * (count - 1)))
    return nearest_NNP.clamp(min=0).sqrt().topk(lowest, dim=1, largest=False).values.mean(dim=1)


def rescored(score_N: NDArray[np.float32], pooled_ND: Tensor) -> NDArray[np.float32]:
    """Return image scores averaged over the nearest images."""
    unit_ND = F.normalize(pooled_ND)
    cosine_NN = (unit_ND @ unit_ND.T).numpy()
    order_NN = (-cosine_NN).argsort(axis=1)  # the image itself is the first
    means = []
    for count in NEAREST_IMAGES:
        near_NK = order_NN[:, : count + 1]
        weight_NK = np.take_along_axis(cosine_NN, near_NK, axis=1)
        means.append((weight_NK * score_N[near_NK]).sum(axis=1) / weight_NK.sum(axis=1))
    return np.asarray(np.mean(means, axis=0), np.float32)


if __name__ == "__main__":
    main()
