"""PSNR of crop-and-resize implementations against PIL's bicubic resize, on random textures.

python benchmarks/crop.py
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from kornia.augmentation import RandomResizedCrop
from numpy.typing import NDArray
from PIL import Image

from dinocli.augment.resample import resample

CASES = ((720, 800, 224), (260, 300, 96), (230, 230, 224))


def texture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return fine noise over coarse noise, like a machined surface."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)).resize((width, height))
    mixed = 0.5 * np.asarray(coarse) + 0.5 * rng.integers(0, 256, (height, width, 3))
    return mixed.round().astype(np.uint8)


def psnr(view: torch.Tensor, wanted: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of a (1, 3, S, S) view in [0, 1] against an 8-bit image, dB."""
    error = view[0].permute(1, 2, 0).numpy() * 255 - wanted
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def torch_resize(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Resize with torch's antialiased bicubic, which has no boxes and needs one call per image."""
    return F.interpolate(pixels.float() / 255, (size, size), mode="bicubic", antialias=True).clamp(0, 1)


def ours(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Resize the whole canvas with dinocli's crop."""
    box = torch.tensor([[0, 0, *pixels.shape[2:]]])
    return resample(pixels, box, size, torch.zeros(1, 2, dtype=torch.bool))


def kornia_crop(pixels: torch.Tensor, size: int, mode: str) -> torch.Tensor:
    """Resize the whole image with Kornia's RandomResizedCrop."""
    whole = RandomResizedCrop((size, size), scale=(1.0, 1.0), ratio=(1.0, 1.0), resample=mode)
    height, width = pixels.shape[2:]
    corners = torch.tensor([[[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]]).float()
    params = whole.forward_parameters((1, 3, height, width))
    params["src"] = corners
    view: torch.Tensor = whole(pixels.float() / 255, params=params)
    return view.clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the textures (default: 0)")
    seed: int = parser.parse_args().seed
    ways: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
        "ours": ours,
        "kornia, bilinear": partial(kornia_crop, mode="bilinear"),
        "kornia, bicubic": partial(kornia_crop, mode="bicubic"),
        "torch, bicubic, antialias": torch_resize,
    }
    print(f"{'PSNR against PIL bicubic, dB':28}" + "".join(f"{f'{h}x{w} -> {s}':>16}" for h, w, s in CASES))
    for name, way in ways.items():
        row = []
        for height, width, size in CASES:
            picture = texture(height, width, seed)
            wanted = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))
            row.append(psnr(way(torch.from_numpy(picture.transpose(2, 0, 1).copy())[None], size), wanted))
        print(f"{name:28}" + "".join(f"{value:16.1f}" for value in row))


if __name__ == "__main__":
    main()
