"""Build a backbone with random weights from a timm name."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm

from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone

DINOV2_POSITIONS, DINOV2_EVALUATION = 518, 224
"""Pixels of the released DINOv2 weights: of their grid of positions, and of their evaluation."""


def create_backbone(
    name: str,
    *,
    drop_path: float = 0.0,
    folder: Path | None = None,
    model_args: Mapping[str, Any] | None = None,
    in_chans: int = 0,
) -> Backbone:
    """Build a backbone with random weights.

    Args:
        name: timm name.
        drop_path: Stochastic depth rate, 0 to 1; ignored by models without it.
        folder: timm folder whose ``config.json`` defines this model and its normalisation.
        model_args: Further arguments of `timm.create_model`; with a folder, those in its ``config.json``.
        in_chans: Channels of the input; 0 for those of the name or the folder.

    Raises:
        WeightsError: timm has no such model, it gives no pooled feature, or its kind is not supported.
    """
    check_name(name)
    args = dict(model_args or {})
    options: dict[str, Any] = {"pretrained": False, "num_classes": 0}
    if name.startswith("swin"):
        options["strict_img_size"] = False  # allow local views of another size
    model_name = f"local-dir:{folder}" if folder else name
    if in_chans and in_chans != args.get("in_chans", 3):
        args["in_chans"] = options["in_chans"] = in_chans
    if args and not folder:
        options |= args
        if "img_size" in args:  # else pretrained_cfg keeps the size of timm's weights
            side = args["img_size"]
            options["pretrained_cfg_overlay"] = {"input_size": (3, side, side)}
    try:
        model = timm.create_model(model_name, drop_path_rate=drop_path, **options)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        model = timm.create_model(model_name, **options)
    try:
        return Backbone(name, model, args)
    except AttributeError as error:  # such as a ViT without a fixed size of patches
        raise WeightsError(
            f"{name}: networks of this kind are not supported ({error}): choose another model"
        ) from error


def check_name(name: str) -> None:
    """Raise `WeightsError` with the nearest names if timm does not know a model or tag."""
    architecture, _, tag = name.partition(".")
    if timm.is_model(architecture) and not tag:
        return
    tagged = timm.list_models(pretrained=True)
    if timm.is_model(architecture) and name in tagged:
        return
    known = timm.list_models() + tagged
    near = ", ".join(difflib.get_close_matches(name, known, n=3))
    names = f"the nearest names are: {near}" if near else "no name is like it; timm.list_models() in Python lists all"
    raise WeightsError(f"timm has no model {name!r}; {names}")


def usual_size(name: str, side: int) -> int:
    """Return the pixels that images get where nothing else is said.

    Args:
        name: timm name.
        side: What timm says. For DINOv2 that is the grid of its position embedding, 518: the size of a last, short
            phase of its training. It learnt at 224 and is evaluated there, at an eighth of the time.
    """
    return DINOV2_EVALUATION if "dinov2" in name and side == DINOV2_POSITIONS else side
