r"""Measure synthetic defects with the pooled feature and with `pooled+rare`, for start, statistics and interpolations.

    python benchmarks/default_feature.py ./cells --start W tf_efficientnet_lite0 --trained runs/cells/backbone \
        --weights statistics 0.5 1

Prints, for each of the weights, the 5-shot accuracy of both features on a sample of the images, and the difference to
the start with its 95 % interval. `statistics` is the start with the batch-norm statistics of the trained weights; a
number is the alpha of an interpolation, 1 the trained weights. No label is read.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch

from dinocli.config.load import load_recipe
from dinocli.config.preprocess import Preprocess
from dinocli.data.cache import Decoder
from dinocli.data.loader import Loader
from dinocli.data.read import Reader
from dinocli.data.sources import find_images
from dinocli.engine.build_views import probe_crop
from dinocli.engine.holdout_comparison import with_statistics
from dinocli.engine.probe import PROBE_BATCH, Probe, ProbeSample
from dinocli.models.backbone import Backbone
from dinocli.models.weight_interpolation import interpolated
from dinocli.models.weights import load_backbone
from dinocli.quality.bootstrap import paired_bootstrap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder of the set")
    parser.add_argument("--start", nargs=2, required=True, metavar=("WEIGHTS", "MODEL"))
    parser.add_argument("--trained", required=True, help="weights of a run: RUN/backbone, or RUN/adapted if refused")
    parser.add_argument("--weights", nargs="+", default=["statistics", "0.5", "1"])
    parser.add_argument("--count", type=int, default=200, help="number of images (%(default)s)")
    args = parser.parse_args()
    start, *_ = load_backbone(*args.start)
    trained, _, stored = load_backbone(args.trained)
    assert stored is not None
    probe = probe_of(args.images, Preprocess.from_dict(stored), args.count)
    before = probe.measure(start, 0)
    print(f"start  pooled {before.defect_score:.3f}  pooled+rare {before.rare_defect_score:.3f}", flush=True)
    for name in args.weights:
        after = probe.measure(weights_of(name, start, trained), 1)
        for key, label in (("defects_N", "pooled"), ("rare_defects_N", "pooled+rare")):
            both = np.stack([getattr(before, key), getattr(after, key)])
            known = np.isfinite(both).all(axis=0)
            print(f"{name}  {label} {both[1, known].mean():.3f}  {paired_bootstrap(*both[:, known])}", flush=True)


def weights_of(name: str, start: Backbone, trained: Backbone) -> Backbone:
    return with_statistics(start, trained) if name == "statistics" else interpolated(start, trained, float(name))


def probe_of(folder: str, preprocess: Preprocess, count: int) -> Probe:
    """Return the probe of a verdict on a random sample of a folder."""
    images = find_images([folder])
    drawn = np.sort(np.random.default_rng(1).permutation(len(images))[:count])
    images = replace(images, names=[images.names[number] for number in drawn])
    store = Decoder(images, Reader(preprocess, 2 * preprocess.size), "auto", "0").stream()
    loader = Loader(store, batch_size=PROBE_BATCH, seed=0, device=torch.device("cpu"))
    sizes = [f"views.{kind}_size={preprocess.size}" for kind in ("global", "local")]
    crop = probe_crop(load_recipe(("gentle",), sizes), preprocess)
    return Probe(loader, ProbeSample(range(len(store)), 1, rare=True), crop, preprocess)


if __name__ == "__main__":
    main()
