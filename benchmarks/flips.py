"""Does it help to average features over flips (test-time augmentation)? `pooled` and `pooled+rare`, with labels.

    python benchmarks/flips.py --set cells ./cells labels.csv --set steel ./steel folder --weights W --model NAME

One line of JSON for each set and way, with the scores of `rare_features.py`: k-NN accuracy, macro F1, 5-shot, 20-shot.
*two*: the image and its mirror image; *four*: also both upside down. Banks are fitted to the images as they are, the
whitening to the averages. Each image costs a forward pass for each orientation.
"""

import argparse
import json
import math

import numpy as np
import torch
import torch.nn.functional as F
from rare_features import BATCH, SCORES, SHOTS, Maps
from torch import Tensor

from dinocli.data.labels import read_labels
from dinocli.engine.rare_features import SAMPLE, RareFit
from dinocli.engine.rare_parts import joined_parts
from dinocli.engine.square_resize import squares
from dinocli.models.rarity_maps import MAPS, rarity_maps
from dinocli.progress import ProgressReporter
from dinocli.quality.energy_whitening import EnergyWhitening
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.knn import accuracy, knn_votes, macro_f1
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import prepare
from dinocli.tasks.embed.forward_pass import count_rows

FLIPS = ((), (3,), (2,), (2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=3, action="append", default=[], metavar=("NAME", "IMAGES", "LABELS"))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", default="", help="timm name, needed with a bare state dict")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, images, labels in args.set:
        names, ways = features(images, args.weights, args.model)
        truth = np.array(next(iter(read_labels(labels, names).values())))
        for way, rows in ways.items():
            rows_ND = rows.numpy()
            predicted_N = knn_votes(rows_ND, truth).predicted_Q
            shots = [float(np.nanmean(few_shot(rows_ND, truth, count))) for count in SHOTS]
            scores = (float(accuracy(truth, predicted_N)), float(macro_f1(truth, predicted_N)), *shots)
            print(json.dumps({"set": name, "way": way, **dict(zip(SCORES, scores, strict=True))}), flush=True)


@torch.inference_mode()
def features(images: str, weights: str, model: str) -> tuple[list[str], dict[str, Tensor]]:
    """Return the names of the images, and their features by way."""
    options = EmbedOptions(
        (images,), out="unused.npy", tokens="pooled", weights=weights, model=model, device="cpu", precision="fp32"
    )
    context = prepare(options, ProgressReporter(), None)
    pooled: list[list[Tensor]] = [[] for _ in FLIPS]
    maps: list[list[Maps]] = [[] for _ in FLIPS]
    for batch in count_rows(context).batches(0, BATCH):
        canvases = [piece.canvas for piece in batch if isinstance(piece.canvas, np.ndarray)]
        x_B3HW = squares(canvases, context.preprocess, context.device)
        for number, axes in enumerate(FLIPS):
            pooled_BD, maps_of = rarity_maps(context.backbone, x_B3HW.flip(axes))
            pooled[number].append(pooled_BD)
            maps[number].append({name: map_BDhw.half() for name, map_BDhw in maps_of.items()})
    names = context.images.names
    pooled_FND = [torch.cat(parts) for parts in pooled]
    map_of = [{name: torch.cat([part[name] for part in parts]) for name in MAPS} for parts in maps]
    sample = np.random.default_rng(0).permutation(len(names))[:SAMPLE]

    def some(number: int, rows: Tensor) -> tuple[Tensor, Maps]:
        return pooled_FND[number][rows], {name: map_of[number][name][rows].float() for name in MAPS}

    fit = RareFit("pooled+rare")
    for rows in np.array_split(sample, math.ceil(len(sample) / BATCH)):
        fit.add(*some(0, torch.from_numpy(rows)), [names[row] for row in rows])
    fitted = fit.finish()[0]
    image_N, count = fitted.numbers(names), len(names)
    every = [torch.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    joined_FNP = [
        torch.cat([joined_parts(fitted.banks, fitted.share, *some(number, rows), image_N[rows])[0] for rows in every])
        for number in range(len(FLIPS))
    ]

    def whitened(rows_NP: Tensor) -> Tensor:
        return EnergyWhitening.fit(rows_NP[sample]).whiten(rows_NP)

    ways = {}
    for way, number in (("one", 1), ("two", 2), ("four", 4)):
        ways[f"pooled, {way}"] = torch.stack([F.normalize(rows, dim=1) for rows in pooled_FND[:number]]).mean(0)
        ways[f"pooled+rare, {way}"] = whitened(torch.stack(joined_FNP[:number]).mean(0))
    return names, ways


if __name__ == "__main__":
    main()
