"""Scores of anomaly maps and masks on real images with ground-truth masks; can be interrupted and continued.

    python benchmarks/masks.py NAME=FOLDER [NAME=FOLDER ...] --weights PATH --model NAME --cache DIR

FOLDER contains `test/` (images; good ones in `test/good`), `truth/` (masks with the names of the images) and optionally
`reference/` (good images that are not in `test`). Features of every image are cached, finished rows are saved in --out.
Masks are compared at image resolution, without the edge-aware filter (`--no-refine`). `mask_sets.py` makes the sets.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinocli.data.image_list import ImageList
from dinocli.data.sources import find_images
from dinocli.progress import ProgressReporter
from dinocli.quality.mask_scorer import MaskScorer
from dinocli.segmentation.anomaly import FEATURES, Anomaly
from dinocli.segmentation.feature_choice import FittedFeatures, choose_features, drawn_in_turn, features_to_try
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.ground_truth import GroundTruth
from dinocli.segmentation.method import FeatureGrid
from dinocli.segmentation.patch_geometry import PatchGeometry
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.segmentation.sensitivity import TRIED_IMAGES
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import EmbedContext, prepare
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.segment.segment_options import SIZE

Grids = list[tuple[FeatureGrid, PatchGeometry]]
PlacedMap = tuple[NDArray[np.float32], PatchGeometry]
Scores = Sequence[float]

BINS = 4000
"""Number of thresholds that are tried for the best one."""


class Judged(NamedTuple):
    """Result of an image: anomaly map and mask at full size, and the score of the image."""

    soft_HW: NDArray[np.float32]
    marked_HW: NDArray[np.bool_]
    score: float


def main() -> None:
    """Parse, measure missing rows, print the table."""
    parser = parser_of_sets(__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--features", default="auto", choices=("auto", *FEATURES), help="as `segment`")
    parser.add_argument("--out", type=Path, default=Path("masks.json"))
    asked = parser.parse_args()
    for name, _, folder in (text.partition("=") for text in asked.sets):
        for reference in (False, True) if (Path(folder) / "reference").is_dir() else (False,):
            option = "" if asked.features == "auto" else f", --features {asked.features}"
            key = f"{name}, {'good references' if reference else 'no reference'}{option}"
            measure_missing(asked.out, key, partial(measure, asked, name, Path(folder), reference=reference))


def measure_missing(out: Path, key: str, measure: Callable[[], object]) -> None:
    """Measure a row unless it is in the file of rows, which is written after each, and print it."""
    rows = json.loads(out.read_text()) if out.is_file() else {}
    if key not in rows:
        rows[key] = measure()
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(rows, indent=2) + "\n")
    print(key, json.dumps(rows[key]), flush=True)


def parser_of_sets(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser of image sets and weights."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", default="", help="timm name, needed with a bare state dict")
    return parser


def measure(asked: argparse.Namespace, name: str, folder: Path, *, reference: bool) -> dict[str, object]:
    """Fit to the folder or its reference images, and score every image of the test folder."""
    begin = time.process_time()
    chosen = fitted_to(asked, name, folder / ("reference" if reference else "test"), reference=reference)
    fitted, parameters = chosen.fitted, {**chosen.facts, **chosen.fitted.parameters}
    images, grids = features(asked, name, folder / "test", fitted.features)

    def judged() -> Iterator[Judged]:
        for grid, geometry in grids:
            maps = fitted.apply(grid)
            rows = slice(0, geometry.source[0])
            soft_HW = geometry.upsampled(maps.saliency()[None], rows)[0]
            marked_HW = geometry.upsampled(maps.soft_Khw, rows)[0] > maps.threshold
            yield Judged(soft_HW, marked_HW & (not maps.empty_reason), maps.score)

    scores = scored(folder, images, judged())
    return {"parameters": parameters, **scores, "cpu_seconds": round(time.process_time() - begin, 1)}


def scored(folder: Path, images: ImageList, judged: Iterable[Judged]) -> dict[str, object]:
    """Score the results for the images of a test folder against its masks."""
    truth, scorer = GroundTruth(str(folder / "truth"), images), MaskScorer()
    dice = []
    for name, one in zip(images.names, judged, strict=True):
        truth_HW = truth.read(name, one.soft_HW.shape)
        found = scorer.add(truth_HW, one.marked_HW.astype(np.uint16), one.soft_HW, dense=False)
        scorer.add_image(one.score, defective=bool(truth_HW.any()), flagged=bool(one.marked_HW.any()))
        dice += [found["truth_dice"]] if truth_HW.any() else []
    scores = {key: [round(float(part), 4) for part in one] for key, one in scorer.scores().items()}
    return {
        "images": len(images),
        "mean Dice of defective images": round(float(np.mean(dice)), 4),
        **scores,
        "confusion": scorer.confusion(),
    }


def scored_at_best(folder: Path, images: ImageList, maps: Sequence[PlacedMap], score_N: Scores) -> dict[str, object]:
    """Score maps at the threshold with the highest Dice of all pixels, which only the true masks tell.

    Args:
        folder: With `test` and `truth`.
        images: Of `test`.
        maps: Anomaly map of each image, with its geometry.
        score_N: Anomaly score of each image.
    """
    truth = GroundTruth(str(folder / "truth"), images)
    edges = np.linspace(min(map_hw.min() for map_hw, _ in maps), max(map_hw.max() for map_hw, _ in maps), BINS + 1)
    counts_2B = np.zeros((2, BINS))

    def full_size() -> Iterator[NDArray[np.float32]]:
        for map_hw, geometry in maps:
            yield geometry.upsampled(map_hw[None], slice(0, geometry.source[0]))[0]

    for name, soft_HW in zip(images.names, full_size(), strict=True):
        defective_HW = truth.read(name, soft_HW.shape) > 0
        counts_2B += [np.histogram(soft_HW[part_HW], edges)[0] for part_HW in (defective_HW, ~defective_HW)]
    hit_B, wrong_B = counts_2B[:, ::-1].cumsum(axis=1)[:, ::-1]
    threshold = edges[(2 * hit_B / (hit_B + wrong_B + hit_B[0])).argmax()]
    return scored(
        folder,
        images,
        (Judged(soft_HW, soft_HW > threshold, score) for soft_HW, score in zip(full_size(), score_N, strict=True)),
    )


def fitted_to(asked: argparse.Namespace, name: str, folder: Path, *, reference: bool) -> FittedFeatures:
    """Fit the method to the images of a folder, with the features that `segment` would choose."""

    def fit(kind: str) -> FittedFeatures:
        _, grids = features(asked, name, folder, kind)
        sample = [as_reference(grid) if reference else grid for grid, _ in grids]
        return FittedFeatures(
            extractor_of(asked, folder, kind), Anomaly(reference=reference, features=kind).fit(sample)
        )

    images = find_images([str(folder)])
    rows = np.random.default_rng(0).permutation(len(images))[: 2 * TRIED_IMAGES].tolist()
    read = extractor_of(asked, folder, "fine").reader.read_images(images, rows, 1)
    pictures = [
        replace(picture, image=-1 - picture.image) if reference else picture
        for picture in read
        if isinstance(picture, SegmentImage)
    ]
    method, fine = Anomaly(reference=reference, features=asked.features), extractor_of(asked, folder, "fine")
    candidates = features_to_try(method, has_coarse=fine.has_coarse, images=len(images))
    return choose_features(fit, candidates, *drawn_in_turn(pictures, seed=0))


def as_reference(grid: FeatureGrid) -> FeatureGrid:
    """Number a reference image below 0, so that it is none of the tested images."""
    coarse = as_reference(grid.coarse) if grid.coarse else None
    return replace(grid, image=-1 - grid.image, coarse=coarse)


def features(asked: argparse.Namespace, name: str, folder: Path, kind: str) -> tuple[ImageList, Grids]:
    """Return the images of a folder with their features, from the cache if present."""
    if kind == "both":
        images, fine = features(asked, name, folder, "fine")
        _, coarse = features(asked, name, folder, "coarse")
        pairs = zip(fine, coarse, strict=True)
        return images, [(replace(grid, coarse=of_kind), geometry) for (grid, geometry), (of_kind, _) in pairs]
    images, place = find_images([str(folder)]), asked.cache / name / folder.name
    suffix = ".coarse.npz" if kind == "coarse" else ".npz"
    files = [place / f"{image[2:].replace('/', '__')}{suffix}" for image in images.names]
    missing = [row for row, file in enumerate(files) if not file.is_file()]
    place.mkdir(parents=True, exist_ok=True)
    if missing:
        extractor = extractor_of(asked, folder, kind)
        for picture in extractor.reader.read_images(images, missing, 1):
            assert isinstance(picture, SegmentImage), picture
            save(files[picture.image], extractor.grid(picture).values_hwD, picture.geometry)
    return images, [load(file, row) for row, file in enumerate(files)]


@cache
def context_of(weights: str, model: str, folder: Path) -> EmbedContext:
    """Load the weights and settle the preprocessing of a folder."""
    return prepare(
        EmbedOptions((str(folder),), weights=weights, model=model, read=ReadOptions()), ProgressReporter(), None
    )


def extractor_of(asked: argparse.Namespace, folder: Path, kind: str) -> FeatureExtraction:
    """Return what computes the features of the images of a folder."""
    context = context_of(asked.weights, asked.model, folder)
    parts = context.backbone, context.preprocess, FEATURES[kind], context.device
    return FeatureExtraction(*parts, SIZE, autocast=context.autocast)


def save(file: Path, values_hwD: NDArray[np.float32], geometry: PatchGeometry) -> None:
    """Cache the features of an image in half precision, which suffices for distances."""
    part = file.with_suffix(".part.npz")
    place = (geometry.source, geometry.canvas, geometry.grid, (geometry.patch, geometry.step))
    np.savez(part, values=values_hwD.astype(np.float16), geometry=np.array(place))
    part.rename(file)


def load(file: Path, row: int) -> tuple[FeatureGrid, PatchGeometry]:
    """Read a file of `save`."""
    with np.load(file) as data:
        source, canvas, grid, (patch, step) = ((int(a), int(b)) for a, b in data["geometry"])
        values_hwD = data["values"].astype(np.float32)
        fine_size = None if values_hwD.shape[:2] == grid else grid
        return FeatureGrid(values_hwD, row, fine_size=fine_size), PatchGeometry(source, canvas, grid, patch, step)


if __name__ == "__main__":
    main()
