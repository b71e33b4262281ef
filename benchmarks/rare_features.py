r"""Compare ways to pool and whiten rare patches: cache feature maps once, then measure each way with labels.

    python benchmarks/rare_features.py cache --set cells ./cells labels.csv --set steel ./steel folder \
        --weights W --model tf_efficientnet_lite0 --work DIR
    python benchmarks/rare_features.py study --work DIR
    python benchmarks/rare_features.py table --work DIR

`cache` computes, for each set, the pooled feature (and that of the four quarters) and both patch maps of every image,
and keeps them under `--work`; what is there is not computed again. `study` measures each way on each set that is
cached, one line in `DIR/study.jsonl` each, and goes on where it was interrupted. Labels are read for the scores alone:
k-NN accuracy and macro F1 (k = 20, leave one out), 5-shot and 20-shot (nearest class mean, 20 draws). `table` prints
them. To compare start and adapted weights, `cache` a set under one name for each.

The sets of the published table are made by `sets.py`.
"""

import argparse
import functools
import json
import math
import time
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dinocli.data.labels import read_labels
from dinocli.engine.rare_features import SAMPLE, RareFeatures, RareFit
from dinocli.engine.rare_parts import SCORE_WEIGHT
from dinocli.engine.square_resize import squares
from dinocli.models.rarity_maps import MAPS, rarity_maps
from dinocli.progress import ProgressReporter
from dinocli.quality.cosine import mean_cosine
from dinocli.quality.energy_whitening import EnergyWhitening
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.knn import accuracy, knn_votes, macro_f1
from dinocli.quality.rarity import BANK_SIZE, ORDER, TEMPERATURE, BankBuilder
from dinocli.quality.whitening import FLOOR, MEAN_WEIGHT
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import prepare
from dinocli.tasks.embed.forward_pass import count_rows

BATCH, SHOTS = 32, (5, 20)
SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.96, 0.999)
SCORES = ("knn", "f1", "5-shot", "20-shot")
Maps = dict[str, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["cache", "study", "table"])
    parser.add_argument("--set", nargs=3, action="append", default=[], metavar=("NAME", "IMAGES", "LABELS"))
    parser.add_argument("--weights", default="")
    parser.add_argument("--model", default="", help="timm name, needed with a bare state dict")
    parser.add_argument(
        "--size", type=int, default=0, help="side of the images, pixels; that of the weights by default"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the cached maps and the results")
    parser.add_argument("--only", nargs="*", default=[], help="ways to measure, all by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.verb == "cache":
        for name, images, labels in args.set:
            cache(args, name, images, labels)
    elif args.verb == "study":
        study(args.work, args.only)
    if args.verb != "cache":
        table(args.work)


@torch.inference_mode()
def cache(args: argparse.Namespace, name: str, images: str, labels: str) -> None:
    """Cache the maps of one set, unless they exist."""
    folder = args.work / name
    if (folder / "set.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    options = EmbedOptions(
        (images,),
        out=str(folder / "unused.npy"),
        tokens="pooled",
        weights=args.weights,
        model=args.model,
        size=args.size,
        device="cpu",
        precision="fp32",
    )
    context = prepare(options, ProgressReporter(), None)
    parts: dict[str, list[NDArray[Any]]] = {}
    begin = time.monotonic()
    for number, batch in enumerate(count_rows(context).batches(0, BATCH)):
        canvases = [piece.canvas for piece in batch if isinstance(piece.canvas, np.ndarray)]
        x_B3HW = squares(canvases, context.preprocess, context.device)
        pooled_BD, maps = rarity_maps(context.backbone, x_B3HW)
        last_BDhw = context.backbone.patch_tokens(x_B3HW)
        found = {"pooled": pooled_BD, "quarters": torch.stack([q.mean((2, 3)) for q in quarters(last_BDhw)], 1), **maps}
        for key, value in found.items():
            parts.setdefault(key, []).append(value.numpy().astype(np.float16 if key in MAPS else np.float32))
        print(name, (number + 1) * BATCH, f"{time.monotonic() - begin:.0f} s", flush=True)
    for key, blocks in parts.items():
        np.save(folder / f"{key}.npy", np.concatenate(blocks))
    change = context.info.similarity_change
    about = {"names": context.images.names, "images": images, "labels": labels, "similarity_change": change}
    (folder / "set.json").write_text(json.dumps(about))


def quarters(maps_BDhw: Tensor) -> list[Tensor]:
    """Return four overlapping or adjacent quadrants of maps."""
    rows, columns = ((side + 1) // 2 for side in maps_BDhw.shape[2:])
    tops = (slice(None, rows), slice(-rows, None))
    lefts = (slice(None, columns), slice(-columns, None))
    return [maps_BDhw[:, :, top, left] for top in tops for left in lefts]


class Set:
    """The cached maps of one set, and the features that dinocli fits to them."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "set.json").read_text())
        self.labels = np.array(next(iter(read_labels(about["labels"], about["names"]).values())))
        self.folder, self.names, self.change = folder, about["names"], about.get("similarity_change", 0.0)
        self.pooled = torch.from_numpy(np.load(folder / "pooled.npy"))
        self.maps = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in MAPS}
        self.sample = np.random.default_rng(0).permutation(len(self.names))[:SAMPLE]

    def blocks(self, rows: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], Maps]]:
        """Yield batches of maps in float32."""
        parts = np.array_split(rows, math.ceil(len(rows) / BATCH))
        return [(part, {n: torch.from_numpy(self.maps[n][part]).float() for n in MAPS}) for part in parts]

    @functools.cache  # noqa: B019 (a process measures few sets)
    def product(self, kind: str) -> tuple[RareFeatures, Tensor]:
        """Fit the features of `embed --tokens` to the sample, and compute those of every image."""
        fit = RareFit(kind, self.change)
        for rows, maps in self.blocks(self.sample):
            fit.add(self.pooled[rows], maps, [self.names[row] for row in rows])
        features = fit.finish()[0]
        print(f"{self.folder.name}: {kind}, share {features.share:.3f}", flush=True)
        numbers = features.numbers(self.names)
        blocks = self.blocks(np.arange(len(self.names)))
        found = [features.of_maps(self.pooled[rows], maps, numbers[rows]) for rows, maps in blocks]
        return features, torch.cat(found)

    def of_share(self, share: float) -> Tensor:
        """Compute `pooled+rare` with another share of the rare part."""
        pooled_ND, rare_NP = F.normalize(self.pooled, dim=1), self.parts(TEMPERATURE)[0]
        return self.whitened(torch.cat([math.sqrt(1 - share) * pooled_ND, math.sqrt(share) * rare_NP], 1))

    def of_sharpness(self, sharpness: float, centre: float = 0.5) -> Tensor:
        """Compute `pooled+rare` with the share c^s / (c^s + (1 - c)^s), and c = 0.5 moved to `centre`."""
        similarity = mean_cosine(self.pooled[self.sample].numpy()) - self.change
        ratio = similarity / (1 - similarity) * (1 - centre) / centre
        return self.of_share(min(0.999, 1 / (1 + ratio**-sharpness)))

    def varied(self, order: int = ORDER, *, smooth: bool = False) -> Tensor:
        """Compute `pooled+rare` with the distance to another neighbour, or with rarity averaged over 3 x 3 patches."""
        share = self.product("pooled+rare")[0].share
        pooled_ND, rare_NP = F.normalize(self.pooled, dim=1), self.parts(TEMPERATURE, order=order, smooth=smooth)[0]
        return self.whitened(torch.cat([math.sqrt(1 - share) * pooled_ND, math.sqrt(share) * rare_NP], 1))

    @functools.cache  # noqa: B019
    def parts(
        self, temperature: float, *, split: bool = False, order: int = ORDER, smooth: bool = False
    ) -> list[Tensor]:
        """Return both rarity-weighted means, L2-normalised and concatenated, of each image or its four quadrants."""
        builders = {name: BankBuilder() for name in MAPS}
        for rows, maps in self.blocks(self.sample):
            for name, builder in builders.items():
                builder.add(maps[name], torch.from_numpy(rows))
        banks = {name: builder.finish() for name, builder in builders.items()}
        found: list[list[Tensor]] = []
        for rows, maps in self.blocks(np.arange(len(self.names))):
            pieces: list[list[Tensor]] = []
            for name in MAPS:
                rarity_Bhw = banks[name].rarity(maps[name], torch.from_numpy(rows), order)
                if smooth:
                    rarity_Bhw = F.avg_pool2d(rarity_Bhw[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
                whole = torch.cat([maps[name], rarity_Bhw[:, None]], 1)
                for place, piece in enumerate(quarters(whole) if split else [whole]):
                    weight = banks[name].weights(piece[:, -1], temperature)
                    mean_BD = torch.einsum("bdhw,bhw->bd", piece[:, :-1], weight)
                    pieces += [[]] if len(pieces) <= place else []
                    pieces[place].append(F.normalize(mean_BD, dim=1) / math.sqrt(len(MAPS)))
            found.append([torch.cat(piece, 1) for piece in pieces])
        return [torch.cat(column) for column in zip(*found, strict=True)]

    def near(self, radius: int) -> Tensor:
        """Compute `pooled+rare` with rarity among patches of the same place, within `radius` cells of the grid."""
        bank_images = np.random.default_rng(1).permutation(self.sample)[: BANK_SIZE // (2 * radius + 1) ** 2]
        features, _ = self.product("pooled+rare")
        parts = [F.normalize(self.pooled, dim=1) * math.sqrt(1 - features.share)]
        for name in MAPS:
            blocks = [(rows, maps[name]) for rows, maps in self.blocks(np.arange(len(self.names)))]
            height, width = blocks[0][1].shape[2:]
            bank = features.banks[name]
            units_NhwD = torch.cat([bank.units(m).view(len(m), height, width, -1) for _, m in blocks])
            places = [(row, column) for row in range(height) for column in range(width)]
            rarity_NP = [_rarity_at(units_NhwD, torch.from_numpy(bank_images), *place, radius) for place in places]
            rarity_Nhw = torch.stack(rarity_NP, 1).view(-1, height, width)
            weight_Nhw = (rarity_Nhw.flatten(1) / (TEMPERATURE * rarity_Nhw[self.sample].std())).softmax(1)
            means = [torch.einsum("bdn,bn->bd", maps.flatten(2), weight_Nhw[rows]) for rows, maps in blocks]
            parts.append(F.normalize(torch.cat(means), dim=1) * math.sqrt(features.share / len(MAPS)))
        return self.whitened(torch.cat(parts, 1))

    def joined(self, kind: str) -> Tensor:
        """Compute the features of `embed --tokens` before whitening."""
        features, rows_ND = self.product(kind)
        return features.whitening.undo(rows_ND[:, : features.whitening.axes_SP.shape[1]])

    def of_score_weight(self, weight: float) -> Tensor:
        """Compute `pooled+rare` with another weight of the anomaly scores; 0 leaves them out."""
        features, rows_ND = self.product("pooled+rare")
        width = features.whitening.axes_SP.shape[1]
        scores_NF = rows_ND[:, width:] / rows_ND[:, :width].norm(dim=1, keepdim=True)
        scaled_NF = weight / SCORE_WEIGHT * scores_NF
        return F.normalize(torch.cat([F.normalize(rows_ND[:, :width], dim=1), scaled_NF], dim=1), dim=1)

    def whitened(self, joined_ND: Tensor, floor: float = FLOOR, mean_weight: float = MEAN_WEIGHT) -> Tensor:
        """Whiten by the energy of the sample, as dinocli does, or with another floor and weight of the mean."""
        return EnergyWhitening.fit(joined_ND[self.sample], floor, mean_weight).whiten(joined_ND)

    def whitened_by_all(self, joined_ND: Tensor) -> Tensor:
        """Whiten by the whole mean too, with a floor of 0.03 of all energy: the first default."""
        variance = joined_ND[self.sample].double().var(0, correction=0).sum()
        return self.whitened(joined_ND, float(0.03 / variance), 1)

    def within(self, temperature: float) -> Tensor:
        """Whiten by the energy of the mean and the within-image covariance of quadrants."""
        split_NQD = torch.stack(self.parts(temperature, split=True), 1)
        apart = (split_NQD - split_NQD.mean(1, keepdim=True)).flatten(0, 1).double()
        (joined_ND,) = self.parts(temperature)
        mean_D = joined_ND.double().mean(0)
        energy_D, axes_DD = torch.linalg.eigh(torch.outer(mean_D, mean_D) + apart.T @ apart / len(apart))
        axes_DD = axes_DD / (energy_D.clamp_min(0) + 0.01).sqrt()
        return F.normalize(joined_ND @ axes_DD.float(), dim=1)

    def means(self) -> Tensor:
        """Average both maps, without rarity."""
        blocks = self.blocks(np.arange(len(self.names)))
        means = [[F.normalize(maps[name].mean((2, 3)), dim=1) for name in MAPS] for _, maps in blocks]
        return torch.cat([torch.cat(pair, 1) / math.sqrt(len(MAPS)) for pair in means])


def _rarity_at(units_NhwD: Tensor, bank_images: Tensor, row: int, column: int, radius: int) -> Tensor:
    """Return the rarity of the patch at one place of every image, among patches near that place, (N,)."""
    near = [slice(max(0, place - radius), place + radius + 1) for place in (row, column)]
    bank_IPD = units_NhwD[bank_images][:, near[0], near[1]].flatten(1, 2)
    cosine_NM = units_NhwD[:, row, column] @ bank_IPD.flatten(0, 1).T
    own_NI = torch.arange(len(units_NhwD))[:, None] == bank_images
    cosine_NM[own_NI.repeat_interleave(bank_IPD.shape[1], 1)] = -torch.inf
    return 1 - cosine_NM.topk(ORDER).values[:, -1]


WAYS: dict[str, Callable[[Set], Tensor]] = {
    "pooled": lambda found: found.pooled,
    "pooled, whitened": lambda found: found.whitened(F.normalize(found.pooled, dim=1)),
    "mean of both maps, whitened": lambda found: found.whitened(found.means()),
    "rare": lambda found: found.product("rare")[1],
    "pooled+rare": lambda found: found.product("pooled+rare")[1],
    "pooled+rare, whitened by all energy": lambda found: found.whitened_by_all(found.joined("pooled+rare")),
    **{f"pooled+rare, score weight {weight:g}": methodcaller("of_score_weight", weight) for weight in (0, 1, 2, 3, 4)},
    "pooled+rare, third of the mean": lambda found: found.whitened(found.joined("pooled+rare"), FLOOR, 1 / 3),
    "pooled+rare, whole mean": lambda found: found.whitened(found.joined("pooled+rare"), FLOOR, 1),
    "pooled+rare, floor 0.04": lambda found: found.whitened(found.joined("pooled+rare"), 0.04),
    "pooled+rare, floor 0.08": lambda found: found.whitened(found.joined("pooled+rare"), 0.08),
    **{f"pooled+rare, neighbour {k}": methodcaller("varied", k) for k in (1, 2, 5, 9)},
    "pooled+rare, smoothed": methodcaller("varied", smooth=True),
    "pooled+rare, bank of the same place, 1 cell": lambda found: found.near(1),
    "pooled+rare, bank of the same place, 2 cells": lambda found: found.near(2),
    **{
        f"pooled+rare, share {share}": methodcaller("of_share", share)
        for share in (0.3, 0.5, 0.7, 0.8, 0.9, 0.96, 0.999)
    },
    **{
        f"pooled+rare, sharpness {s}, centre {c}": methodcaller("of_sharpness", s, c)
        for s in (3, 4, 6, 9)
        for c in (0.5, 0.45)
    },
    "rare, not whitened": lambda found: found.parts(0.7)[0],
    "rare, temperature 0.5": lambda found: found.whitened(found.parts(0.5)[0]),
    "rare, temperature 1": lambda found: found.whitened(found.parts(1.0)[0]),
    "rare, whitened within images": lambda found: found.within(0.7),
}


def study(work: Path, only: list[str]) -> None:
    """Measure every way on every set, except for existing results."""
    done = {(row["set"], row["way"]) for row in read(work)}
    for folder in sorted(path.parent for path in work.glob("*/set.json")):
        found = Set(folder)
        for way in only or WAYS:
            if (folder.name, way) in done:
                continue
            features_ND = WAYS[way](found).numpy()
            predicted_N = knn_votes(features_ND, found.labels).predicted_Q
            shots = [float(np.nanmean(few_shot(features_ND, found.labels, count))) for count in SHOTS]
            scores = (accuracy(found.labels, predicted_N), macro_f1(found.labels, predicted_N), *shots)
            row = {"set": folder.name, "way": way, **dict(zip(SCORES, scores, strict=True))}
            with (work / "study.jsonl").open("a") as file:
                file.write(json.dumps(row | {"images": len(found.names), "width": features_ND.shape[1]}) + "\n")


def read(work: Path) -> list[dict[str, Any]]:
    path = work / "study.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(work: Path) -> None:
    """Print k-NN / macro F1 / 5-shot / 20-shot, with a row per way and a column per set."""
    rows = {(row["way"], row["set"]): row for row in read(work)}
    sets = sorted({name for _, name in rows})
    print("| way | " + " | ".join(sets) + " |\n|---" * 1 + "|---" * (len(sets)) + "|")
    for way in [way for way in WAYS if any((way, name) in rows for name in sets)]:
        cells = [rows.get((way, name)) for name in sets]
        shown = (" / ".join(f"{cell[key]:.3f}" for key in SCORES if key in cell) if cell else "" for cell in cells)
        print(f"| {way} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
