"""Scores of anomaly maps and masks on real images with ground-truth masks; can be interrupted and continued.

    python benchmarks/masks.py NAME=FOLDER [NAME=FOLDER ...] --weights PATH --model NAME --cache DIR

FOLDER contains `test/` (images; good ones in `test/good`), `truth/` (masks with the names of the images) and optionally
`reference/` (good images that are not in `test`). Features of every image are cached, finished rows are saved in --out.
Masks are compared at image resolution, without the edge-aware filter (`--no-refine`).
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinocli.data.sources import ImageList, find_images
from dinocli.progress import ProgressReporter
from dinocli.quality.mask_scorer import MaskScorer
from dinocli.segmentation.anomaly import Anomaly
from dinocli.segmentation.feature_extraction import FeatureExtraction
from dinocli.segmentation.ground_truth import GroundTruth
from dinocli.segmentation.method import FeatureGrid, FeatureKind
from dinocli.segmentation.patch_geometry import PatchGeometry
from dinocli.segmentation.segment_images import SegmentImage
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import prepare
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.segment.segment_options import SIZE

Grids = list[tuple[FeatureGrid, PatchGeometry]]


def main() -> None:
    """Parse, measure missing rows, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--coarse", action="store_true", help="as `segment --coarse`")
    parser.add_argument("--out", type=Path, default=Path("masks.json"))
    asked = parser.parse_args()
    rows = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    for name, _, folder in (text.partition("=") for text in asked.sets):
        for reference in (False, True) if (Path(folder) / "reference").is_dir() else (False,):
            key = f"{name}, {'good references' if reference else 'no reference'}{', --coarse' if asked.coarse else ''}"
            if key not in rows:
                rows[key] = measure(asked, name, Path(folder), reference=reference)
                asked.out.parent.mkdir(parents=True, exist_ok=True)
                asked.out.write_text(json.dumps(rows, indent=2) + "\n")
            print(key, json.dumps(rows[key]), flush=True)


def measure(asked: argparse.Namespace, name: str, folder: Path, *, reference: bool) -> dict[str, object]:
    """Fit to the folder or its reference images, and score every image of the test folder."""
    images, grids = features(asked, name, folder / "test")
    fitted_on = [grid for grid, _ in grids]
    if reference:
        _, good = features(asked, name, folder / "reference")
        fitted_on = [replace(grid, image=-1 - grid.image) for grid, _ in good]
    begin = time.process_time()
    fitted = Anomaly(reference=reference, coarse=asked.coarse).fit(fitted_on)
    truth, scorer = GroundTruth(str(folder / "truth"), images), MaskScorer()
    dice = []
    for grid, geometry in grids:
        maps = fitted.apply(grid)
        rows = slice(0, geometry.source[0])
        soft_HW = geometry.upsampled(maps.saliency()[None], rows)[0]
        labels_HW = (geometry.upsampled(maps.soft_Khw, rows)[0] > maps.threshold).astype(np.uint16)
        labels_HW *= not maps.empty_reason
        truth_HW = truth.read(images.names[grid.image], geometry.source)
        found = scorer.add(truth_HW, labels_HW, soft_HW, dense=False)
        scorer.add_image(maps.score, defective=bool(truth_HW.any()), flagged=bool(labels_HW.any()))
        dice += [found["truth_dice"]] if truth_HW.any() else []
    scores = {key: [round(float(part), 4) for part in one] for key, one in scorer.scores().items()}
    return {
        "images": len(grids),
        "fitted_on": len(fitted_on),
        "parameters": dict(fitted.parameters),
        "mean Dice of defective images": round(float(np.mean(dice)), 4),
        **scores,
        "confusion": scorer.confusion(),
        "cpu_seconds_without_features": round(time.process_time() - begin, 1),
    }


def features(asked: argparse.Namespace, name: str, folder: Path) -> tuple[ImageList, Grids]:
    """Return the images of a folder with their features, from the cache if present."""
    images, place = find_images([str(folder)]), asked.cache / name / folder.name
    kind, suffix = (FeatureKind.COARSE, ".coarse.npz") if asked.coarse else (FeatureKind.PATCHES, ".npz")
    files = [place / f"{image[2:].replace('/', '__')}{suffix}" for image in images.names]
    missing = [row for row, file in enumerate(files) if not file.is_file()]
    place.mkdir(parents=True, exist_ok=True)
    if missing:
        read = EmbedOptions((str(folder),), weights=asked.weights, model=asked.model, read=ReadOptions())
        context = prepare(read, ProgressReporter(), None)
        extractor = FeatureExtraction(
            context.backbone, context.preprocess, kind, context.device, SIZE, autocast=context.autocast
        )
        for picture in extractor.reader.read_images(images, missing, 1):
            assert isinstance(picture, SegmentImage), picture
            save(files[picture.image], extractor.grid(picture).values_hwD, picture.geometry)
    return images, [load(file, row) for row, file in enumerate(files)]


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
