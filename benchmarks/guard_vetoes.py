r"""Compare candidate vetoes for crop/quadrant retrieval on the checkpoints of `guard_study.py train`.

    python benchmarks/guard_vetoes.py measure ./images --name tiles --weights W --labels tiles.csv --groups tile \
        --out study
    python benchmarks/guard_vetoes.py table --out study

`measure` saves, for each checkpoint of a set, the accuracies (k-NN, 5-shot, linear; between groups, if there are) and
the features of a sample: whole images, crops, quadrants, quadrants with changed brightness, and copies with a synthetic
defect of each kind. It continues an interrupted run. `table` compares start and checkpoints by every candidate:
retrieval, retrieval without images of the same group, with changed brightness; the share of the features' variance that
six intensity statistics explain; accuracy of classifying the kinds of synthetic defects, and each kind against none.
Labels are used for the accuracies only.
"""

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from guard_study import BATCH, START, TRUTH, context_of
from numpy.typing import NDArray
from torch import Tensor

from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.resample import normalise, resize_square
from dinocli.augment.synthetic_defects import KINDS, draw_defects, with_defects
from dinocli.data.labels import read_labels
from dinocli.engine.build_views import probe_crop
from dinocli.models.features import extract
from dinocli.quality.bootstrap import paired_bootstrap
from dinocli.quality.cosine import unit_rows
from dinocli.quality.crop_quadrant_retrieval import crop_quadrant_retrieval
from dinocli.quality.defect_few_shot import SHOTS, defect_few_shot
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.label_scores import LabelSplit, label_scores
from dinocli.tasks.train.train_context import TrainContext

THUMBNAIL, SAME_PART_CORRELATION = 64, 0.9
"""Side of the thumbnails, pixels, and correlation from which two images count as the same part."""

Arrays = dict[str, NDArray[Any]]
Values = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "table"])
    parser.add_argument("images", nargs="?", default="", help="folder of the set")
    parser.add_argument("--name", default="set", help="of the set")
    parser.add_argument("--weights", default="vit_small_patch16_224.dino")
    parser.add_argument("--model", default="", help="timm name, needed with a bare state dict")
    parser.add_argument("--labels", default="folder", help="`folder`, a CSV, or `none`")
    parser.add_argument("--column", default="", help="of the CSV; the first one if empty")
    parser.add_argument("--groups", default="", help="a column of the CSV: images of one part")
    parser.add_argument("--recipe", nargs="*", default=["gentle", "plain"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--probed", type=int, default=150, help="number of images for the candidates (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("study"))
    args = parser.parse_args()
    if args.verb == "table":
        table(args.out)
    else:
        measure(args, args.out / args.name)


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Save features and accuracies of every checkpoint that has none yet."""
    waiting = [path for path in sorted(folder.glob("*.pt")) if not path.with_suffix(".veto.npz").is_file()]
    if not waiting:
        return
    context, _ = context_of(args)
    names = context.store.names
    columns = {"": [""] * len(names)} if args.labels == "none" else read_labels(args.labels, names)
    groups = np.array(columns[args.groups]) if args.groups else np.array(names)
    labels = np.array(columns[args.column or next(iter(columns))])
    known = np.flatnonzero(labels != "")
    truth = LabelSplit("labels", known, labels[known], groups[known] if args.groups else None, None)
    probed = np.sort(np.random.default_rng(1).permutation(len(names))[: args.probed])
    looks = looks_of(context, probed)
    np.savez_compressed(folder / "set.npz", thumbnails=thumbnails(context, probed), groups=groups[probed])
    for path in waiting:
        backbone = copy.deepcopy(context.backbone)
        backbone.load_state_dict(torch.load(path, weights_only=True))
        backbone.freeze_batch_norm()
        arrays: dict[str, Any] = {name: extract(backbone, views(), autocast=None) for name, views in looks.items()}
        if len(known):
            features_ND = extract(backbone, whole(context, known), autocast=None)
            arrays |= {score.key: score.value for score in label_scores(features_ND, truth) if score.key in TRUTH}
        np.savez(path.with_suffix(".veto.npz"), **arrays)
        print(args.name, path.stem, flush=True)


def squares(context: TrainContext, rows: Sequence[int] | NDArray[np.intp]) -> Iterator[Tensor]:
    """Yield images in [0, 1], resized to the evaluation square."""
    for batch in context.loader(context.recipe).batches(list(map(int, rows)), BATCH):
        yield resize_square(batch.pixels_BCHW, batch.sizes_B2, context.preprocess.size)


def whole(context: TrainContext, rows: Sequence[int] | NDArray[np.intp]) -> Iterator[Tensor]:
    for images_BCSS in squares(context, rows):
        yield normalise(images_BCSS, context.preprocess.mean, context.preprocess.std)


def thumbnails(context: TrainContext, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return grey thumbnails in [0, 1]."""
    size = (THUMBNAIL, THUMBNAIL)
    parts = [F.interpolate(square.mean(1, keepdim=True), size, mode="area") for square in squares(context, rows)]
    return torch.cat(parts)[:, 0].numpy()


def looks_of(context: TrainContext, rows: NDArray[np.intp]) -> dict[str, Callable[[], Iterator[Tensor]]]:
    """Return batches of the sample by name: whole, crops, quadrants, defects."""
    about, count = context.preprocess, len(rows)
    _, drawn = draw_defects(count, 0)

    def crops() -> Iterator[Tensor]:
        views: MultiCrop = probe_crop(context.recipe, about)
        for batch in context.loader(context.recipe).batches(rows.tolist(), BATCH):
            where = {"step": 0, "start": batch.start, "global_batch": count}
            yield views(batch.pixels_BCHW, batch.sizes_B2, **where)[0]

    def quarters(*, lit: bool) -> Iterator[Tensor]:
        random, half = np.random.default_rng(3), about.size // 2
        for images_BCSS in squares(context, rows):
            corners = [images_BCSS[:, :, a : a + half, b : b + half] for a in (0, half) for b in (0, half)]
            quarters_MCss = torch.stack(corners, 1).flatten(0, 1)
            yield normalise(relit(quarters_MCss, random) if lit else quarters_MCss, about.mean, about.std)

    def defective(kind: int) -> Iterator[Tensor]:
        start = 0
        for images_BCSS in squares(context, rows):
            stop = start + len(images_BCSS)
            kinds_B = torch.full((len(images_BCSS),), kind)
            yield normalise(with_defects(images_BCSS, kinds_B, drawn[start:stop]), about.mean, about.std)
            start = stop

    return {
        "clean": lambda: whole(context, rows),
        "crop": crops,
        "quarters": lambda: quarters(lit=False),
        "lit": lambda: quarters(lit=True),
        **{name: lambda kind=kind: defective(kind) for kind, name in enumerate(KINDS)},  # type: ignore[misc]
    }


def relit(images_BCSS: Tensor, random: np.random.Generator) -> Tensor:
    """Change gain, gamma and offset of each image."""
    drawn = torch.from_numpy(random.uniform(-1, 1, (3, len(images_BCSS), 1, 1, 1)).astype(np.float32))
    gain, gamma, offset = 1.4 ** drawn[0], 1.4 ** drawn[1], 0.1 * drawn[2]
    return (gain * images_BCSS.clamp(0, 1) ** gamma + offset).clamp(0, 1)


def retrieval(arrays: Arrays, groups_N: NDArray[Any], quarters: str = "quarters") -> Values:
    """Return crop/quadrant retrieval of each image, without other images of its group in the gallery."""
    parts = arrays[quarters].reshape(-1, 4, arrays[quarters].shape[1]).swapaxes(0, 1)
    if len(np.unique(groups_N)) == len(groups_N):
        return crop_quadrant_retrieval(arrays["clean"], arrays["crop"], parts)
    pairs = ((arrays["crop"], arrays["clean"]), (parts[0], parts[3]), (parts[1], parts[2]))
    crop, *others = [np.log(reciprocal_rank(one, other, groups_N)) for one, other in pairs]
    return np.asarray(crop + np.mean(others, axis=0))


def reciprocal_rank(queries_ND: NDArray[Any], rows_ND: NDArray[Any], groups_N: NDArray[Any]) -> Values:
    cosine_NN = unit_rows(queries_ND) @ unit_rows(rows_ND).T
    rivals_NN = groups_N[:, None] != groups_N
    return np.asarray(1 / (1 + ((cosine_NN > np.diag(cosine_NN)[:, None]) & rivals_NN).sum(axis=1)))


def group_by_thumbnail(thumbnails_NSS: NDArray[np.float32]) -> NDArray[np.intp]:
    """Group images of the same part without labels, by the correlation of their thumbnails."""
    rows = thumbnails_NSS.reshape(len(thumbnails_NSS), -1)
    rows = (rows - rows.mean(axis=1, keepdims=True)) / (rows.std(axis=1, keepdims=True) + 1e-6)
    groups = np.arange(len(rows))
    for one, other in np.argwhere(np.triu(rows @ rows.T / rows.shape[1] > SAME_PART_CORRELATION, 1)):
        groups[groups == groups[other]] = groups[one]
    return groups


def intensity_r2(features_ND: NDArray[Any], thumbnails_NSS: NDArray[np.float32]) -> float:
    """Return the adjusted R2 of a regression of the L2-normalised features on six intensity statistics."""
    pixels = thumbnails_NSS.reshape(len(thumbnails_NSS), -1).astype(np.float64)
    mean, spread = pixels.mean(axis=1), pixels.std(axis=1) + 1e-6
    z = (pixels - mean[:, None]) / spread[:, None]
    low, high = np.percentile(pixels, [5, 95], axis=1)
    known = np.stack([mean, spread, (z**3).mean(axis=1), (z**4).mean(axis=1), low, high], axis=1)
    axes, _ = np.linalg.qr(known - known.mean(axis=0))
    units = unit_rows(features_ND)
    units = units - units.mean(axis=0)
    share = np.square(axes.T @ units).sum() / np.square(units).sum()
    return float(1 - (1 - share) * (len(units) - 1) / (len(units) - known.shape[1] - 1))


def defect_kind_accuracy(arrays: Arrays, groups_N: NDArray[Any]) -> Values:
    """Return 5-shot accuracy of classifying the four kinds of defects; no group is on both sides."""
    features = np.concatenate([arrays[kind] for kind in KINDS])
    kinds, groups = np.repeat(np.arange(len(KINDS)), len(groups_N)), np.tile(groups_N, len(KINDS))
    return np.asarray(few_shot(features, kinds, SHOTS, draws=50, groups_N=groups).reshape(len(KINDS), -1).mean(axis=0))


def defect_accuracy(arrays: Arrays, kinds: Sequence[str] = KINDS) -> Values:
    """Return 5-shot accuracy of each kind of defect against none; each image gets each kind, as in the verdict."""
    every = [(kind, np.full(len(arrays["clean"]), KINDS.index(kind))) for kind in kinds]
    return np.asarray(
        np.mean([defect_few_shot(arrays["clean"], arrays[kind], kind_N) for kind, kind_N in every], axis=0)
    )


def one_defect_accuracy(arrays: Arrays) -> Values:
    """Return 5-shot accuracy of each kind of defect against none; each image gets one kind, as in the guard."""
    kind_N = draw_defects(len(arrays["clean"]), 0)[0].numpy()
    flawed_ND = np.stack([arrays[kind] for kind in KINDS])[kind_N, np.arange(len(kind_N))]
    return defect_few_shot(arrays["clean"], flawed_ND, kind_N)


def table(out: Path) -> None:
    """Print the difference between each checkpoint and the start by each candidate, with its 95 % interval."""
    for folder in sorted(path.parent for path in out.glob(f"*/{START}@0.veto.npz")):
        about = dict(np.load(folder / "set.npz"))
        groups, alone, found = about["groups"], np.arange(len(about["groups"])), group_by_thumbnail(about["thumbnails"])
        candidates: dict[str, Callable[[Arrays], Values]] = {
            "retrieval": lambda arrays, own=alone: retrieval(arrays, own),  # type: ignore[misc]
            "no siblings": lambda arrays, own=groups: retrieval(arrays, own),  # type: ignore[misc]
            "none found": lambda arrays, own=found: retrieval(arrays, own),  # type: ignore[misc]
            "relit": lambda arrays, own=alone: retrieval(arrays, own, "lit"),  # type: ignore[misc]
            "told apart": lambda arrays, own=groups: defect_kind_accuracy(arrays, own),  # type: ignore[misc]
            "noticed": defect_accuracy,
            "noticed, one kind": one_defect_accuracy,
            **{f"noticed, {kind}": lambda arrays, one=kind: defect_accuracy(arrays, [one]) for kind in KINDS},  # type: ignore[misc]
        }
        start = dict(np.load(folder / f"{START}@0.veto.npz"))
        for path in sorted(folder.glob("*.veto.npz")):
            arrays = dict(np.load(path))
            truth = [f"{word} {arrays[key] - start[key]:+.3f}" for key, word in TRUTH.items() if key in arrays]
            print(
                folder.name,
                path.name.split(".veto")[0],
                *truth,
                f"R2 {intensity_r2(arrays['clean'], about['thumbnails']):.3f}",
            )
            for name, score in candidates.items():
                if name != "relit" or "lit" in arrays:
                    before, after = score(start), score(arrays)
                    both = np.isfinite(before) & np.isfinite(after)
                    print(f"    {name:18} {np.nanmean(after):.3f} {paired_bootstrap(before[both], after[both])}")


if __name__ == "__main__":
    main()
