"""Captions of views: the drawn augmentation parameters in words, for `views.png`.

Legend: B images, V views of one kind.
"""

from collections.abc import Sequence

from torch import Tensor

from dinocli.augment.crop import AntialiasedCrop
from dinocli.augment.draw import Params

_MIN_CHANGE = 0.005  # factors closer to 1, and hue shifts closer to 0, are not mentioned
_FACTORS = {"brightness_factor": "brightness", "contrast_factor": "contrast", "saturation_factor": "saturation"}


def view_captions(crop: AntialiasedCrop, drawn: Sequence[Params], view: int, sizes_B2: Tensor) -> list[str]:
    """Return the caption of one view of each image: one line for the crop, one for each operation.

    Args:
        crop: Crop of the pipeline, which converts draws to boxes.
        drawn: Parameters of crop, jitter, grayscale, blur and solarize, (V, B, ...) each.
        view: Index of the view in V.
        sizes_B2: True height and width, pixels, on the CPU.

    Returns:
        One caption per image, lines joined by newlines.
    """
    cut, jitter, grey, blur, solarize = ({name: value[view] for name, value in params.items()} for params in drawn)
    boxes_B4 = crop.geometry(cut, sizes_B2)["box"]
    share_B = (boxes_B4[:, 2:].prod(1) / sizes_B2.prod(1)).tolist()
    return [
        "\n".join(
            [
                f"{100 * share:.0f} % of area",
                *_orientation(cut, image),
                *(_jitter(jitter, image) if _chosen(jitter, image) else []),
                *(["grayscale"] if _chosen(grey, image) else []),
                *([f"blur {float(blur['sigma'][image]):.1f} px"] if _chosen(blur, image) else []),
                *(["solarize"] if _chosen(solarize, image) else []),
            ]
        )
        for image, share in enumerate(share_B)
    ]


def _chosen(params: Params, image: int) -> bool:
    return bool(params["batch_prob"][image] > 0.5)


def _orientation(cut: Params, image: int) -> list[str]:
    turns = int(cut["turns"][image])
    words = [name for name in ("hflip", "vflip") if bool(cut[name][image])] + [f"rot {90 * turns}°"] * bool(turns)
    return [", ".join(words)] if words else []


def _jitter(params: Params, image: int) -> list[str]:
    factors = {name: float(params[key][image]) for key, name in _FACTORS.items()}
    lines = [f"{name} x{factor:.2f}" for name, factor in factors.items() if abs(factor - 1) > _MIN_CHANGE]
    hue = float(params["hue_factor"][image])
    return [*lines, *([f"hue {hue:+.2f}"] if abs(hue) > _MIN_CHANGE else [])]
