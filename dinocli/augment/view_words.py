"""What was drawn for a view, in words: for the picture that shows what the network sees.

Legend: B images, V views of one kind.
"""

from collections.abc import Sequence

from torch import Tensor

from dinocli.augment.crop import AntialiasedCrop
from dinocli.augment.draw import Params

_UNCHANGED = 0.005
_FACTORS = {"brightness_factor": "brightness", "contrast_factor": "contrast", "saturation_factor": "saturation"}


def view_words(crop: AntialiasedCrop, drawn: Sequence[Params], view: int, sizes_B2: Tensor) -> list[str]:
    """Describe one view of each image: one line for the crop, one for each change.

    Args:
        crop: Knows how draws become boxes.
        drawn: Of crop, jitter, grayscale, blur and solarize, (V, B, ...) each.
        view: Place in V.
        sizes_B2: True height and width, pixels, on the CPU.

    Returns:
        For each image its lines, joined by newlines.
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
    lines = [f"{name} x{factor:.2f}" for name, factor in factors.items() if abs(factor - 1) > _UNCHANGED]
    hue = float(params["hue_factor"][image])
    return [*lines, *([f"hue {hue:+.2f}"] if abs(hue) > _UNCHANGED else [])]
