r"""k-NN accuracy by intermediate and last stages of a convnet, and by concatenations of them.

    python benchmarks/stages.py ./images folder --weights W RUN

The maps of each stage are averaged over the image. *plain*: L2-normalised; *scaled*: channels standardised over the
folder first; *white*: also projected to the first 256 principal components, each divided by its standard deviation
(with a share of the mean variance added). No training; labels are used for k-NN only (leave-one-out, k = 20; the first
column of a CSV).

Shapes: N images, D channels.
"""

import argparse
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor, nn

from dinocli.config.load import load_recipe
from dinocli.data.labels import read_labels
from dinocli.engine.probe import whole_features
from dinocli.progress import ProgressReporter
from dinocli.quality.knn import accuracy, knn_votes
from dinocli.tasks.train.setup import list_images, setup
from dinocli.tasks.train.train_context import TrainContext
from dinocli.tasks.train.train_options import TrainOptions

Features = NDArray[np.floating[Any]]

COMPONENTS, RIDGE = 256, 0.1
TOGETHER = ((-1, -3), (-1, -2, -3), (-2, -3), (-1, -3, -4))
"""Indices of features: -1 is the pooled feature, -2 the last stage before it, and so on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("labels", help="folder or a CSV")
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    for weights in args.weights:
        options = TrainOptions(
            (args.images,), load_recipe([], [f"model.weights={weights}"]), "stages", device=args.device
        )
        context = setup(options, list_images(options, None), ProgressReporter())
        stages, rows = pooled_stages(context)
        names = [context.store.names[row] for row in rows]
        labels = np.array(next(iter(read_labels(args.labels, names).values())))
        known = np.flatnonzero(labels != "")
        print(f"{weights}: {len(known)} images\nstages\tchannels\tplain\tscaled\twhite")
        for chosen in [(-1 - depth,) for depth in range(len(stages))] + list(TOGETHER):
            parts = [stages[stage][known] for stage in chosen]
            plain, scaled = joined(parts), joined([StandardScaler().fit_transform(part) for part in parts])
            ways = (plain, scaled, whitened(scaled))
            words = (
                f"{accuracy(labels[known], knn_votes(x_ND, labels[known], k=20).predicted_Q):.3f}" for x_ND in ways
            )
            print("+".join(map(str, chosen)), sum(part.shape[1] for part in parts), *words, sep="\t", flush=True)


def pooled_stages(context: TrainContext) -> tuple[list[Features], list[int]]:
    """Return the mean of each stage over the image, the pooled feature last, and the indices of the images."""
    seen: dict[str, list[Tensor]] = {}

    def watch(name: str, stage: nn.Module) -> None:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], maps_b_D_hw: Tensor) -> None:
            seen.setdefault(name, []).append(maps_b_D_hw.float().mean((2, 3)))

        stage.register_forward_hook(keep)

    model: Any = context.backbone.model
    for info in model.feature_info:
        watch(info["module"], model.get_submodule(info["module"]))
    pooled_ND, rows = whole_features(
        context.loader(context.recipe), context.backbone, range(len(context.store)), context.preprocess
    )
    return [*(torch.cat(parts).cpu().numpy() for parts in seen.values()), pooled_ND], rows


def joined(parts: list[Features]) -> Features:
    """Concatenate L2-normalised features."""
    found: Features = np.concatenate([normalize(part) for part in parts], axis=1)
    return found


def whitened(x_ND: Features) -> Features:
    """Whiten the first principal components, with a ridge against noise."""
    centred = x_ND - x_ND.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    variances = singular**2 / len(centred)
    first = slice(min(COMPONENTS, len(variances)))
    found: Features = (centred @ axes[first].T) / np.sqrt(variances[first] + RIDGE * variances.mean())
    return found


if __name__ == "__main__":
    main()
