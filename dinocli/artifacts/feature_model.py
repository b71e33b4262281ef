"""A backbone that computes the features of `dinocli embed`, from weights or from a feature file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dinocli.artifacts.feature_file import FITTED_SUFFIX, FeatureFile, open_features, sidecar
from dinocli.config.preprocess import Preprocess
from dinocli.data.canvas import Canvas
from dinocli.data.decode import is_one_image
from dinocli.data.read import Reader
from dinocli.data.region_of_interest import Box, region_mask
from dinocli.data.stored_reading import FirstImages
from dinocli.engine.device import pick_device
from dinocli.engine.precision import DTYPES, feature_precision
from dinocli.engine.rare_features import RareFeatures
from dinocli.engine.square_resize import CANVAS_PER_SIDE, CONVNET_CELL, input_size, inputs_by_size, squashed
from dinocli.errors import DataError, UsageError, WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.features import Extractor, compute_features, eval_mode, extract, l2_normalized, one_behind
from dinocli.models.token_kinds import FITTED
from dinocli.models.tokens import POOLED, Tokens
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import WeightsInfo, plain_preprocess
from dinocli.progress import LogReporter, ProgressReporter

ImageLike = str | Path | Image.Image | NDArray[Any] | Tensor
"""A path, a PIL image, or an array or tensor (h, w), (h, w, c) or (c, h, w) of source values: integers or floats."""

_Other = TypeVar("_Other")


@dataclass(frozen=True, eq=False)
class FeatureModel:
    """A backbone with its preprocessing and tokens.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> model = dinocli.load("runs/mine")
        >>> array = np.zeros((48, 48), np.uint8)
        >>> features_ND = model.embed(["images/a/0.png", Image.open("images/a/1.png"), array])
        >>> features_ND.shape == (3, model.backbone.dim)
        True

    Args:
        backbone: The network, on its device.
        preprocess: Reading and normalisation of images.
        tokens: Features to return.
        normalize: Scale rows to length 1 (L2).
        info: Origin of the weights; None if they were not loaded.
        cell: Keep the aspect ratio, with both sides multiples of `cell` pixels; 0: resize to a square.
        reporter: Receives warnings if one of the first images may not fit the preprocessing.
        like: Feature file that stores the preprocessing; empty for weights.
    """

    backbone: Backbone = field(repr=False)
    preprocess: Preprocess
    tokens: Extractor = POOLED
    normalize: bool = False
    info: WeightsInfo | None = None
    cell: int = 0
    precision: str = "fp32"
    reporter: ProgressReporter = field(default_factory=ProgressReporter)
    like: str = ""
    _first_images: FirstImages = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_first_images", FirstImages(self.preprocess, self.like, self.reporter.warn))

    @property
    def device(self) -> torch.device:
        """Device of the backbone."""
        return next(self.backbone.parameters()).device

    def embed(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int = 32,
        names: Sequence[str] | None = None,
        box: Box | None = None,
    ) -> NDArray[np.float32]:
        """Return the features of images, in order, as float32: those of `dinocli embed` in the same precision.

        Args:
            images: Paths, PIL images, arrays or tensors, also mixed; read batch by batch, so that any number fits.
            batch_size: Images per batch.
            names: For rare features, the name of each image in the folder they were fitted to, so that an image is not
                compared with its own patches; None for other images.
            box: Left, top, width and height, pixels: the part of each image (a path) to read as a whole image.

        Returns:
            (N, D), or (N, h, w, D) for patch tokens.

        Raises:
            DataError: An image cannot be read; the message has its path or its index.
            UsageError: One image instead of a list, or a batch of less than one image.
        """
        if is_one_image(images):
            raise UsageError("embed takes a list of images, and this is one image: give [image]")
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size}: give 1 or more")
        tokens = self.tokens.without_region() if box else self.tokens
        autocast = DTYPES.get(self.precision)

        def submitted() -> Iterator[tuple[list[int], Tensor]]:
            for places, x_BCHW in self._batches(images, batch_size, box):
                image_B = None if names is None else tokens.numbers([names[place] for place in places])
                yield places, compute_features(self.backbone, x_BCHW, autocast=autocast, tokens=tokens, image_b=image_B)

        order, parts = list[int](), list[NDArray[np.float32]]()
        with eval_mode(self.backbone):
            for places, features in one_behind(submitted()):
                order += places
                parts.append(features.cpu().numpy())
            if not parts:  # no image: rows of the right width, none of them
                side = self.preprocess.size
                black_BCHW = torch.zeros(1, self.backbone.in_chans, side, side, device=self.device)
                parts.append(extract(self.backbone, [black_BCHW], autocast=None, tokens=tokens)[:0])
        rows = np.concatenate(parts)[np.argsort(order)]
        return l2_normalized(rows) if self.normalize else rows

    def _batches(self, images: Iterable[ImageLike], size: int, box: Box | None) -> Iterator[tuple[list[int], Tensor]]:
        """Yield batches of images of equal size, at most `size` each, with the indices of the images."""
        numbered = enumerate(images)
        while batch := list(islice(numbered, size)):
            self._first_images.check(_array(image) for _, image in batch)
            canvases = [self._canvas(place, image, box) for place, image in batch]
            for members, inputs_BCHW in inputs_by_size(canvases, self.preprocess, self.device):
                yield [batch[member][0] for member in members], inputs_BCHW

    def _canvas(self, place: int, image: ImageLike, box: Box | None = None) -> Canvas:
        side = self.preprocess.size
        reader = Reader(self.preprocess, CANVAS_PER_SIDE * side)
        try:
            if isinstance(image, str | Path):
                canvas = reader.part(str(image), box) if box else reader.whole(str(image))
            elif box:
                raise DataError("box is a part of a file: cut the part out of the array")
            else:
                canvas = reader.in_memory(_array(image))
        except DataError as error:
            name = image if isinstance(image, str | Path) else f"image {place}"
            raise DataError(f"{name} cannot be read: {error}") from error
        resizes = self.cell or self.device.type == "cpu"
        return squashed(canvas, input_size(canvas, side, self.cell)) if resizes else canvas


def _array(image: _Other | Tensor) -> _Other | NDArray[Any]:
    """Return a tensor as an array, and anything else as it is."""
    if not isinstance(image, Tensor):
        return image
    return (image.float() if image.dtype == torch.bfloat16 else image).numpy(force=True)  # NumPy has no bfloat16


def load(
    weights: str | Path,
    *,
    model: str = "",
    tokens: str = "pooled",
    layers: int = 1,
    normalize: bool = False,
    device: str | torch.device = "auto",
    preprocess: Preprocess | None = None,
) -> FeatureModel:
    """Load a backbone that embeds arrays, PIL images and paths.

    Example:
        >>> model = dinocli.load("runs/mine", tokens="mean", normalize=True)
        >>> round(float((model.embed(["images/a/0.png"]) ** 2).sum()), 3)
        1.0

    Args:
        weights: A run, a timm name, a checkpoint file, a timm folder or a hub id, as for `--weights`.
        model: timm name, needed for a bare state dict.
        tokens: pooled, cls, mean, cls+mean, gem or patch.
        layers: Number of last blocks (ViT) or last feature maps (convnet) to concatenate.
        normalize: Scale rows to length 1 (L2).
        device: auto, cpu, cuda or cuda:N; or a device of torch.
        preprocess: Reading and normalisation; None: as stored with the weights, else the full range of 8-bit images.
            For 12 bits: `replace(model.preprocess, range_policy="fixed", range_low=0, range_high=4095, source="")`.

    Raises:
        UsageError: The tokens must be fitted to a folder.
        WeightsError: The weights do not exist, or have no such tokens.
    """
    if tokens in FITTED:
        raise UsageError(f"tokens={tokens!r} is fitted to a folder: embed one, others with `dinocli.load_like(FILE)`")
    chosen, where = Tokens(tokens, layers), pick_device(device)
    backbone, info, stored = load_backbone(str(weights), model)
    chosen.check(backbone)
    if preprocess is None:
        preprocess = Preprocess.from_dict(stored) if stored else plain_preprocess(info)
    chosen = replace(chosen, inside_HW=inside_of(preprocess))
    return FeatureModel(ready(backbone, where), preprocess, chosen, normalize, info, reporter=LogReporter())


def load_like(path: str | Path, *, device: str = "auto") -> FeatureModel:
    """Load the model that made a feature file, with its reading and fit: new images get rows that compare with it.

    Example:
        >>> len(dinocli.load_like("feats.npy").embed(["images/a/0.png"]))
        1

    Args:
        path: Feature file, as for `embed --like`.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        WeightsError: The file does not name its weights, or they are missing or changed.
    """
    return replace(feature_model_of(open_features(path), device), reporter=LogReporter())


def feature_model_of(file: FeatureFile, device: str = "cpu") -> FeatureModel:
    """Load the model that made an open feature file; arguments and errors as for `load_like`."""
    weights: dict[str, Any] = file.meta.get("weights", {})
    preprocess = file.preprocess()
    if not weights.get("source") or preprocess is None:
        raise WeightsError(f"{file.path} does not say which weights made it; embed again with `dinocli embed`")
    if weights["source"] == "none":
        raise WeightsError(
            f"{file.path} was made with random weights, which were not kept; embed again by those of a run or file"
        )
    try:
        backbone, info, _ = load_backbone(
            weights["source"], weights["name"], pool=weights.get("pool", "timm"), in_chans=preprocess.in_chans
        )
    except WeightsError as error:
        raise WeightsError(f"the weights that made {file.path} cannot be loaded: {error}") from error
    if info.sha256 != weights["sha256"]:
        raise WeightsError(
            f"{weights['source']} has changed since {file.path} was made (sha256 {info.sha256[:12]}, then "
            f"{weights['sha256'][:12]}); embed the images again"
        )
    kind, where = file.meta.get("tokens", "pooled"), pick_device(device)
    inside_HW = None if file.meta.get("tile") else inside_of(preprocess)
    fitted = RareFeatures.load(sidecar(file.path, FITTED_SUFFIX)).to(where) if kind in FITTED else None
    tokens: Extractor = (
        replace(fitted, inside_HW=inside_HW) if fitted else Tokens(kind, file.meta.get("layers", 1), inside_HW)
    )
    cell = (backbone.patch or CONVNET_CELL) if file.meta.get("keep_aspect") else 0
    normalize, like = bool(file.meta.get("normalized")), str(file.path)
    precision = feature_precision(where, "auto", file.meta.get("precision") or "fp32")
    return FeatureModel(ready(backbone, where), preprocess, tokens, normalize, info, cell, precision, like=like)


def ready(backbone: Backbone, device: torch.device) -> Backbone:
    """Return the backbone on a device, in eval mode, with batch norm folded: a sixth less time of a convnet."""
    backbone = backbone.to(device).eval()
    backbone.freeze_batch_norm()
    return backbone


def inside_of(preprocess: Preprocess) -> Tensor | None:
    """Return the mask of the region of interest, (h, w), bool; None if all pixels count."""
    inside_hw = region_mask(preprocess.roi)
    return None if inside_hw is None else torch.from_numpy(inside_hw)
