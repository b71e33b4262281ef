"""PatchCore of anomalib beside `segment --method anomaly --reference` (`masks.py`).

    python -m venv peer && peer/bin/pip install anomalib==2.7.0 -e .
    peer/bin/python benchmarks/patchcore_peer.py NAME=FOLDER [NAME=FOLDER ...] --weights PATH --model NAME --out F.json

FOLDER as in `masks.py`, with `reference`: the same references, test images, weights and normalisation. As anomalib's
defaults: 256x256 px, a coreset of 10 %, 9 neighbours; feature maps of strides 8 and 16. Masks are at the threshold that
is best by the true masks. The coreset took more than 14 GB in some runs: set a limit with `ulimit -v`.
"""

import argparse
import importlib
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import masks
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from dinocli.augment.resample import normalise
from dinocli.data.canvas import scaled
from dinocli.data.image_list import ImageList
from dinocli.data.sources import find_images
from dinocli.segmentation.patch_geometry import PatchGeometry, Size
from dinocli.segmentation.segment_images import SegmentImage

STRIDES = (8, 16)
SIZE = (256, 256)
CORESET = 0.1
NEIGHBOURS = 9


def main() -> None:
    """Parse, measure missing rows, print the table."""
    parser = masks.parser_of_sets(__doc__)
    parser.add_argument("--out", type=Path, default=Path("patchcore.json"))
    asked = parser.parse_args()
    for name, _, folder in (text.partition("=") for text in asked.sets):
        masks.measure_missing(asked.out, name, partial(measure, asked, Path(folder)))


@torch.inference_mode()
def measure(asked: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Fit to the references, score every image of the test folder."""
    begin = time.process_time()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    model = patchcore(asked, folder)
    _, references, _ = inputs(asked, folder / "reference")
    model.train()
    model.feature_extractor.eval()
    for x_CHW in references:
        model(x_CHW[None])
    model.subsample_embedding(CORESET)
    model.eval()
    images, tested, sources = inputs(asked, folder / "test")
    maps, scores = [], []
    for x_CHW, source in zip(tested, sources, strict=True):
        found = model(x_CHW[None])
        maps.append((found.anomaly_map[0, 0].numpy(), PatchGeometry(source, SIZE, SIZE, 1, 1)))
        scores.append(float(found.pred_score))
    row = masks.scored_at_best(folder, images, maps, scores)
    return {**row, "coreset": len(model.memory_bank), "cpu_seconds": round(time.process_time() - begin, 1)}


def patchcore(asked: argparse.Namespace, folder: Path) -> Any:
    """Return the model with the weights."""
    infos = masks.context_of(asked.weights, asked.model, folder / "test").backbone.model.feature_info
    layers = [[info["module"] for info in infos if info["reduction"] == stride][-1] for stride in STRIDES]
    of_anomalib = importlib.import_module("anomalib.models.image.patchcore.torch_model")
    model = of_anomalib.PatchcoreModel(layers, asked.model, pre_trained=False, num_neighbors=NEIGHBOURS)
    loaded = model.feature_extractor.feature_extractor.load_state_dict(load_file(asked.weights), strict=False)
    assert not loaded.missing_keys, loaded
    return model


def inputs(asked: argparse.Namespace, folder: Path) -> tuple[ImageList, list[Tensor], list[Size]]:
    """Return the images of a folder, the network input and the size of each."""
    preprocess, images = masks.context_of(asked.weights, asked.model, folder).preprocess, find_images([str(folder)])
    reader = masks.extractor_of(asked, folder, "fine").reader
    tensors, sources = [], []
    for picture in reader.read_images(images, list(range(len(images))), 1):
        assert isinstance(picture, SegmentImage), picture
        pixels_CHW = scaled(picture.source_CHW, SIZE)
        x_1CHW = torch.tensor(pixels_CHW)[None].float() / np.iinfo(pixels_CHW.dtype).max
        tensors.append(normalise(x_1CHW, preprocess.mean, preprocess.std)[0])
        sources.append(picture.source_CHW.shape[1:])
    return images, tensors, sources


if __name__ == "__main__":
    main()
