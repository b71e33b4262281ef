"""Score masks of every method and two baselines against a ground truth, or on synthetic discs on textures.

python benchmarks/segment.py folder IMAGES TRUTH --weights PATH --model NAME
python benchmarks/segment.py discs --weights PATH --model NAME
python benchmarks/segment.py speed
python benchmarks/segment.py graph IMAGES DETECTOR GRAPH      # of `export DETECTOR --format onnx --with-preprocessing`
"""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from dinocli.data.decode import read_native
from dinocli.data.sources import find_images
from dinocli.progress import ProgressReporter
from dinocli.quality.bootstrap import ScoreInterval
from dinocli.quality.mask_scorer import MaskScorer
from dinocli.quality.otsu import otsu
from dinocli.segmentation.ground_truth import GroundTruth
from dinocli.segmentation.normalized_cut import affinity, second_vector
from dinocli.tasks.segment.inspection import inspect_images
from dinocli.tasks.segment.segment import segment
from dinocli.tasks.segment.segment_options import SegmentOptions

WINDOW = 15
"""Pixels of the window of the local standard deviation."""

SIDE, DISCS = 320, 100


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    folder = kinds.add_parser("folder", help="images with ground-truth masks")
    folder.add_argument("images")
    folder.add_argument("truth")
    folder.set_defaults(call=measure_folder)
    discs = kinds.add_parser("discs", help="bright discs on textures, and the textures alone")
    discs.set_defaults(call=measure_discs)
    speed = kinds.add_parser("speed", help="the cut of 3,600 patches against a dense solver")
    speed.set_defaults(call=lambda _: measure_speed())
    graph = kinds.add_parser("graph", help="an exported detector beside `segment --detector --precision fp32`")
    for name in ("images", "detector", "graph"):
        graph.add_argument(name)
    graph.set_defaults(call=measure_graph)
    for kind in (folder, discs):
        kind.add_argument("--weights", required=True)
        kind.add_argument("--model", default="")
        kind.add_argument("--methods", nargs="+")
    asked = parser.parse_args()
    asked.call(asked)


def measure_folder(asked: argparse.Namespace) -> None:
    """Score baselines and methods on a folder of real images."""
    for name, baseline in BASELINES.items():
        show(name, baseline_scores(asked.images, asked.truth, baseline))
    for method in asked.methods or ("auto", "anomaly", "kmeans", "pca", "tokencut"):
        show(method, run_method(asked, method, asked.images, asked.truth)[0])


def measure_discs(asked: argparse.Namespace) -> None:
    """Score methods on discs, and count the empty masks on textures without discs."""
    for kinds in ("one texture", "many textures"):
        with TemporaryDirectory() as place:
            root = Path(place)
            draw(root / "discs", root / "truth", one_kind=kinds == "one texture", discs=True, seed=0)
            draw(root / "bare", None, one_kind=kinds == "one texture", discs=False, seed=1)
            for method in asked.methods or ("tokencut", "anomaly"):
                show(f"{method}, {kinds}", run_method(asked, method, str(root / "discs"), str(root / "truth"))[0])
                empty = run_method(asked, method, str(root / "bare"), "")[1]
                print(f"{method}, {kinds}: {empty:.0%} of the bare textures are empty", flush=True)


def run_method(
    asked: argparse.Namespace, method: str, images: str, truth: str
) -> tuple[Mapping[str, ScoreInterval], float]:
    """Segment a folder; return the scores, and the share of images with an empty mask."""
    with TemporaryDirectory() as place:
        options = SegmentOptions(
            (images,), str(Path(place, "masks")), method, weights=asked.weights, model=asked.model, truth=truth
        )
        outcome = segment(options)
    empty = f"{outcome.empty_images} of {outcome.segmented} empty"
    print(f"{method}: took {outcome.method.name}, {empty}, {outcome.seconds:.0f} s")
    scores = {name: ScoreInterval(*values) for name, values in outcome.scores.items()}
    return scores, outcome.empty_images / outcome.segmented


Baseline = Callable[[NDArray[np.float64]], tuple[NDArray[np.bool_], NDArray[np.float32]]]


def baseline_scores(images: str, truth: str, baseline: Baseline) -> Mapping[str, ScoreInterval]:
    """Return the scores of a baseline at image resolution."""
    listed, scorer = find_images([images]), MaskScorer()
    masks = GroundTruth(truth, listed)
    for row, name in enumerate(listed.names):
        grey_HW = read_native(Path(listed.path(row))).astype(np.float64).mean(axis=-1)
        mask_HW, soft_HW = baseline(grey_HW)
        scorer.add(masks.read(name, grey_HW.shape), mask_HW.astype(np.uint16), soft_HW, dense=False)
    return scorer.scores()


def otsu_smaller(grey_HW: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Segment by Otsu's threshold; the smaller class is the foreground, the score is the distance to the threshold."""
    above_HW = grey_HW - otsu(grey_HW)
    soft_HW = above_HW if (above_HW > 0).mean() < 0.5 else -above_HW
    return soft_HW > 0, soft_HW.astype(np.float32)


def otsu_dark(grey_HW: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Segment dark pixels by Otsu's threshold: uses the prior knowledge that defects are dark."""
    below_HW = otsu(grey_HW) - grey_HW
    return below_HW > 0, below_HW.astype(np.float32)


def local_deviation(grey_HW: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Segment the local standard deviation by Otsu's threshold."""
    mean_HW = uniform_filter(grey_HW, WINDOW)
    deviation_HW = np.sqrt((uniform_filter(grey_HW**2, WINDOW) - mean_HW**2).clip(0))
    return deviation_HW > otsu(deviation_HW), deviation_HW.astype(np.float32)


BASELINES: Mapping[str, Baseline] = {
    "Otsu, smaller side": otsu_smaller,
    "Otsu, dark side": otsu_dark,
    "local standard deviation": local_deviation,
}


def draw(folder: Path, truth: Path | None, *, one_kind: bool, discs: bool, seed: int) -> None:
    """Write grey textures of filtered noise, with or without a brighter disc."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    if truth:
        truth.mkdir(parents=True)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(DISCS):
        angle, grain, stretch = (0.6, 0.08, 2.0) if one_kind else rng.uniform((0, 0.03, 1), (np.pi, 0.2, 4))
        grey = texture(rng, angle, grain, stretch)
        if discs:
            radius = rng.uniform(0.08, 0.2) * SIDE
            row, column = rng.uniform(radius, SIDE - radius, 2)
            inside = np.clip(radius + 0.5 - np.hypot(y - row, x - column), 0, 1)
            grey = grey + rng.uniform(60, 90) * inside
            if truth:
                Image.fromarray(np.where(inside > 0.5, 255, 0).astype(np.uint8)).save(truth / f"{number:03d}.png")
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")


def texture(rng: np.random.Generator, angle: float, grain: float, stretch: float) -> NDArray[np.float64]:
    """Return anisotropic band-pass noise (frequency in cycles per pixel) of random brightness and contrast."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    along, across = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    passed = np.exp(-(((np.hypot(along, across * stretch) - grain) / (0.6 * grain)) ** 2) / 2)
    waves = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * passed).real
    waves *= rng.uniform(10, 25) / waves.std()
    return np.asarray(110 + rng.uniform(-20, 20) + waves + rng.normal(0, 4, waves.shape))


def measure_speed() -> None:
    """Time the sparse and the dense solver on one graph, and compare their results."""
    rng = np.random.default_rng(0)
    for side in (30, 60):
        features_ND = (
            rng.normal(size=(side * side, 64)) + 2 * rng.normal(size=(4, 64))[rng.integers(4, size=side * side)]
        )
        graph_NN = affinity(features_ND.astype(np.float32), 0.2)
        begin = time.perf_counter()
        ours = second_vector(graph_NN)[1]
        middle = time.perf_counter()
        degrees = np.diag(graph_NN.sum(axis=1))
        dense = scipy.linalg.eigh(degrees - graph_NN, degrees, subset_by_index=(1, 1))[1][:, 0]
        end = time.perf_counter()
        mine, other = ours > ours.mean(), dense > dense.mean()
        same = max((mine == other).mean(), (mine != other).mean())
        print(f"{side * side} patches: {middle - begin:.2f} s, dense {end - middle:.2f} s, same side {same:.2%}")


def measure_graph(asked: argparse.Namespace) -> None:
    """Compare scores, decisions and seconds of a graph on one core with those of its detector, on 8-bit images."""
    import onnxruntime  # an extra

    one_core = onnxruntime.SessionOptions()
    one_core.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(asked.graph, one_core)
    options = SegmentOptions((asked.images,), detector=asked.detector, device="cpu", precision="fp32", min_area=0)
    apart, agree, seconds = [], [], []
    for answer in inspect_images(options, ProgressReporter(), None):
        begin = time.perf_counter()
        pixels_HWC = np.asarray(Image.open(answer["image"]).convert("RGB"))
        score, _, defective = session.run(None, {"images": pixels_HWC[None]})
        seconds.append((answer["seconds"], time.perf_counter() - begin))
        apart.append(abs(float(score[0]) - answer["score"]))
        agree.append(bool(defective[0]) != answer["good"])
        print(f"{answer['image']}: {answer['score']:.4f}, graph {score[0]:.4f}, agree {agree[-1]}")
    theirs, ours = np.median(seconds, axis=0)
    print(f"{sum(agree)} of {len(agree)} decisions agree, scores differ by {max(apart):.5f} at most")
    print(f"median seconds an image: segment --detector {theirs:.3f}, graph {ours:.3f}")


def show(name: str, scores: Mapping[str, ScoreInterval]) -> None:
    """Print scores with their intervals."""
    said: Iterable[str] = (f"{key} {one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for key, one in scores.items())
    print(f"{name}: {', '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
