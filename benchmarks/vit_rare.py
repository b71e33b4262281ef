r"""Do rare patches help a ViT, and from which of its blocks? Pooled features beside rare ones, block by block.

    python benchmarks/vit_weights.py ...                     # makes the weights, if there are none
    python benchmarks/vit_rare.py --weights CACHE/start --set steel ./steel --set x-rays ./x-rays --out vit_rare.jsonl

A set is a folder with one folder per class. Every image is computed once; the class token of each later block, and
`pooled+rare` fitted to patches of several pairs of blocks (fine, coarse), are then compared by k-NN accuracy and macro
F1 (k = 20, leave-one-out) and 5-shot accuracy (nearest class mean, 20 draws). `embed --tokens pooled+rare` takes the
middle block and the last one. What is in the output is not measured again.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import dinocli
from dinocli.engine.rare_features import RareFit
from dinocli.engine.square_resize import squares
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.knn import accuracy, knn_votes, macro_f1

BATCH = 25


@dataclass(frozen=True)
class Blocks:
    """What the later blocks of a ViT say of all images of a set, each after the final norm.

    Args:
        paths: Images.
        pooled_ND: Pooled features.
        cls: Class token of each block by its number from 0, (N, D).
        maps: Patches of each block, (N, D, h, w).
    """

    paths: list[Path]
    pooled_ND: Tensor
    cls: dict[int, Tensor]
    maps: dict[int, Tensor]

    @property
    def last(self) -> int:
        return max(self.maps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--set", nargs=2, action="append", required=True, metavar=("NAME", "IMAGES"))
    parser.add_argument("--size", type=int, default=126, help="image size in pixels (default: 126)")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines, one line per set and kind of feature")
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for name, images in options.set:
        if any((row["set"], row["weights"]) == (name, options.weights) for row in done):
            continue
        blocks = compute(options.weights, Path(images), options.size)
        labels_N = np.array([path.parent.name for path in blocks.paths])
        for way, features_ND, more in ways(blocks):
            row = {"set": name, "weights": options.weights, "images": len(labels_N), "size": options.size, "way": way}
            row |= scores(features_ND.numpy().astype(np.float32), labels_N) | more
            print(json.dumps(row), flush=True)
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")


@torch.inference_mode()
def compute(weights: str, folder: Path, size: int) -> Blocks:
    """Run the network over all images of a folder."""
    model = dinocli.load(weights)
    model = replace(model, preprocess=replace(model.preprocess, size=size))
    backbone, paths = model.backbone, sorted(path for path in folder.glob("*/*") if path.is_file())
    first, pooled = backbone.depth // 2 - 1, []
    cls: dict[int, list[Tensor]] = {}
    maps: dict[int, list[Tensor]] = {}
    for begin in range(0, len(paths), BATCH):
        canvases = [model._canvas(place, str(path)) for place, path in enumerate(paths[begin : begin + BATCH])]
        x_BCHW = squares(canvases, model.preprocess, model.device)
        found = backbone.last_features(x_BCHW, backbone.depth - first)
        for number, tokens in enumerate(found, start=first):
            cls.setdefault(number, []).append(tokens[:, 0])
            maps.setdefault(number, []).append(backbone.grid(tokens, x_BCHW))
        pooled.append(backbone.pool(found[-1]))
    joined = [{number: torch.cat(parts) for number, parts in kind.items()} for kind in (cls, maps)]
    return Blocks(paths, torch.cat(pooled), *joined)


def ways(blocks: Blocks) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
    """Yield name, features and further facts of every kind of feature."""
    yield "pooled", blocks.pooled_ND, {}
    for number in blocks.cls:
        yield f"class token of block {number}", blocks.cls[number], {}
    last, middle = blocks.last, min(blocks.maps)
    for fine, coarse in ((middle, last), (last - 3, last), (middle, last - 3), (middle, last - 2)):
        pooled_ND = blocks.pooled_ND if coarse == last else blocks.cls[coarse]
        fit, names = RareFit("pooled+rare"), [str(path) for path in blocks.paths]
        for begin in range(0, len(names), BATCH):
            part = slice(begin, begin + BATCH)
            maps = {"fine": blocks.maps[fine][part], "coarse": blocks.maps[coarse][part]}
            fit.add(pooled_ND[part], maps, names[part])
        features, rows_NP = fit.finish()
        way, facts, whitened = f"pooled+rare of blocks {fine} and {coarse}", {"share": features.share}, rows_NP[:, :-2]
        yield way, torch.from_numpy(rows_NP), facts
        yield f"{way}, without scores", F.normalize(torch.from_numpy(whitened), dim=1), facts


def scores(features_ND: Any, labels_N: Any) -> dict[str, float]:
    """Measure features with labels."""
    predicted_N = knn_votes(features_ND, labels_N).predicted_Q
    return {
        "knn": round(accuracy(labels_N, predicted_N), 3),
        "f1": round(macro_f1(labels_N, predicted_N), 3),
        "few_shot_5": round(float(np.nanmean(few_shot(features_ND, labels_N, 5))), 3),
    }


if __name__ == "__main__":
    main()
