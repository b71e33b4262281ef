"""How far images of another scene, and good and defective ones, are from good references as a whole.

python benchmarks/scenes.py washer=SETS/washer ... --weights FILE --model NAME --cache DIR --out scenes.json

For each set of `mask_sets.py` with references: the median coarse distance of an image, relative to the largest of a
reference image (`OTHER_SCENE` is the limit of `segment`), of the tested images and of drawn ones: black, grey, white,
with noise, without the part (the colour of the border, with noise), darker and brighter, and a photograph.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from masks import features, fitted_to, measure_missing, parser_of_sets
from numpy.typing import NDArray
from PIL import Image

from dinocli.segmentation.anomaly import distances
from dinocli.segmentation.distance_scale import OTHER_SCENE
from dinocli.segmentation.ground_truth import is_good


def drawn(picture: Image.Image, other: Path | None) -> dict[str, Image.Image]:
    """Return images of another scene, of the size of a picture, and the picture in other light."""
    pixels_HW3 = np.asarray(picture.convert("RGB"), np.float64)
    random = np.random.default_rng(0)
    border_N3 = np.concatenate([edge.reshape(-1, 3) for edge in (pixels_HW3[:8], pixels_HW3[-8:], pixels_HW3[:, :8])])
    noise_HW3 = random.normal(0, 1, pixels_HW3.shape)
    scenes = {
        "black": 0 * noise_HW3,
        "grey": 0 * noise_HW3 + 128,
        "white": 0 * noise_HW3 + 255,
        "noise": 128 + 8 * noise_HW3,
        "no part": border_N3.mean(axis=0) + 3 * noise_HW3,
        "darker by 30 %": pixels_HW3 * 0.7,
        "brighter by 30 %": pixels_HW3 * 1.3,
    }
    images = {name: Image.fromarray(values.clip(0, 255).astype(np.uint8)) for name, values in scenes.items()}
    return images | ({"photograph": Image.open(other).convert("RGB").resize(picture.size)} if other else {})


def measure(asked: argparse.Namespace, name: str, folder: Path, work: Path, other: Path | None) -> dict[str, object]:
    """Return the largest ratios of good and defective images, and that of each drawn image."""
    fitted = fitted_to(asked, name, folder / "reference", reference=True).fitted
    largest = fitted.scale.scene_limit / OTHER_SCENE

    def ratios(of: Path, key: str) -> tuple[list[str], NDArray[np.float64]]:
        images, grids = features(asked, key, of, fitted.features)
        found = [float(np.median(distances(fitted.banks, grid)[-1])) / largest for grid, _ in grids]
        return images.names, np.array(found)

    names, tested_N = ratios(folder / "test", name)
    good_N = np.array([is_good(image) for image in names])
    scenes = work / name
    scenes.mkdir(parents=True, exist_ok=True)
    for scene, image in drawn(Image.open(folder / "test" / names[0]), other).items():
        image.save(scenes / f"{scene}.png")
    others, ratio_N = ratios(scenes, f"{name} scenes")
    return {
        "good": round(float(tested_N[good_N].max(initial=0)), 2),
        "defective": round(float(tested_N[~good_N].max(initial=0)), 2),
        **{image[2:-4]: round(float(ratio), 2) for image, ratio in zip(others, ratio_N, strict=True)},
    }


def main() -> None:
    """Parse, measure each set, print the ratios."""
    parser = parser_of_sets(__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--photograph", type=Path, help="an image of another scene")
    parser.add_argument("--out", type=Path, default=Path("scenes.json"))
    asked = parser.parse_args()
    asked.features = "both"
    for name, _, folder in (text.partition("=") for text in asked.sets):
        work = asked.cache / "scenes"
        measure_missing(asked.out, name, partial(measure, asked, name, Path(folder), work, asked.photograph))


if __name__ == "__main__":
    main()
