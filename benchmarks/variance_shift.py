"""Print how far image sets are from those that a network was trained on, by the variances in its batch norms.

    python benchmarks/variance_shift.py ./flowers ./steel --weights W --model tf_efficientnet_lite0

For each folder 128 images, drawn at random, as `finetune-ssl` reads them (`dinocli.models.variance_shift`).
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dinocli.engine.square_resize import squares
from dinocli.engine.start_shift import SHIFT_IMAGES
from dinocli.models.variance_shift import variance_shift
from dinocli.progress import ProgressReporter
from dinocli.quality.near_start import NEAR_SHIFT
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import prepare
from dinocli.tasks.embed.forward_pass import count_rows

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", default="", help="timm name, needed with a bare state dict")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for folder in args.images:
        shift = shift_of(folder, args.weights, args.model)
        print(f"{folder}: {shift:.3f}{' (near)' if shift < NEAR_SHIFT else ''}", flush=True)


@torch.inference_mode()
def shift_of(folder: str, weights: str, model: str) -> float:
    options = EmbedOptions(
        (folder,), out="unused.npy", tokens="pooled", weights=weights, model=model, device="cpu", precision="fp32"
    )
    context = prepare(options, ProgressReporter(), None)
    count = len(context.images)
    drawn = set(np.random.default_rng(0).permutation(count)[:SHIFT_IMAGES].tolist())

    def batches() -> Iterator[Tensor]:
        every = (piece.canvas for batch in count_rows(context).batches(0, BATCH) for piece in batch)
        canvases = [canvas for row, canvas in enumerate(every) if row in drawn and isinstance(canvas, np.ndarray)]
        for start in range(0, len(canvases), BATCH):
            yield squares(canvases[start : start + BATCH], context.preprocess, context.device)

    return variance_shift(context.backbone, batches())


if __name__ == "__main__":
    main()
