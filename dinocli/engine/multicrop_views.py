"""Multi-crop of a recipe for other training loops.

Legend: B images, C channels, V views, S pixels of a view's side.
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dinocli.config.auto import resolve
from dinocli.config.load import load_recipe
from dinocli.config.preprocess import Preprocess, first_channels
from dinocli.config.run_facts import RunFacts
from dinocli.data.decode import is_one_image
from dinocli.data.read import Reader
from dinocli.engine.build_views import build_views
from dinocli.errors import DataError, UsageError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Images = Tensor | Sequence[Image.Image | NDArray[np.uint8] | Tensor]


class MultiCropViews:
    """Multi-crop augmentation: two global views and the recipe's local views, cropped, augmented and normalised.

    Example:
        >>> import torch
        >>> views = dinocli.MultiCropViews("grey", grey=True)
        >>> batch = torch.zeros(4, 1, 256, 256, dtype=torch.uint8)
        >>> global_views, local_views = views(batch)
        >>> global_views.shape  # two views of each image
        torch.Size([8, 3, 224, 224])

    Views depend only on the seed, the step and the position of the image in the batch, so a loop that passes its own
    `step` is reproducible and can be resumed.

    Args:
        recipe: Name or path of a recipe; with a tuple of several, later ones take precedence.
        settings: `section.key=value` strings that override the recipe, as with `--set`.
        mean: Mean of the normalisation, per channel of the images, on the 0 to 1 scale; three values for grey images.
        std: Standard deviation of the normalisation, per channel.
        grey: Convert images to grey; the channel is repeated to three in the normalisation.
        device: Device of the computation, such as `cuda`.
        seed: Random seed of all random numbers.

    Raises:
        RecipeError: The recipe or a setting is invalid.
        UsageError: Mean and standard deviation differ in length, or have one value.
    """

    def __init__(
        self,
        recipe: str | tuple[str, ...] = "natural",
        settings: Sequence[str] = (),
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        grey: bool = False,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        if len(mean) != len(std) or len(mean) == 1:
            raise UsageError(f"mean {mean} and std {std}: give one value a channel to both, three for grey images")
        layers = (recipe,) if isinstance(recipe, str) else recipe
        loaded = load_recipe(layers, [*settings, f"run.seed={seed}"])
        resolved = resolve(loaded, RunFacts(images=1_000, pretrained=True))
        size = int(resolved.views.global_size)
        channels = first_channels(len(mean))
        reading = Preprocess("full", 0.0, 1.0, False, grey, channels, 0, mean, std, size, source="8-bit")
        self.device, self.step = torch.device(device), 0
        self._reader, self._make = Reader(reading, sys.maxsize), build_views(resolved, reading)

    def __call__(self, images: Images, step: int | None = None) -> list[Tensor]:
        """Return the views of one batch.

        Args:
            images: A uint8 tensor (B, C, H, W), or a sequence of PIL images, uint8 arrays (h, w) or (h, w, C) and uint8
                tensors (C, h, w) of any sizes.
            step: Training step; None counts the calls.

        Returns:
            One (V*B, C, S, S) float32 tensor for each size, normalised, view-major (all images of view 1, then of view
            2, ...): the global views first, then the local ones.

        Raises:
            UsageError: There is no image, or one instead of a list.
            DataError: Values are not uint8, or the number of channels differs from that of the mean; with a mean of
                three channels, 1 and 4 channels (with alpha) are converted.
        """
        if is_one_image(images) or not len(images):
            raise UsageError("MultiCropViews takes a batch: give a list of images, or a tensor (B, C, H, W)")
        canvases = [self._canvas(image) for image in images]
        sizes_B2 = torch.tensor([canvas.shape[1:] for canvas in canvases])
        height, width = sizes_B2.max(dim=0).values.tolist()
        pixels_BCHW = torch.zeros(len(canvases), canvases[0].shape[0], height, width, dtype=torch.uint8)
        for place, canvas in enumerate(canvases):
            pixels_BCHW[place, :, : canvas.shape[1], : canvas.shape[2]] = canvas
        step, self.step = (self.step, self.step + 1) if step is None else (step, step + 1)
        return self._make(pixels_BCHW.to(self.device), sizes_B2, step=step, start=0, global_batch=len(canvases))

    def _canvas(self, image: Image.Image | NDArray[np.uint8] | Tensor) -> Tensor:
        if isinstance(image, Tensor) and (image.ndim != 3 or image.is_floating_point()):
            raise DataError(
                f"a {image.dtype} tensor of shape {tuple(image.shape)} is not an image; give uint8 (C, h, w)"
            )
        stored = image.permute(1, 2, 0).cpu().numpy() if isinstance(image, Tensor) else image
        return torch.from_numpy(np.ascontiguousarray(self._reader.in_memory(stored)))
