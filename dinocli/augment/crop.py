"""Antialiased random resized crop with flips and right-angle rotations: a Kornia augmentation, replayable by `params=`.

Parameters are uniform random numbers, because Kornia draws them before the true size of an image is known; they are
converted to boxes when applied.

Legend: B images, C channels, H W pixels of the canvas, S pixels of the view's side, N attempts.
"""

from typing import Any

import torch
from kornia.augmentation import AugmentationBase2D
from kornia.augmentation.random_generator import RandomGeneratorBase
from torch import Tensor

from dinocli.augment.draw import Params, to_device
from dinocli.augment.resample import FULL_SCALE, resample

_ATTEMPTS = 10


class CropGenerator(RandomGeneratorBase):  # type: ignore[misc]
    """Generator of the random numbers of a crop, independent of the image size.

    Args:
        hflip: Probability of a left-right flip.
        vflip: Probability of an up-down flip.
        rot90: Probability of a rotation by 90, 180 or 270 degrees, with equal shares.
    """

    def __init__(self, hflip: float, vflip: float, rot90: float) -> None:
        super().__init__()
        self.hflip, self.vflip, self.rot90 = hflip, vflip, rot90

    def __repr__(self) -> str:
        return f"hflip={self.hflip}, vflip={self.vflip}, rot90={self.rot90}"

    def make_samplers(self, device: torch.device, dtype: torch.dtype) -> None:
        """Do nothing: all draws are uniform numbers on the CPU."""

    def forward(self, batch_shape: tuple[int, ...], same_on_batch: bool = False) -> dict[str, Tensor]:
        """Draw for each image independently; Kornia's `same_on_batch` is ignored."""
        count = batch_shape[0]
        hflip, vflip, turned = torch.rand(3, count)
        return {
            "area": torch.rand(count, _ATTEMPTS),
            "ratio": torch.rand(count, _ATTEMPTS),
            "place": torch.rand(count, 2),
            "hflip": hflip < self.hflip,
            "vflip": vflip < self.vflip,
            "turns": torch.randint(1, 4, (count,)) * (turned < self.rot90),
        }


def choose_boxes(
    params: dict[str, Tensor], sizes_B2: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Convert uniform numbers to boxes: the first of ten attempts that fits, else a central box with a clamped ratio.

    Args:
        params: `area` and `ratio` (B, N) and `place` (B, 2), uniform in [0, 1). With a `centre` (B, 2) from
            `dinocli.augment.focus`, the box is centred there as far as the image allows; NaN keeps `place`.
        sizes_B2: True height and width, pixels.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width / height, log-uniform.

    Returns:
        (B, 4) int64: top, left, height, width.

    Source: torchvision's `RandomResizedCrop.get_params`, vectorised over a batch.
    """
    sizes_B12 = sizes_B2.double()[:, None]
    area_BN = sizes_B12.prod(2) * (scale[0] + (scale[1] - scale[0]) * params["area"].double())
    aspect_BN = ratio[0] * (ratio[1] / ratio[0]) ** params["ratio"].double()
    tries_BN2 = torch.stack([area_BN / aspect_BN, area_BN * aspect_BN], dim=2).sqrt().round()
    fits_BN = ((tries_BN2 >= 1) & (tries_BN2 <= sizes_B12)).all(2)
    first_B = fits_BN.int().argmax(1)
    found_B1 = fits_BN.any(1, keepdim=True)
    tallest_widest = torch.stack([sizes_B2[:, 1] / ratio[0], sizes_B2[:, 0] * ratio[1]], dim=1).round().clamp(min=1)
    fallback_B2 = torch.minimum(tallest_widest.double(), sizes_B12[:, 0])
    box_B2 = torch.where(found_B1, tries_BN2[torch.arange(len(first_B)), first_B], fallback_B2)
    room_B2 = sizes_B12[:, 0] - box_B2
    corner_B2 = torch.where(found_B1, params["place"].double() * (room_B2 + 1), room_B2 / 2).floor()
    if "centre" in params:
        centred_B2 = (params["centre"] * sizes_B12[:, 0] - box_B2 / 2).round().clamp(min=0).minimum(room_B2)
        corner_B2 = torch.where(centred_B2.isnan(), corner_B2, centred_B2)
    return torch.cat([corner_B2, box_B2], dim=1).long()


class AntialiasedCrop(AugmentationBase2D):  # type: ignore[misc]
    """Random resized crop with PIL's bicubic kernel, flips and right-angle rotations, independent for each image.

    Call it with `sizes_B2=`, the true height and width of each image on its padded canvas (pixels, on the CPU); without
    it, every image fills the canvas. Input uint8 or uint16, output float32 in [0, 1].

    Args:
        size: Side of the square view, pixels.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width / height of the box.
        hflip: Probability of a left-right flip.
        vflip: Probability of an up-down flip.
        rot90: Probability of a rotation by 90, 180 or 270 degrees.
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float],
        ratio: tuple[float, float],
        hflip: float,
        vflip: float,
        rot90: float,
    ) -> None:
        super().__init__(p=1.0)
        self.flags: dict[str, Any] = {"size": size, "scale": scale, "ratio": ratio}
        self._param_generator = CropGenerator(hflip, vflip, rot90)

    def transform_tensor(self, input: Tensor, **_: Any) -> Tensor:
        """Return the canvas unchanged: Kornia would refuse integers, and each box is converted to float by itself."""
        return input

    def validate_tensor(self, input: Tensor) -> None:
        """Raise `TypeError` unless the input is a batch of canvases."""
        if input.ndim != 4 or input.dtype not in FULL_SCALE:
            raise TypeError(f"a batch of canvases is (B, C, H, W), uint8 or uint16; got {input.dtype}, {input.shape}")

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Crop, resize and orient; without sizes, images fill the canvas."""
        canvas_B2 = torch.tensor(input.shape[-2:]).expand(len(input), 2)
        geometry = self.geometry(params, params.get("sizes_B2", canvas_B2).cpu())
        views = resample(input, geometry["box"], flags["size"], geometry["mirror"])
        swap_B = to_device(geometry["swap"], views.device)
        return transposed(views, swap_B) if bool(geometry["swap"].any()) else views

    def geometry(self, params: Params, sizes_B2: Tensor) -> Params:
        """Convert the drawn numbers to boxes, mirrors and transpositions, on the host.

        Args:
            params: Parameters of the generator, (B, ...).
            sizes_B2: True height and width, pixels, on the CPU.

        Returns:
            `box` (B, 4) int64: top, left, height, width; `mirror` (B, 2) bool: up-down, left-right; `swap` (B,) bool:
            transpose rows and columns, applied last.
        """
        # A rotation by 90-degree turns is one or two mirrors, which are free in the weights, and for odd numbers of
        # turns a transposition.
        turns_B = params["turns"]
        up_down_B = params["vflip"] ^ (turns_B >= 2)
        left_right_B = params["hflip"] ^ ((turns_B == 1) | (turns_B == 2))
        return {
            "box": choose_boxes(params, sizes_B2, self.flags["scale"], self.flags["ratio"]),
            "mirror": torch.stack([up_down_B, left_right_B], dim=1),
            "swap": turns_B % 2 == 1,
        }


def transposed(views_BCSS: Tensor, swap_B: Tensor) -> Tensor:
    """Transpose rows and columns of the selected views."""
    return torch.where(swap_B.view(-1, 1, 1, 1), views_BCSS.mT, views_BCSS)
